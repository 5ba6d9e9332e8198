"""The rarer verbs of kubectl, with 1.37 and with Debian's 1.32: what people type when they look for a fault."""

import base64
import json
import pathlib
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.machines.conftest import WEB, Operator, wait_for


@pytest.fixture(scope="module")
def pod(person: Operator, namespace: str) -> Iterator[str]:
    """A Pod that ticks, and runs. As process 1 a shell takes no SIGTERM, so its grace is made short."""
    script = "while true; do echo tick; sleep 0.2; done"
    person.kubectl("run", "ticker", f"--image={WEB}", "-n", namespace, "--command", "--", "sh", "-c", script)
    person.kubectl("wait", "--for=condition=Ready", "pod/ticker", "-n", namespace, "--timeout=60s")
    yield "ticker"
    person.kubectl("delete", "pod", "ticker", "-n", namespace, "--grace-period=1", "--wait=false")


def test_wait_ends_when_it_is_so_and_when_it_is_not(person: Operator, namespace: str, pod: str) -> None:
    running = "--for=jsonpath={.status.phase}=Running"
    person.kubectl("wait", running, f"pod/{pod}", "-n", namespace, "--timeout=30s")
    late = person.try_kubectl("wait", "--for=condition=Never", f"pod/{pod}", "-n", namespace, "--timeout=1s")
    assert (late.code, "timed out" in late.err) == (1, True)

    person.kubectl("create", "configmap", "leaves", "-n", namespace)
    person.kubectl("delete", "configmap", "leaves", "-n", namespace, "--wait=false")
    person.kubectl("wait", "--for=delete", "configmap/leaves", "-n", namespace, "--timeout=10s")


def test_a_debug_container_joins_a_running_pod(person: Operator, namespace: str, pod: str) -> None:
    person.kubectl("debug", pod, "-n", namespace, f"--image={WEB}", "--target=ticker", "--container=looker",
                   "--profile=general", "--attach=false", "--",
                   "sh", "-c", "echo processes: $(ps | grep -c tick)")  # fmt: skip

    def ended() -> bool:
        status = person.get("pod", pod, "-n", namespace)["status"].get("ephemeralContainerStatuses") or [{}]
        return "terminated" in status[0].get("state", {})

    wait_for("the debug container ends", ended, 30)
    told = person.kubectl("logs", pod, "-c", "looker", "-n", namespace)
    assert int(told.partition("processes: ")[2].split()[0]) >= 2, "it sees the processes of its target"
    assert "looker" in person.kubectl("describe", "pod", pod, "-n", namespace)


def test_a_copy_of_a_pod_is_debugged(person: Operator, namespace: str, pod: str) -> None:
    person.kubectl("debug", pod, "-n", namespace, "--copy-to=copied", "--container=ticker", "--attach=false",
                   "--profile=general", "--", "sh", "-c", "echo copied; sleep 60")  # fmt: skip
    person.kubectl("wait", "--for=condition=Ready", "pod/copied", "-n", namespace, "--timeout=30s")

    assert person.kubectl("logs", "copied", "-n", namespace, "-c", "ticker") == "copied\n"
    person.kubectl("delete", "pod", "copied", "-n", namespace, "--grace-period=1")


def test_a_node_is_debugged_from_a_pod(person: Operator, namespace: str) -> None:
    node = person.get("pod", "ticker", "-n", namespace)["spec"]["nodeName"]
    person.kubectl("debug", f"node/{node}", "-n", namespace, f"--image={WEB}", "--attach=false", "--profile=sysadmin",
                   "--", "cat", "/host/etc/hostname")  # fmt: skip

    def finished() -> str:
        pods = person.get("pods", "-n", namespace)["items"]
        found = [p for p in pods if p["metadata"]["name"].startswith("node-debugger-")]
        return next((p["metadata"]["name"] for p in found if p["status"]["phase"] == "Succeeded"), "")

    assert person.kubectl("logs", wait_for("the debugger ends", finished, 30), "-n", namespace).strip() == node


def test_permissions_are_listed_and_reconciled(person: Operator, namespace: str) -> None:
    account = f"system:serviceaccount:{namespace}:default"
    reader = ("create", "role", "reader", "--verb=get,list", "--resource=pods,pods/log", "-n", namespace)
    role = person.kubectl(*reader, "--dry-run=client", "-o", "yaml")
    person.kubectl("auth", "reconcile", "-f", "-", "-n", namespace, stdin=role)
    person.kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:default",
                   "-n", namespace)  # fmt: skip

    listed = person.kubectl("auth", "can-i", "--list", "-n", namespace, "--as", account).splitlines()
    assert any(line.split()[0] == "pods/log" and "[get list]" in line for line in listed), listed
    assert person.kubectl("auth", "can-i", "get", "pods", "-n", namespace, "--as", account).strip() == "yes"


def test_the_api_is_explained_and_listed(person: Operator) -> None:
    assert "maxUnavailable" in person.kubectl("explain", "deployment.spec.strategy", "--recursive")
    assert "VERSION:    v2" in person.kubectl("explain", "hpa", "--api-version=autoscaling/v2")
    names = person.kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    assert {"pods", "deployments.apps", "leases.coordination.k8s.io"} <= set(names)
    assert {"v1", "apps/v1", "batch/v1"} <= set(person.kubectl("api-versions").split())
    assert "is running at" in person.kubectl("cluster-info")
    assert json.loads(person.kubectl("get", "--raw", "/version"))["minor"] == "36"


