"""Certificate requests: who asks is the server's word, and nobody approves by another door than approval."""

import base64
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.conftest import Api

REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


def request(name: str, **spec: Any) -> dict[str, Any]:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "visitor")])
    key = ec.generate_private_key(ec.SECP256R1())
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()
    made = {"request": pem, "signerName": "example.com/signer", "usages": ["client auth"], **spec}
    return {"metadata": {"name": name}, "spec": made}


def decision(kind: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": "R", "message": "m"}


async def test_a_requester_cannot_say_who_they_are(api: Api) -> None:
    body = request("liar", username="system:node:a", uid="1", groups=["system:nodes"], extra={"a": ["b"]})
    status, made = await api.call("POST", REQUESTS, body)

    assert status == 201
    assert made["spec"]["username"] == "admin"
    assert made["spec"]["groups"] == ["system:masters", "system:authenticated"]
    assert "extra" not in made["spec"]


async def test_approval_changes_conditions_and_nothing_else(api: Api) -> None:
    _, made = await api.call("POST", REQUESTS, {**request("asked"), "status": {"conditions": [decision("Approved")]}})
    assert made["status"] == {}

    other = {**made["spec"], "signerName": "other.com/x"}
    status, approved = await api.call(
        "PUT", f"{REQUESTS}/asked/approval",
        {**made, "spec": other, "status": {"conditions": [decision("Approved")], "certificate": "eA=="}},
    )  # fmt: skip
    assert status == 200
    assert approved["spec"]["signerName"] == "example.com/signer"
    assert "certificate" not in approved["status"]
    (condition,) = approved["status"]["conditions"]
    assert condition["type"] == "Approved"
    assert condition["lastUpdateTime"]
    assert condition["lastTransitionTime"]

    status, kept = await api.call("PUT", f"{REQUESTS}/asked", {**approved, "status": {}, "spec": other})
    assert (status, kept["status"], kept["spec"]) == (200, approved["status"], approved["spec"])


async def test_a_signer_neither_approves_nor_takes_an_approval_back(api: Api) -> None:
    await api.call("POST", REQUESTS, request("signed"))
    merge = "application/merge-patch+json"
    sneaked = {"status": {"conditions": [decision("Approved"), decision("Failed")]}}
    status, found = await api.call("PATCH", f"{REQUESTS}/signed/status", sneaked, merge)
    assert (status, [c["type"] for c in found["status"]["conditions"]]) == (200, ["Failed"])

    await api.call("PATCH", f"{REQUESTS}/signed/approval", {"status": {"conditions": [decision("Approved")]}}, merge)
    status, found = await api.call("PATCH", f"{REQUESTS}/signed/status", {"status": {"conditions": None}}, merge)
    assert (status, [c["type"] for c in found["status"]["conditions"]]) == (200, ["Approved"])
