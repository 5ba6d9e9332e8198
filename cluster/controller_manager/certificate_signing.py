"""
Approve and sign the certificates that kubelets ask for.

`faults` and `approves` are pure: which request is a kubelet's, for itself. Signing is `cluster.pki.issue`'s.
Source: kube-controller-manager, pkg/controller/certificates/{approver,signer}.
"""

import base64
import dataclasses
import datetime

from cluster.api import resources
from cluster.client.controller import Controller
from cluster.controller_manager.context import Context, enqueue_all
from cluster.controller_manager.pods import condition
from cluster.machinery.objects import Key, Object, copy_object
from cluster.machinery.timestamps import format_time
from cluster.pki.authority import PkiError, load_authority
from cluster.pki.issue import Usage, issue_certificate
from cluster.pki.signing_request import SigningRequest, decode_request_field, read_signing_request

REQUESTS = resources.named("certificatesigningrequests.certificates.k8s.io")
ACCESS_REVIEWS = resources.named("subjectaccessreviews.authorization.k8s.io")
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
NODES_GROUP = "system:nodes"
_CLIENT_USAGES = ({"client auth", "digital signature", "key encipherment"}, {"client auth", "digital signature"})
_SERVER_USAGES = ({"server auth", "digital signature", "key encipherment"}, {"server auth", "digital signature"})


def faults(signer: str, usages: set[str], request: SigningRequest) -> list[str]:
    """Why a request may not be signed by this signer; empty when it may."""
    found = []
    content = request.content
    if signer in (KUBELET_CLIENT, KUBELET_SERVING):
        if list(content.organizations) != [NODES_GROUP]:
            found.append(f"organization is {list(content.organizations)}, not system:nodes")
        if not content.common_name.startswith("system:node:"):
            found.append(f"subject common name {content.common_name!r} does not begin with system:node:")
    names, addresses = list(content.dns_names), list(content.ip_addresses)
    if request.other_names:
        found.append(f"alternative names {', '.join(request.other_names)} are not allowed")
    if signer in (KUBELET_CLIENT,) and (names or addresses):
        found.append("subject alternative names are not allowed")
    if signer == KUBELET_SERVING and not (names or addresses):
        found.append("at least one of dnsNames or ipAddresses is needed")
    allowed = _SERVER_USAGES if signer == KUBELET_SERVING else _CLIENT_USAGES
    if signer == CLIENT_SIGNER:
        if "client auth" not in usages or not usages <= _CLIENT_USAGES[0]:
            found.append(f"usages are {sorted(usages)}, not those of a client")
    elif usages not in allowed:
        found.append(f"usages are {sorted(usages)}, not one of {[sorted(a) for a in allowed]}")
    return found


def approves(csr: Object, request: SigningRequest) -> str:
    """
    The access that the requester must have for an automatic approval: `selfnodeclient` or `nodeclient`.

    Empty when nobody approves by themselves.
    """
    spec = csr["spec"]
    if spec.get("signerName") != KUBELET_CLIENT or faults(KUBELET_CLIENT, set(spec.get("usages") or ()), request):
        return ""
    return "selfnodeclient" if spec.get("username") == request.content.common_name else "nodeclient"


def lifetime(csr: Object, longest: float) -> datetime.timedelta:
    asked = csr["spec"].get("expirationSeconds")
    return datetime.timedelta(seconds=max(600.0, min(float(asked), longest)) if asked else longest)


class CertificateSigningController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._settings = context.settings
        self._requests = context.informers.of(REQUESTS)
        self.controller = Controller("certificate-signing", self.reconcile, workers=1)
        enqueue_all(self.controller, self._requests)

    async def run(self) -> None:
        await self.controller.run()

    async def reconcile(self, key: Key) -> None:
        csr = self._requests.get(key)
        if csr is None or (csr.get("status") or {}).get("certificate") or condition(csr, "Denied"):
            return
        try:
            request = read_signing_request(decode_request_field(csr["spec"].get("request")))
        except PkiError as error:
            if condition(csr, "Approved") and csr["spec"].get("signerName") in (KUBELET_CLIENT, KUBELET_SERVING):
                await self._fail(csr, str(error))
            return
        if condition(csr, "Approved"):
            await self._sign(csr, request)
            return
        access = approves(csr, request)
        if access and await self._may(csr, access):
            await self._approve(csr, access)

    async def _may(self, csr: Object, access: str) -> bool:
        spec = csr["spec"]
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": spec.get("username") or "",
                "uid": spec.get("uid") or "",
                "groups": spec.get("groups") or [],
                "extra": spec.get("extra") or {},
                "resourceAttributes": {
                    "group": "certificates.k8s.io",
                    "resource": "certificatesigningrequests",
                    "verb": "create",
                    "subresource": access,
                    "version": "*",
                },
            },
        }
        answer = await self._client.create(ACCESS_REVIEWS, review)
        return bool((answer.get("status") or {}).get("allowed"))

    async def _approve(self, csr: Object, access: str) -> None:
        whose = "self kubelet client" if access == "selfnodeclient" else "kubelet client"
        changed = _with_condition(
            csr, "Approved", "AutoApproved", f"Auto approving {whose} certificate after SubjectAccessReview."
        )
        await self._client.update(REQUESTS, changed, subresource="approval")

    async def _sign(self, csr: Object, request: SigningRequest) -> None:
        signer = csr["spec"].get("signerName")
        if signer not in (CLIENT_SIGNER, KUBELET_CLIENT, KUBELET_SERVING):
            return
        usages = set(csr["spec"].get("usages") or ())
        wrong = faults(signer, usages, request)
        if wrong:
            await self._fail(csr, "; ".join(wrong))
            return
        cert_file, key_file = self._settings.signing_cert_file, self._settings.signing_key_file
        if cert_file is None or key_file is None:
            return
        # Read each time: the CA may be replaced under us, and requests are rare.
        authority = load_authority(cert_file.read_bytes(), key_file.read_bytes())
        usage = Usage.SERVER if signer == KUBELET_SERVING else Usage.CLIENT
        content = dataclasses.replace(request.content, usages=(usage,))
        now = datetime.datetime.now(datetime.UTC)
        pem = issue_certificate(
            authority,
            content,
            request.public_key,
            now=now,
            lifetime=lifetime(csr, self._settings.signing_duration),
        )
        changed = copy_object(csr)
        changed.setdefault("status", {})["certificate"] = base64.b64encode(pem).decode()
        await self._client.update(REQUESTS, changed, subresource="status")

    async def _fail(self, csr: Object, why: str) -> None:
        if condition(csr, "Failed") is None:
            await self._client.update(
                REQUESTS, _with_condition(csr, "Failed", "SignerValidationFailure", why), subresource="status"
            )


def _with_condition(csr: Object, kind: str, reason: str, message: str) -> Object:
    changed = copy_object(csr)
    stamp = format_time(datetime.datetime.now(datetime.UTC))
    entry = {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
    }
    changed.setdefault("status", {}).setdefault("conditions", []).append(entry)
    return changed
