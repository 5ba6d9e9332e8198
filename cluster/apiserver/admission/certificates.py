"""Who may approve and sign certificate requests, and that nobody gets system:masters by one."""

from cluster.apiserver.admission.plugin import CREATE, UPDATE, Plugin, refuse, spec_of
from cluster.apiserver.requests import AdmissionRequest, Attributes
from cluster.machinery.field_errors import quoted
from cluster.pki.authority import PkiError
from cluster.pki.signing_request import decode_request_field, read_signing_request

GROUP = "certificates.k8s.io"
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
REQUESTS = "certificatesigningrequests.certificates.k8s.io"


class _SignerPlugin(Plugin):
    """Asks whether the user has a verb on the request's signer."""

    operations = frozenset({UPDATE})
    resources = frozenset({REQUESTS})

    async def _require(self, request: AdmissionRequest, verb: str) -> None:
        signer = str(spec_of(request.old).get("signerName") or "")
        if not await self._may(request, verb, signer):
            raise refuse(request, f"user not permitted to {verb} requests with signerName {quoted(signer)}")

    async def _may(self, request: AdmissionRequest, verb: str, signer: str) -> bool:
        """Leave is given for one signer or, by `domain/*`, for all of a domain."""
        authorizer = self.around.authorizer
        if authorizer is None:
            return True
        for name in (signer, f"{signer.partition('/')[0]}/*"):
            question = Attributes(request.user, verb, GROUP, "*", "signers", name=name)
            if (await authorizer.authorize(question)).allowed:
                return True
        return False


class CertificateApproval(_SignerPlugin):
    name = "CertificateApproval"

    async def validate(self, request: AdmissionRequest) -> None:
        if request.subresource == "approval":
            await self._require(request, "approve")


class CertificateSigning(_SignerPlugin):
    name = "CertificateSigning"

    async def validate(self, request: AdmissionRequest) -> None:
        if request.subresource != "status" or request.obj is None:
            return
        new, old = request.obj.get("status") or {}, (request.old or {}).get("status") or {}
        if new.get("certificate") == old.get("certificate") and new.get("conditions") == old.get("conditions"):
            return
        await self._require(request, "sign")


class CertificateSubjectRestriction(Plugin):
    name = "CertificateSubjectRestriction"
    operations = frozenset({CREATE})
    resources = frozenset({REQUESTS})

    async def validate(self, request: AdmissionRequest) -> None:
        spec = spec_of(request.obj)
        if request.subresource or spec.get("signerName") != CLIENT_SIGNER:
            return
        try:
            asked = read_signing_request(decode_request_field(spec.get("request")))
        except PkiError as error:
            raise refuse(request, f"failed to parse CSR: {error}") from error
        if "system:masters" in asked.content.organizations:
            raise refuse(
                request,
                f"use of {CLIENT_SIGNER} signer with system:masters group is not allowed",
            )