def test_a_rollout_is_paused_resumed_and_restarted(person: Operator, namespace: str) -> None:
    here = ("-n", namespace)
    person.kubectl("create", "deployment", "rolls", f"--image={WEB}", *here)
    person.kubectl("rollout", "pause", "deployment/rolls", *here)
    person.kubectl("set", "env", "deployment/rolls", "COLOR=blue", *here)
    person.kubectl("set", "resources", "deployment/rolls", "--requests=cpu=1m", *here)
    person.kubectl("rollout", "resume", "deployment/rolls", *here)
    person.kubectl("rollout", "restart", "deployment/rolls", *here)
    person.kubectl("rollout", "status", "deployment/rolls", *here, "--timeout=60s")

    template = person.get("deployment", "rolls", *here)["spec"]["template"]
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
    assert template["spec"]["containers"][0]["env"] == [{"name": "COLOR", "value": "blue"}]
    person.kubectl("autoscale", "deployment/rolls", "--min=1", "--max=2", "--cpu-percent=80" if "debian" in
                   person.kubectl_binary else "--cpu=80%", *here)  # fmt: skip
    assert person.get("hpa", "rolls", *here)["spec"]["maxReplicas"] == 2
    person.kubectl("delete", "deployment,hpa", "rolls", *here)


def test_objects_are_edited_patched_and_replaced(person: Operator, namespace: str, tmp_path: pathlib.Path) -> None:
    here = ("-n", namespace)
    person.kubectl("create", "configmap", "changed", "--from-literal=a=1", *here)
    for kind, patch in (
        ("json", '[{"op":"add","path":"/data/b","value":"2"}]'), ("merge", '{"data":{"c":"3"}}'),
        ("strategic", '{"data":{"a":null}}'),
    ):  # fmt: skip
        person.kubectl("patch", "configmap", "changed", f"--type={kind}", "-p", patch, *here)
    assert person.get("configmap", "changed", *here)["data"] == {"b": "2", "c": "3"}

    file = tmp_path / "changed.json"
    file.write_text(json.dumps({**person.get("configmap", "changed", *here), "data": {"d": "4"}}))
    person.kubectl("replace", "-f", str(file), *here)
    stale = person.try_kubectl("replace", "-f", str(file), *here)
    assert (stale.code, "the object has been modified" in stale.err) == (1, True)
    person.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", *here, stdin=json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "changed"}, "data": {"e": "5"}}
    ))  # fmt: skip
    assert person.get("configmap", "changed", *here)["data"] == {"d": "4", "e": "5"}


def test_events_tell_of_one_object_and_of_kinds(person: Operator, namespace: str, pod: str) -> None:
    told = person.kubectl("events", "--for", f"pod/{pod}", "-n", namespace)
    assert {"Scheduled", "Started"} <= {line.split()[2] for line in told.splitlines()[1:]}
    assert "Warning" not in person.kubectl("events", "--types=Normal", "-n", namespace)


def test_logs_are_cut_and_followed_by_label(person: Operator, namespace: str, pod: str) -> None:
    assert person.kubectl("logs", pod, "--tail=3", "-n", namespace) == "tick\n" * 3
    stamped = person.kubectl("logs", "-l", "run=ticker", "--since=10s", "--timestamps", "--prefix", "--tail=2",
                             "-n", namespace)  # fmt: skip
    assert [line.split()[0] for line in stamped.splitlines()] == [f"[pod/{pod}/ticker]"] * 2


def test_a_token_is_bound_to_its_pod(person: Operator, namespace: str, pod: str) -> None:
    token = person.kubectl("create", "token", "default", "--duration=10m", "--audience=elsewhere",
                           "--bound-object-kind=Pod", f"--bound-object-name={pod}", "-n", namespace)  # fmt: skip
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))

    assert claims["aud"] == ["elsewhere"]
    assert claims["exp"] - claims["iat"] == 600
    assert claims["kubernetes.io"]["pod"]["name"] == pod


def test_a_certificate_is_approved_and_another_denied(person: Operator, namespace: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "visitor")])
    asked = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()
    for verb in ("approve", "deny"):
        spec = {"request": pem, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}
        body = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
                "metadata": {"name": f"{namespace}-{verb}"}, "spec": spec}  # fmt: skip
        person.kubectl("create", "-f", "-", stdin=json.dumps(body))
        person.kubectl("certificate", verb, f"{namespace}-{verb}")

    def issued() -> str:
        return str(person.get("csr", f"{namespace}-approve")["status"].get("certificate", ""))

    made = x509.load_pem_x509_certificate(base64.b64decode(wait_for("the certificate", issued, 15)))
    assert made.subject == name
    assert made.public_key() == key.public_key()
    assert "Denied" in person.kubectl("get", "csr", f"{namespace}-deny")
    person.kubectl("delete", "csr", f"{namespace}-approve", f"{namespace}-deny")


def test_a_node_is_tainted_and_labelled(person: Operator) -> None:
    node = person.get("nodes", "-l", "!node-role.kubernetes.io/control-plane")["items"][0]["metadata"]["name"]
    person.kubectl("taint", "node", node, "look=here:PreferNoSchedule")
    person.kubectl("label", "node", node, "look=here")
    assert node in person.kubectl("get", "nodes", "-l", "look=here", "-o", "name")

    person.kubectl("taint", "node", node, "look-")
    person.kubectl("label", "node", node, "look-")
    assert person.get("node", node)["spec"].get("taints", []) == []
