"""
What the federation's apiserver has differently from a cluster's: its own kinds, templates nobody works on, and views.
"""

from cluster.apiserver.profile import Profile
from cluster.apiserver.registry.strategies import Generational, JobStrategy
from federation.api.kinds import SYSTEM_NAMESPACE, definitions
from federation.apiserver.board.serving import BoardPages
from federation.apiserver.member_authorizer import MemberAuthorizer
from federation.apiserver.member_restriction import MemberRestriction
from federation.apiserver.returning_members import ReturningMembers
from federation.apiserver.views import metrics
from federation.apiserver.views.serving import VIEWS, MemberViews

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


def profile() -> Profile:
    return Profile(
        definitions=(*definitions(), *metrics.definitions()),
        namespaces=(SYSTEM_NAMESPACE,),
        only_stores=True,
        plugins_off=PLUGINS_OFF,
        plugins=(MemberRestriction,),
        authorizer=MemberAuthorizer,
        token_sources=(ReturningMembers,),
        views=MemberViews,
        viewed=VIEWS | metrics.VIEWS,
        public=BoardPages(),
        strategies={"jobs.batch": JobTemplate, "replicationcontrollers": ControllerTemplate},
    )
