"""DenyServiceExternalIPs and AlwaysPullImages: off by default, asked for by hardening guides."""

from cluster.apiserver.admission.plugin import CREATE, UPDATE, Plugin, refuse, spec_of
from cluster.apiserver.pod_references import containers_of
from cluster.apiserver.requests import AdmissionRequest


class DenyServiceExternalIPs(Plugin):
    """Nobody adds an external address to a Service: whoever can is able to take over traffic (CVE-2020-8554)."""

    name = "DenyServiceExternalIPs"
    operations = frozenset({CREATE, UPDATE})
    resources = frozenset({"services"})

    async def validate(self, request: AdmissionRequest) -> None:
        if request.subresource or request.obj is None:
            return
        had = set(spec_of(request.old).get("externalIPs") or ())
        if not set(spec_of(request.obj).get("externalIPs") or ()) <= had:
            raise refuse(request, "Use of external IPs is denied by admission control.")


class AlwaysPullImages(Plugin):
    """Every start of a container asks the registry, so a cached private image is no way around its pull secret."""

    name = "AlwaysPullImages"
    operations = frozenset({CREATE, UPDATE})
    resources = frozenset({"pods"})

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.obj is None or request.subresource not in ("", "ephemeralcontainers"):
            return
        for container in containers_of(spec_of(request.obj)):
            container["imagePullPolicy"] = "Always"
