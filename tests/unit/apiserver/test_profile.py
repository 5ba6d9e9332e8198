"""What a profile keeps for itself: its groups and its namespaces. The cluster's own keeps nothing."""

import pytest

from cluster.api import resources
from cluster.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from cluster.apiserver.admission.plugin import Surroundings
from cluster.apiserver.custom_resources.strategy import DefinitionStrategy
from cluster.apiserver.profile import CLUSTER
from cluster.apiserver.requests import LOOPBACK, AdmissionRequest
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import Forbidden, Invalid
from federation.apiserver.profile import profile
from tests.fakes.object_store import FakeObjects

DEFINITIONS = resources.named("customresourcedefinitions.apiextensions.k8s.io")


def definition(group: str) -> Object:
    return {"metadata": {"name": f"lamps.{group}"}, "spec": {"group": group}}


async def test_nobody_defines_kinds_in_the_groups_of_a_profile() -> None:
    strategy = DefinitionStrategy(DEFINITIONS)
    strategy.reserved = profile().groups
    for group in ("federation", "federation.hanse.io"):
        with pytest.raises(Invalid, match=r"spec\.group"):
            await strategy.begin_create(definition(group), dry_run=True)
    assert await strategy.begin_create(definition("example.com"), dry_run=False) is None
    assert not CLUSTER.groups


async def test_namespaces_of_a_profile_may_not_be_deleted() -> None:
    store = FakeObjects()
    request = AdmissionRequest(
        "DELETE", resources.NAMESPACES, "", "", "federation-system", obj=None, old=None, user=LOOPBACK
    )
    await NamespaceLifecycle(Surroundings(store, store)).mutate(request)
    with pytest.raises(Forbidden, match="may not be deleted"):
        await NamespaceLifecycle(Surroundings(store, store, kept_namespaces=profile().namespaces)).mutate(request)
