"""Nobody gets more than he has: personas times attempts, against a running server; each refusal is written down."""

import base64
import json
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.conftest import TOKEN, Api, serving

SCENARIO = yaml.safe_load((Path(__file__).parents[1] / "scenarios/apiserver/escalations.yaml").read_text())
RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"
NAMESPACE = "escalation"
MERGE = "application/merge-patch+json"


def signing_request(organization: str, signer: str) -> dict[str, Any]:
    names = [
        x509.NameAttribute(NameOID.COMMON_NAME, "evil"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
    ]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    pem = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
        serialization.Encoding.PEM
    )
    spec = {"request": base64.b64encode(pem).decode(), "signerName": signer, "usages": ["client auth"]}
    return {
        "kind": "CertificateSigningRequest", "apiVersion": "certificates.k8s.io/v1",
        "metadata": {"generateName": "evil-"}, "spec": spec,
    }  # fmt: skip


def tokens(directory: Path) -> Path:
    lines = [f'{TOKEN},admin,1,"system:masters"']
    for name, persona in SCENARIO["personas"].items():
        groups = ",".join(persona.get("groups", []))
        lines.append(f'token-of-{name.rpartition(":")[2]},{name},{name},"{groups}"')
    path = directory / "personas.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


async def create(api: Api, path: str, obj: dict[str, Any]) -> None:
    status, answer = await api.call("POST", path, obj)
    assert status == 201, answer


async def prepare(api: Api) -> None:
    await api.namespace(NAMESPACE)
    for name, persona in SCENARIO["personas"].items():
        subject = {"kind": "User", "apiGroup": GROUP, "name": name}
        bound = [f"system:{part}" for part in persona.get("cluster", persona.get("namespace", []))]
        if "rules" in persona:
            given = {"kind": "ClusterRole", "apiVersion": f"{GROUP}/v1", "metadata": {"name": name}}
            await create(api, f"{RBAC}/clusterroles", {**given, "rules": persona["rules"]})
            bound = [name]
        for role in bound:
            binding = {
                "apiVersion": f"{GROUP}/v1", "metadata": {"name": f"{name}-{role}"}, "subjects": [subject],
                "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            }  # fmt: skip
            if "namespace" in persona:
                await create(api, f"{RBAC}/namespaces/{NAMESPACE}/rolebindings", {"kind": "RoleBinding", **binding})
            else:
                await create(api, f"{RBAC}/clusterrolebindings", {"kind": "ClusterRoleBinding", **binding})
    victim = signing_request("dev", "kubernetes.io/kube-apiserver-client")
    await create(
        api, "/apis/certificates.k8s.io/v1/certificatesigningrequests", {**victim, "metadata": {"name": "victim"}}
    )
    mine = {**signing_request("dev", "example.com/mine"), "metadata": {"name": "mine"}}
    await create(api, "/apis/certificates.k8s.io/v1/certificatesigningrequests", mine)
    await create(api, "/api/v1/nodes", {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1"}})
    account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
    await api.call("POST", "/api/v1/namespaces/kube-system/serviceaccounts", account)
    pod = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "etcd"},
        "spec": {"containers": [{"name": "a", "image": "b"}]},
    }
    await create(api, "/api/v1/namespaces/kube-system/pods", pod)
    lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "n1"}}
    await create(api, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease)


async def attempt(api: Api, who: str, given: dict[str, Any], audit_id: str) -> tuple[int, str]:
    body = given.get("body")
    if "csr" in given:
        body = signing_request(given["csr"]["organization"], given["csr"]["signer"])
    method = given.get("method", "POST")
    kind = given.get("type", MERGE if method == "PATCH" else "application/json")
    text = None if body is None else json.dumps(body).replace("{me}", who).encode()
    headers = {"Authorization": f"Bearer token-of-{who.rpartition(':')[2]}", "Audit-ID": audit_id}
    path = given["path"].replace("{ns}", NAMESPACE)
    status, answer = await api.call(method, path, text, kind, **headers, **given.get("headers", {}))
    return status, answer["message"] if isinstance(answer, dict) and "message" in answer else str(answer)[:200]


def is_worded_as_upstream(message: str) -> bool:
    return " is forbidden: " in message or message.startswith("forbidden: ")


async def test_no_attempt_succeeds_and_each_is_written_down(etcd_url: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "kind: Policy\napiVersion: audit.k8s.io/v1\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"
    )
    flags = [
        f"--token-auth-file={tokens(tmp_path)}", "--enable-admission-plugins=NodeRestriction",
        f"--audit-policy-file={policy}", f"--audit-log-path={tmp_path / 'audit.log'}",
    ]  # fmt: skip
    async with serving(etcd_url, tmp_path, *flags) as api:
        await prepare(api)
        before = await _roles(api)
        outcomes: dict[str, tuple[int, str]] = {}
        for who in SCENARIO["personas"]:
            for given in SCENARIO["attempts"]:
                if who not in given.get("except", []):
                    name = f"{who}: {given['name']}"
                    outcomes[name] = await attempt(api, who, given, str(len(outcomes)))
        assert len(outcomes) >= 400
        # A role that is not there cannot be bound: 404, in upstream's words.
        wrong = {
            name: outcome
            for name, outcome in outcomes.items()
            if not (outcome[0] == 403 and is_worded_as_upstream(outcome[1]))
            and not (outcome[0] == 404 and outcome[1] == 'clusterroles.rbac.authorization.k8s.io "later" not found')
        }
        assert wrong == {}
        assert await _roles(api) == before
        controls = {
            given["name"]: (await attempt(api, given["as"], given, "control"))[0] for given in SCENARIO["controls"]
        }
        assert controls == {given["name"]: given["status"] for given in SCENARIO["controls"]}
        written = {}
        for line in (tmp_path / "audit.log").read_text().splitlines():
            event = json.loads(line)
            written[event["auditID"]] = event["responseStatus"]["code"]
        assert {str(at): outcome[0] for at, outcome in enumerate(outcomes.values())}.items() <= written.items()
        for path in ("/api/v1/namespaces/kube-system/pods/etcd?gracePeriodSeconds=0", "/api/v1/nodes/n1"):
            await api.call("DELETE", path)


async def _roles(api: Api) -> dict[str, Any]:
    found = {}
    for plural in ("clusterroles", "clusterrolebindings", "roles", "rolebindings"):
        for item in (await api.call("GET", f"{RBAC}/{plural}"))[1]["items"]:
            metadata = item["metadata"]
            found[f"{plural}/{metadata.get('namespace', '')}/{metadata['name']}"] = metadata["resourceVersion"]
    return found
