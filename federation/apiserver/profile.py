"""
What the federation's apiserver has differently from a cluster's: its own kinds, templates nobody works on, and views.
"""

from cluster.apiserver.profile import Profile
from cluster.apiserver.registry.services import ServiceStrategy
from cluster.apiserver.registry.strategies import Generational, JobStrategy
from cluster.apiserver.registry.strategy import Undo
from cluster.machinery.objects import Object
from federation.api.kinds import SYSTEM_NAMESPACE, definitions
from federation.apiserver.board.serving import BoardPages
from federation.apiserver.deletion_protection import DeletionProtection
from federation.apiserver.member_authorizer import MemberAuthorizer
from federation.apiserver.member_restriction import MemberRestriction
from federation.apiserver.returning_members import ReturningMembers
from federation.apiserver.views import metrics
from federation.apiserver.views.serving import CONNECTIONS, VIEWS, MemberViews
from federation.placement.member_owned import NO_ADDRESS

PLUGINS_OFF = frozenset(
    {
        # What they fill in or count is a matter of the members, each of which does it in its own way.
        "ServiceAccount",
        "LimitRanger",
        "ResourceQuota",
        "DefaultStorageClass",
        "PersistentVolumeClaimResize",
        "DefaultIngressClass",
        "PodTopologyLabels",
        # Its finalizer would be taken away by a controller that only members have.
        "StorageObjectInUseProtection",
    }
)


class JobTemplate(JobStrategy):
    """Its Pods are in the members: nobody here could let go of them."""

    default_propagation = "Background"


class ControllerTemplate(Generational):
    """As a Job's: a ReplicationController."""


class ServiceTemplate(ServiceStrategy):
    """
    Has its addresses in the members, each its own. Here it has the one that is none.

    Helm and others who wait for a Service take it to be there once it has an address; what it is does not matter to
    them.
    """

    async def begin_create(self, obj: Object, *, dry_run: bool) -> Undo | None:
        self._fill_in(obj)
        return await super().begin_create(obj, dry_run=dry_run)

    async def begin_update(self, new: Object, old: Object, *, dry_run: bool) -> Undo | None:
        self._fill_in(new)
        return await super().begin_update(new, old, dry_run=dry_run)

    def _fill_in(self, obj: Object) -> None:
        spec = obj.get("spec") or {}
        if spec.get("type") != "ExternalName" and not spec.get("clusterIP"):
            spec["clusterIP"], spec["clusterIPs"] = NO_ADDRESS, [NO_ADDRESS]


def profile() -> Profile:
    return Profile(
        definitions=(*definitions(), *metrics.definitions()),
        namespaces=(SYSTEM_NAMESPACE,),
        only_stores=True,
        plugins_off=PLUGINS_OFF,
        plugins=(MemberRestriction, DeletionProtection),
        authorizer=MemberAuthorizer,
        token_sources=(ReturningMembers,),
        views=MemberViews,
        viewed=VIEWS | metrics.VIEWS,
        connected=CONNECTIONS,
        public=BoardPages(),
        strategies={
            "jobs.batch": JobTemplate,
            "replicationcontrollers": ControllerTemplate,
            "services": ServiceTemplate,
        },
    )
