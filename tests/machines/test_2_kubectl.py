"""The verbs that people type, with kubectl 1.37 and with Debian's 1.32, against a real cluster."""

import pathlib
import subprocess
import time

import pytest

from tests.machines.conftest import WEB, Operator, pod_names, wait_for

MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue}
---
apiVersion: v1
kind: Service
metadata: {name: declared}
spec:
  selector: {app: declared}
  ports: [{port: 80}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: declared}
spec:
  replicas: 2
  selector: {matchLabels: {app: declared}}
  template:
    metadata: {labels: {app: declared}}
    spec:
      containers:
        - name: web
          image: hanse.local/web:1
          envFrom: [{configMapRef: {name: settings}}]
"""


@pytest.fixture(scope="module")
def web(person: Operator, namespace: str) -> str:
    """A deployment of five, all running."""
    person.kubectl("create", "deployment", "web", f"--image={WEB}", "--replicas=5", "--port=80", "-n", namespace)
    person.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=90s")
    return "web"


def test_a_deployment_of_five_spreads_over_nodes(person: Operator, namespace: str, web: str) -> None:
    table = person.kubectl("get", "pods", "-o", "wide", "-n", namespace).splitlines()

    assert table[0].split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert len({line.split()[6] for line in table[1:]}) >= 2
    assert all(line.split()[2] == "Running" for line in table[1:])


def test_describe_tells_what_happened_to_a_pod(person: Operator, namespace: str, web: str) -> None:
    text = person.kubectl("describe", "pod", pod_names(person, namespace)[0], "-n", namespace)

    assert "Successfully assigned" in text
    assert "Started container" in text


def test_watch_shows_a_change_when_it_happens(person: Operator, namespace: str) -> None:
    argv = [person.kubectl_binary, f"--kubeconfig={person.kubeconfig}", "get", "configmaps", "-w", "-n", namespace]
    watching = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={"HOME": str(person.home)})
    try:
        assert watching.stdout is not None
        person.kubectl("create", "configmap", "seen", "--from-literal=a=b", "-n", namespace)
        deadline = time.monotonic() + 20
        for line in watching.stdout:
            if line.startswith("seen"):
                break
            assert time.monotonic() < deadline
    finally:
        watching.terminate()
        watching.wait()
        watching.stdout.close()  # type: ignore[union-attr]


def test_logs_can_be_followed(person: Operator, namespace: str) -> None:
    script = "for i in 1 2 3 4 5; do echo line $i; sleep 0.3; done"
    person.kubectl("run", "talker", f"--image={WEB}", "--restart=Never", "-n", namespace,
                   "--command", "--", "sh", "-c", script)  # fmt: skip
    wait_for("talker runs", lambda: person.get("pod", "talker", "-n", namespace)["status"]["phase"] != "Pending", 30)

    text = person.kubectl("logs", "-f", "talker", "-n", namespace)

    assert text.splitlines() == [f"line {i}" for i in range(1, 6)]


def test_exec_passes_output_input_and_the_exit_code(person: Operator, namespace: str, web: str) -> None:
    pod = pod_names(person, namespace)[0]

    assert person.kubectl("exec", pod, "-n", namespace, "--", "hostname").strip() == pod
    assert person.kubectl("exec", "-i", pod, "-n", namespace, "--", "cat", stdin="through\n") == "through\n"
    failed = person.try_kubectl("exec", pod, "-n", namespace, "--", "sh", "-c", "exit 7")
    assert failed.code == 7


def test_exec_gives_a_terminal(person: Operator, namespace: str, web: str) -> None:
    pod = pod_names(person, namespace)[0]
    argv = f"{person.kubectl_binary} --kubeconfig={person.kubeconfig} exec -it {pod} -n {namespace} -- tty"

    done = subprocess.run(
        ["script", "-qec", argv, "/dev/null"], capture_output=True, text=True, timeout=60, check=False
    )

    assert "/dev/pts/" in done.stdout, done.stdout + done.stderr


def test_a_service_answers_by_name_from_a_pod(person: Operator, namespace: str, web: str) -> None:
    person.kubectl("expose", "deployment", "web", "--port=80", "-n", namespace)
    pods = pod_names(person, namespace)

    def answer() -> str:
        done = person.try_kubectl("exec", pods[0], "-n", namespace, "--", "curl", "-sSm3", "http://web")
        return done.out if done.code == 0 else ""

    wait_for("the service answers", answer, 20)
    answers = {answer().splitlines()[0] for _ in range(12)}
    assert answers <= {f"hello from {pod}" for pod in pods}
    assert len(answers) >= 2, "requests are spread over Pods"


def test_scale_up_and_down(person: Operator, namespace: str, web: str) -> None:
    for replicas in (2, 5):
        person.kubectl("scale", "deployment/web", f"--replicas={replicas}", "-n", namespace)
        person.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
        wait_for(f"{replicas} pods", lambda n=replicas: len(pod_names(person, namespace)) == n, 60)  # type: ignore[misc]


def test_roll_out_and_back(person: Operator, namespace: str, web: str) -> None:
    person.kubectl("set", "image", "deployment/web", "web=hanse.local/absent:9", "-n", namespace)
    stuck = person.try_kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=5s")
    assert stuck.code != 0

    person.kubectl("rollout", "undo", "deployment/web", "-n", namespace)
    person.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=90s")

    image = person.get("deployment", "web", "-n", namespace)["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == WEB
    assert "REVISION" in person.kubectl("rollout", "history", "deployment/web", "-n", namespace)


def test_a_file_of_several_documents_is_applied_compared_and_deleted(
    person: Operator, namespace: str, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(MANIFEST)
    person.kubectl("apply", "-f", str(file), "-n", namespace)
    person.kubectl("rollout", "status", "deployment/declared", "-n", namespace, "--timeout=60s")
    assert person.try_kubectl("diff", "-f", str(file), "-n", namespace).code == 0

    file.write_text(MANIFEST.replace("blue", "green").replace("replicas: 2", "replicas: 3"))
    differs = person.try_kubectl("diff", "-f", str(file), "-n", namespace)
    assert (differs.code, "+  color: green" in differs.out) == (1, True), differs.out + differs.err
    person.kubectl("apply", "-f", str(file), "-n", namespace)
    assert person.get("configmap", "settings", "-n", namespace)["data"] == {"color": "green"}

    person.kubectl("delete", "-f", str(file), "-n", namespace, timeout=90)
    assert person.try_kubectl("get", "deployment", "declared", "-n", namespace).code == 1


def test_small_things_can_be_created(person: Operator, namespace: str) -> None:
    person.kubectl("create", "configmap", "c", "--from-literal=k=v", "-n", namespace)
    person.kubectl("create", "secret", "generic", "s", "--from-literal=password=x", "-n", namespace)
    person.kubectl("create", "serviceaccount", "robot", "-n", namespace)
    token = person.kubectl("create", "token", "robot", "-n", namespace).strip()

    assert token.count(".") == 2
    assert person.get("secret", "s", "-n", namespace)["data"] == {"password": "eA=="}
    who = person.kubectl("auth", "whoami", f"--token={token}", "-o", "jsonpath={.status.userInfo.username}")
    assert who in (f"system:serviceaccount:{namespace}:robot", "kubernetes-admin")


def test_permissions_can_be_asked(person: Operator, namespace: str) -> None:
    assert person.kubectl("auth", "can-i", "create", "pods", "-n", namespace).strip() == "yes"
    denied = person.try_kubectl("auth", "can-i", "list", "secrets", "-n", namespace,
                                "--as", f"system:serviceaccount:{namespace}:default")  # fmt: skip
    assert denied.out.strip() == "no"


def test_the_api_explains_itself(person: Operator) -> None:
    assert "containers" in person.kubectl("explain", "pod.spec")
    resources = person.kubectl("api-resources")
    assert {"deployments", "networkpolicies", "leases"} <= {line.split()[0] for line in resources.splitlines()}


def test_labels_and_annotations(person: Operator, namespace: str, web: str) -> None:
    person.kubectl("label", "deployment", "web", "tier=front", "-n", namespace)
    person.kubectl("annotate", "deployment", "web", "note=hello", "-n", namespace)

    metadata = person.get("deployment", "web", "-n", namespace)["metadata"]
    assert (metadata["labels"]["tier"], metadata["annotations"]["note"]) == ("front", "hello")


def test_a_node_is_drained_and_comes_back(person: Operator, namespace: str, web: str) -> None:
    pods = person.get("pods", "-n", namespace, "-l", "app=web")["items"]
    node = pods[0]["spec"]["nodeName"]
    try:
        person.kubectl("cordon", node)
        assert "SchedulingDisabled" in person.kubectl("get", "node", node)
        person.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s",
                       timeout=120)  # fmt: skip
        person.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
        after = person.get("pods", "-n", namespace, "-l", "app=web", "--field-selector", f"spec.nodeName={node}")[
            "items"
        ]
        assert [p for p in after if "deletionTimestamp" not in p["metadata"]] == []
    finally:
        person.kubectl("uncordon", node)
