"""
May this certificate be had? The decision on agents' CertificateSigningRequests. Pure.

Who asks is a bootstrap token of one cluster, an agent that renews, or one that comes back with an expired certificate.
Source of the shape: kube-controller-manager, pkg/controller/certificates/approver.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.machinery.objects import Object
from cluster.pki.signing_request import SigningRequest
from federation.membership import agents
from federation.membership.bootstrap_tokens import granted


@dataclass(frozen=True, slots=True)
class Verdict:
    approved: bool
    why: str
    identity: str = ""
    """uid of kube-system, to be written into the Cluster when it has none yet."""
    server: str = ""
    authority: str = ""
    """PEM in base64."""


def judge(
    csr: Object, request: SigningRequest, cluster: Object | None, token: Object | None, others: Iterable[Object]
) -> Verdict:
    """
    Args:
        csr: The request as it is stored; who asks is the apiserver's word.
        request: What is in it.
        cluster: The Cluster that the request names.
        token: The Secret of the requester's bootstrap token, if that is how he came.
        others: All Clusters.
    """
    if faults := form_faults(csr, request):
        return Verdict(False, "; ".join(faults))
    name = request.content.common_name.removeprefix(agents.USER_PREFIX)
    if cluster is None:
        return Verdict(False, f"there is no cluster {name}: invite it with `federate join {name} --pull`")
    if not agents.is_pull(cluster):
        return Verdict(False, f"cluster {name} is in push mode and has no agent")
    if why := _stranger(csr, cluster, token):
        return Verdict(False, why)
    annotations = csr["metadata"].get("annotations") or {}
    identity = str(annotations.get(agents.IDENTITY) or "")
    if not identity:
        return Verdict(False, f"the request does not say which cluster it is for (annotation {agents.IDENTITY})")
    known = cluster["spec"].get("uid") or ""
    if known and known != identity:
        return Verdict(False, f"cluster {name} is another one: its kube-system has the uid {known}, not {identity}")
    for other in others:
        if other["metadata"]["name"] != name and (other.get("spec") or {}).get("uid") == identity:
            return Verdict(False, f"this cluster is a member already, as {other['metadata']['name']}")
    server, authority = (str(annotations.get(key) or "") for key in (agents.SERVER, agents.AUTHORITY))
    return Verdict(True, f"the agent of cluster {name}", identity if not known else "", server, authority)


def form_faults(csr: Object, request: SigningRequest) -> list[str]:
    """Why a request is none of an agent's."""
    content, found = request.content, []
    if not content.common_name.startswith(agents.USER_PREFIX) or content.common_name == agents.USER_PREFIX:
        found.append(f"common name {content.common_name!r} does not name a member")
    if list(content.organizations) != [agents.GROUP]:
        found.append(f"organization is {list(content.organizations)}, not {agents.GROUP}")
    if content.dns_names or content.ip_addresses or request.other_names:
        found.append("subject alternative names are not allowed")
    usages = set(csr["spec"].get("usages") or ())
    if usages not in (set(agents.USAGES), {*agents.USAGES, "key encipherment"}):
        found.append(f"usages are {sorted(usages)}, not those of a client")
    return found


def _stranger(csr: Object, cluster: Object, token: Object | None) -> str:
    """Why the requester may not speak for the cluster; empty when he may."""
    name, uid = cluster["metadata"]["name"], cluster["metadata"].get("uid") or ""
    user, groups = csr["spec"].get("username") or "", csr["spec"].get("groups") or ()
    if token is not None:
        if granted(token) == (name, uid):
            return ""
        return f"the bootstrap token is not for cluster {name}: invite it again with `federate join {name} --pull`"
    known = agents.GROUP in groups or agents.RETURNING in groups
    if known and user == agents.user_of(name):
        return "" if agents.uid_of(groups) == uid else f"the certificate is of an earlier member called {name}"
    return f"{user or 'nobody'} does not speak for cluster {name}"
