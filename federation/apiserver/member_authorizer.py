"""
What an agent of a pull-mode member may do at the federation, as the Node authorizer says it for kubelets.

It reads templates, placements and policies, Secrets only where a Placement sends them to its cluster; it writes its
heartbeat, the status of its Cluster and of Placements (`member_restriction` looks at what is in them). Bootstrap tokens
and agents that come back may ask for a certificate. Roles can give neither of them more.
"""

from cluster.api import resources
from cluster.apiserver.requests import Attributes, Decision, ObjectReader, UserInfo
from cluster.machinery.fields import FieldSelector
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import BadRequest
from federation.api.kinds import CLUSTER_VERSION, GROUP, SYSTEM_NAMESPACE
from federation.api.resources import CLUSTERS, PLACEMENTS, placement_name
from federation.apiserver.views import metrics
from federation.apiserver.views.serving import VIEWS
from federation.membership import agents

_READ = frozenset({"get", "list", "watch"})
_WRITE_STATUS = frozenset({"get", "update", "patch"})
_ASK = frozenset({"create", "get"})
_BASIC = frozenset({"authorization.k8s.io", "authentication.k8s.io"})
_CLUSTER_GROUP = CLUSTER_VERSION.partition("/")[0]
_HIDDEN = frozenset(
    {
        ("coordination.k8s.io", "leases"), ("certificates.k8s.io", "certificatesigningrequests"),
        ("apiregistration.k8s.io", "apiservices"), (GROUP, "dnsrecordsets"),
    }
)  # fmt: skip
"""Kinds that are no templates, besides views."""
_VIEWED = VIEWS | metrics.VIEWS
_NEVER = frozenset({"kube-system", "kube-node-lease"})


class MemberAuthorizer:
    """Satisfies `cluster.apiserver.authorization.UserAuthorizer`."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    def concerns(self, user: UserInfo) -> bool:
        groups = user.groups
        return agents.GROUP in groups or agents.BOOTSTRAPPERS in groups or agents.RETURNING in groups

    async def authorize(self, attributes: Attributes) -> Decision:
        a = attributes
        if not a.is_resource or a.group in _BASIC:
            return Decision(False)  # discovery and questions about oneself: roles decide, as for everybody
        if a.group == "certificates.k8s.io" and a.resource == "certificatesigningrequests" and not a.subresource:
            return Decision(True) if a.verb in _ASK else _no("an agent asks for its own certificate alone")
        if agents.GROUP not in a.user.groups:
            return _no("a bootstrap token is for asking for a certificate")
        name = agents.cluster_of(a.user.name, a.user.groups)
        cluster = self._reader.get(CLUSTERS, "", name) if name else None
        if name is None or cluster is None or cluster["metadata"].get("uid") != agents.uid_of(a.user.groups):
            return _no(f"{a.user.name} is no member now")
        return self._decide(name, a)

    def _decide(self, cluster: str, a: Attributes) -> Decision:
        match (a.group, a.resource, a.subresource):
            case ("coordination.k8s.io", "leases", ""):
                own = a.namespace == SYSTEM_NAMESPACE and a.name in ("", agents.lease_name(cluster))
                named = a.verb == "create" or (a.name and a.verb in {*_WRITE_STATUS, "delete"})
                return Decision(True) if own and named else _no(f"the only Lease of cluster {cluster} is its heartbeat")
            case (group, "clusters", "status") if group == _CLUSTER_GROUP:
                mine = a.name == cluster and a.verb in _WRITE_STATUS
                return Decision(True) if mine else _no(f"cluster {cluster} writes its own status alone")
            case (group, "clusters", "tunnel") if group == _CLUSTER_GROUP:
                mine = a.name == cluster and a.verb == "get"
                return Decision(True) if mine else _no(f"cluster {cluster} holds a tunnel of its own alone")
            case (group, "clusters", "") if group == _CLUSTER_GROUP and a.verb == "patch":
                return Decision(True) if a.name == cluster else _no(f"cluster {cluster} is not {a.name}")
            case (group, "placements" | "clusterplacements", "status") if group == GROUP:
                return Decision(True) if a.verb in _WRITE_STATUS else _no("a Placement's status is updated")
            case ("", "secrets", ""):
                return self._secret(cluster, a)
            case _:
                return self._template(a)

    def _template(self, a: Attributes) -> Decision:
        kind = (a.group, a.resource)
        if a.verb not in _READ or a.subresource or kind in _VIEWED or kind in _HIDDEN:
            return _no("an agent reads templates, placements and policies")
        if a.namespace and (a.namespace == SYSTEM_NAMESPACE or a.namespace in _NEVER):
            return _no(f"nothing of namespace {a.namespace} goes to members")
        return Decision(True)

    def _secret(self, cluster: str, a: Attributes) -> Decision:
        name = a.name or _selected_name(a.field_selector)
        if a.verb not in _READ or not a.namespace or not name:
            return _no("an agent reads Secrets by name")
        placement = self._reader.get(PLACEMENTS, a.namespace, placement_name("", "Secret", name))
        secret = self._reader.get(resources.SECRETS, a.namespace, name)
        if placement is None or secret is None or not _sends(placement, secret, name, cluster):
            return _no(f"no Placement sends this Secret to cluster {cluster}")
        return Decision(True)


def _sends(placement: Object, secret: Object, name: str, cluster: str) -> bool:
    spec = placement["spec"]
    template = spec.get("template") or {}
    # A Secret that was made anew under the name is decided about anew, too.
    if template.get("name") != name or template.get("uid", secret["metadata"]["uid"]) != secret["metadata"]["uid"]:
        return False
    assigned = (*(spec.get("clusters") or ()), *(spec.get("evicting") or ()))
    return any(one["name"] == cluster for one in assigned)


def _selected_name(field_selector: str) -> str:
    """The one name that a selector lets through; empty when it lets more."""
    try:
        return FieldSelector.parse(field_selector).exact("metadata.name") or ""
    except BadRequest:
        return ""


def _no(reason: str) -> Decision:
    return Decision(False, reason, denied=True)
