"""Members are lost, return and leave; the placer dies between any two steps."""

import asyncio
import datetime as dt
from typing import Any

from cluster.api import resources
from cluster.machinery.objects import Object
from cluster.machinery.timestamps import format_time
from federation.api.resources import CLUSTER_REMEDIES, CLUSTERS, PROPAGATION_POLICIES
from federation.controllers.links.parts import part_of
from tests.integration.placing import (
    Federation,
    config_map,
    config_map_ref,
    deployment,
    deployment_ref,
    endpoint,
    federation,
    only,
    parts,
    policy,
)

__all__ = ["endpoint", "federation"]

WEB = deployment_ref("web")
SETTINGS = config_map_ref("settings")


def ago(seconds: float) -> str:
    return format_time(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds))


def runs(replicas: int) -> dict[str, Any]:
    return {"state": "Applied", "status": {"replicas": replicas, "readyReplicas": replicas}}


async def test_replicas_of_a_lost_member_move_and_return_with_it(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    await federation.create(resources.DEPLOYMENTS, deployment("web", 4))
    placed = await federation.placed(WEB)
    assert parts(placed) == {"east": 2, "west": 2}
    await federation.report(WEB, {"east": runs(2), "west": runs(2)})

    federation.isolated = True
    await federation.lose("west", since=ago(3600))
    await federation.quiet()
    await asyncio.sleep(0.3)
    assert parts(await federation.placed(WEB)) == {"east": 2, "west": 2}
    federation.isolated = False
    placed = await federation.placed(WEB, lambda found: parts(found) == {"east": 4})
    assert parts(placed, "evicting") == {"west": 2}
    assert placed["spec"]["displaced"] == [{"cluster": "west", "replicas": 2}]
    await federation.report(WEB, {"east": runs(4)})
    placed = await federation.placed(WEB, lambda found: not parts(found, "evicting"))
    assert parts(placed, "tombstones") == {"west": "Evicted"}

    await federation.tell("west", phase="Ready", conditions=[])
    placed = await federation.placed(WEB, lambda found: parts(found) == {"east": 2, "west": 2})
    assert not parts(placed, "tombstones")


async def test_nobody_is_evicted_before_the_toleration_ends(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    tolerant = policy("tolerant", "Deployment", "apps/v1", {}, failover={"tolerationSeconds": 3})
    await federation.create(PROPAGATION_POLICIES, tolerant)
    await federation.create(resources.DEPLOYMENTS, deployment("web", 4))
    await federation.placed(WEB, lambda found: found["spec"].get("policy") == "default/tolerant")
    before = await federation.version()
    await federation.lose("west", since=ago(0))
    await federation.quiet()
    assert await federation.version() == before + 1
    await federation.placed(WEB, lambda found: parts(found) == {"east": 4})


async def test_what_has_no_replicas_stays_where_it_is_lost(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    await federation.create(resources.CONFIG_MAPS, config_map("settings"))
    await federation.placed(SETTINGS)
    await federation.quiet()
    before = await federation.version()
    await federation.lose("west", since=ago(3600))
    await federation.quiet()
    await asyncio.sleep(0.3)
    assert await federation.version() == before + 1


async def test_a_member_that_leaves_vanishes_from_every_placement(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    await federation.create(resources.DEPLOYMENTS, deployment("web", 4))
    await federation.create(resources.CONFIG_MAPS, config_map("settings"), config_map("old"))
    for ref in (WEB, SETTINGS, config_map_ref("old")):
        await federation.placed(ref)
    await federation.tell("west", phase="Leaving")
    placed = await federation.placed(WEB, lambda found: parts(found) == {"east": 4})
    assert parts(placed, "evicting") == {"west": 2}
    await federation.client.delete(resources.CONFIG_MAPS, "old", namespace="default")
    await federation.placed(config_map_ref("old"), lambda found: set(parts(found, "tombstones")) == {"east", "west"})
    await federation.client.delete(CLUSTERS, "west")
    for ref in (WEB, SETTINGS, config_map_ref("old")):
        placed = await federation.placed(ref, lambda found: "west" not in str(found["spec"]))


async def test_deletions_and_new_ones_of_the_same_name_while_nobody_looked(federation: Federation) -> None:
    await federation.join("east")
    await federation.start()
    await federation.create(resources.CONFIG_MAPS, config_map("settings"), config_map("anew"))
    uid = (await federation.placed(config_map_ref("anew")))["spec"]["template"]["uid"]
    await federation.placed(SETTINGS)
    await federation.quiet()
    await federation.stop()

    for name in ("settings", "anew"):
        await federation.client.delete(resources.CONFIG_MAPS, name, namespace="default")
    await federation.create(resources.CONFIG_MAPS, config_map("anew"))
    await federation.start()
    placed = await federation.placed(SETTINGS, lambda found: not parts(found))
    assert parts(placed, "tombstones") == {"east": "Missing"}
    anew = await federation.placed(config_map_ref("anew"), lambda found: found["spec"]["template"]["uid"] != uid)
    assert [(one["cluster"], one["uid"]) for one in anew["spec"]["tombstones"]] == [("east", uid)]
    assert parts(anew) == {"east": None}

    await federation.stop()  # members carry it out while nobody looks
    await federation.report(config_map_ref("anew"), {"east": {"state": "Gone", "uid": uid}})
    await federation.report(SETTINGS, {"east": {"state": "Gone", "uid": placed["spec"]["template"]["uid"]}})
    await federation.start()
    await federation.gone(SETTINGS)
    await federation.placed(config_map_ref("anew"), lambda found: not parts(found, "tombstones"))


async def test_the_last_word_on_where_a_copy_was_survives_the_policy(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    for name, deletion in (("kept", "Keep"), ("cleared", "Delete")):
        select = {"name": name}
        first = policy(name, "ConfigMap", "v1", only("east"), select=select, priority=2, deletionPolicy=deletion)
        second = policy(f"{name}-next", "ConfigMap", "v1", only("west"), select=select)
        await federation.create(PROPAGATION_POLICIES, first, second)
        await federation.create(resources.CONFIG_MAPS, config_map(name))
        ref = config_map_ref(name)
        await federation.placed(ref, lambda found: parts(found) == {"east": None})
        await federation.client.delete(PROPAGATION_POLICIES, name, namespace="default")
        placed = await federation.placed(ref, lambda found: parts(found) == {"west": None})
        [tombstone] = placed["spec"]["tombstones"]
        assert tombstone["propagation"] == ("Orphan" if deletion == "Keep" else "Background")


async def test_deletions_that_orphan_and_deletions_in_the_foreground(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    await federation.create(resources.CONFIG_MAPS, config_map("orphaned"), config_map("settings"))
    orphaned = config_map_ref("orphaned")
    await federation.placed(orphaned)
    uid = (await federation.placed(SETTINGS))["spec"]["template"]["uid"]
    for name, propagation in (("orphaned", "Orphan"), ("settings", "Foreground")):
        await federation.client.delete(
            resources.CONFIG_MAPS, name, namespace="default", options={"propagationPolicy": propagation}
        )
    placed = await federation.placed(orphaned, lambda found: not parts(found))
    assert {one["propagation"] for one in placed["spec"]["tombstones"]} == {"Orphan"}
    placed = await federation.placed(SETTINGS, lambda found: not parts(found))
    assert {one["propagation"] for one in placed["spec"]["tombstones"]} == {"Foreground"}
    await federation.quiet()
    names = [one["metadata"]["name"] for one in (await federation.client.list(resources.CONFIG_MAPS))["items"]]
    assert names == ["settings"]
    await federation.tell("west", phase="Unreachable")
    await federation.report(SETTINGS, {"east": {"state": "Gone", "uid": uid}})
    async with asyncio.timeout(20):
        while (await federation.client.list(resources.CONFIG_MAPS))["items"]:  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.05)
    placed = await federation.placed(SETTINGS)
    assert parts(placed, "tombstones") == {"west": "Deleted"}


async def test_replicas_that_find_no_room_go_elsewhere_and_are_not_tempted_back(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    rebalanced = {"replicaScheduling": {"rebalance": True}}
    await federation.create(PROPAGATION_POLICIES, policy("even", "Deployment", "apps/v1", rebalanced))
    await federation.create(resources.DEPLOYMENTS, deployment("web", 6))
    await federation.placed(WEB, lambda found: parts(found) == {"east": 3, "west": 3})
    short = {"group": "apps", "kind": "Deployment", "namespace": "default", "name": "web", "replicas": 1}
    await federation.tell("west", shortages=[short])
    await federation.placed(WEB, lambda found: parts(found) == {"east": 5, "west": 1})
    await federation.tell("west", shortages=[])
    await federation.client.patch(resources.DEPLOYMENTS, "web", {"spec": {"replicas": 7}}, namespace="default")
    await federation.placed(WEB, lambda found: parts(found) == {"east": 6, "west": 1})


async def test_labels_and_taints_of_a_member_move_what_is_there(federation: Federation) -> None:
    await federation.join("east", tier="gold")
    await federation.join("west", tier="gold")
    await federation.start()
    gold: Object = {"clusterAffinity": {"labelSelector": {"matchLabels": {"tier": "gold"}}}}
    gold["replicaScheduling"] = {"rebalance": True}
    await federation.create(PROPAGATION_POLICIES, policy("gold", "Deployment", "apps/v1", gold))
    await federation.create(resources.DEPLOYMENTS, deployment("web", 4))
    await federation.placed(WEB, lambda found: parts(found) == {"east": 2, "west": 2})
    await federation.client.patch(CLUSTERS, "west", {"metadata": {"labels": {"tier": "lead"}}})
    placed = await federation.placed(WEB, lambda found: parts(found) == {"east": 4})
    assert placed["spec"]["evicting"][0]["reason"] == "NotSelected"
    await federation.client.patch(CLUSTERS, "west", {"metadata": {"labels": {"tier": "gold"}}})
    await federation.placed(WEB, lambda found: not parts(found, "evicting"))
    taint = {"key": "maintenance", "effect": "NoExecute"}
    await federation.client.patch(CLUSTERS, "east", {"spec": {"taints": [taint]}})
    placed = await federation.placed(WEB, lambda found: parts(found) == {"west": 4})
    assert placed["spec"]["evicting"][0]["reason"] == "ClusterTainted"
    await federation.report(WEB, {"west": runs(4)})
    placed = await federation.placed(WEB, lambda found: not parts(found, "evicting"))
    assert parts(placed, "tombstones") == {"east": "Evicted"}


async def test_a_remedy_taints_members_by_their_conditions_and_not_while_cut_off(federation: Federation) -> None:
    await federation.join("east", tier="gold")
    await federation.join("west")
    await federation.start()
    remedy = {
        "apiVersion": CLUSTER_REMEDIES.api_version,
        "kind": "ClusterRemedy",
        "metadata": {"name": "names"},
        "spec": {
            "clusterAffinity": {"labelSelector": {"matchLabels": {"tier": "gold"}}},
            "when": [{"condition": "NamesResolve", "status": "False"}],
            "taints": [{"key": "names", "effect": "NoExecute"}],
        },
    }
    await federation.create(CLUSTER_REMEDIES, remedy)
    await federation.create(resources.CONFIG_MAPS, config_map("settings"))
    await federation.placed(SETTINGS, lambda found: len(parts(found)) == 2)
    federation.isolated = True
    broken = {"type": "NamesResolve", "status": "False", "lastTransitionTime": ago(5)}
    for name in ("east", "west"):
        await federation.tell(name, conditions=[broken])
    await asyncio.sleep(0.3)
    await federation.quiet()
    assert len(parts(await federation.placed(SETTINGS))) == 2
    federation.isolated = False
    placed = await federation.placed(SETTINGS, lambda found: set(parts(found)) == {"west"})
    assert placed["spec"]["passedOver"] == [{"cluster": "east", "why": "its taint names:NoExecute is not tolerated"}]
    await federation.tell("east", conditions=[{**broken, "status": "True"}])
    await federation.placed(SETTINGS, lambda found: len(parts(found)) == 2)


def waits(replicas: int) -> dict[str, Any]:
    return {"state": "Applied", "status": {"replicas": replicas, "readyReplicas": 0}}


async def test_pods_that_do_not_get_ready_move_while_their_cluster_is_well(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    one_cluster: Object = {"spreadConstraints": [{"spreadByField": "cluster", "maxGroups": 1}]}
    minds = {"unreadySeconds": 1, "gracePeriodSeconds": 600}
    await federation.create(PROPAGATION_POLICIES, policy("p", "Deployment", "apps/v1", one_cluster, failover=minds))
    await federation.create(resources.DEPLOYMENTS, deployment("web", 2))
    [first] = parts(await federation.placed(WEB))
    [other] = {"east", "west"} - {first}
    await federation.report(WEB, {first: waits(2)})
    await asyncio.sleep(0.4)
    await federation.report(WEB, {first: runs(2)})  # it was slow, no more
    await asyncio.sleep(1.2)
    assert parts(await federation.placed(WEB)) == {first: 2}
    await federation.report(WEB, {first: waits(2)})
    placed = await federation.placed(WEB, lambda found: parts(found) == {other: 2})
    assert placed["spec"]["evicting"][0]["reason"] == "PodsNotReady"
    await federation.report(WEB, {other: runs(2)})
    placed = await federation.placed(WEB, lambda found: not parts(found, "evicting"))
    assert parts(placed, "tombstones") == {first: "Evicted"}
    await federation.report(WEB, {other: waits(2)})  # it went nowhere better, and there is nobody else to try
    await asyncio.sleep(1.3)
    await federation.quiet()
    assert parts(await federation.placed(WEB)) == {other: 2}


async def test_pods_that_a_quota_of_a_member_refuses_run_elsewhere(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    await federation.create(resources.DEPLOYMENTS, deployment("web", 6))
    await federation.placed(WEB, lambda found: parts(found) == {"east": 3, "west": 3})
    refused = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: small"}
    short = {"state": "Applied", "status": {"replicas": 1, "readyReplicas": 1, "conditions": [refused]}}
    await federation.report(WEB, {"east": short, "west": runs(3)})
    await federation.placed(WEB, lambda found: parts(found) == {"east": 1, "west": 5})
    await federation.report(WEB, {"east": runs(1), "west": runs(5)})
    await federation.client.patch(resources.DEPLOYMENTS, "web", {"spec": {"replicas": 7}}, namespace="default")
    await federation.placed(WEB, lambda found: parts(found) == {"east": 1, "west": 6})


async def test_a_workload_keeps_its_replicas_when_its_autoscaler_goes(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    scalers = resources.named("horizontalpodautoscalers.autoscaling")
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"maxReplicas": 30, "scaleTargetRef": target},
    }
    await federation.create(resources.DEPLOYMENTS, deployment("web", 3))
    await federation.create(scalers, scaler)
    await federation.placed(WEB, lambda found: parts(found) == {"east": None, "west": None})
    await federation.report(WEB, {"east": runs(15), "west": runs(5)})
    await federation.client.delete(scalers, "web", namespace="default")
    await federation.placed(WEB, lambda found: parts(found) == {"east": 15, "west": 5})
    template = await federation.client.get(resources.DEPLOYMENTS, "web", namespace="default")
    assert template["spec"]["replicas"] == 20
    await federation.client.patch(resources.DEPLOYMENTS, "web", {"spec": {"replicas": 4}}, namespace="default")
    await federation.placed(WEB, lambda found: sum(parts(found).values()) == 4)


async def test_a_suspended_policy_is_said_and_lifted(federation: Federation) -> None:
    await federation.join("east")
    await federation.start()
    await federation.create(PROPAGATION_POLICIES, policy("still", "Deployment", "apps/v1", {}, suspend=True))
    await federation.create(resources.DEPLOYMENTS, deployment("web", 2))
    await federation.placed(WEB, lambda found: found["spec"].get("suspended") is True)
    change = {"spec": {"suspend": False, "suspendIn": ["east"]}}
    await federation.client.patch(PROPAGATION_POLICIES, "still", change, namespace="default")
    placed = await federation.placed(WEB, lambda found: "suspended" not in found["spec"])
    assert [part_of(placed, name).suspended for name in ("east", "west")] == [True, False]
    change = {"spec": {"suspendIn": None}}
    await federation.client.patch(PROPAGATION_POLICIES, "still", change, namespace="default")
    await federation.placed(WEB, lambda found: "suspendedIn" not in found["spec"] and parts(found) == {"east": 2})
