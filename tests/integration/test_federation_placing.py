"""Templates are placed, and placed anew when policies, members or they themselves change."""

import asyncio
import json

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import NotFound
from federation.api.refs import Ref
from federation.api.resources import (
    CLUSTER_PROPAGATION_POLICIES,
    CLUSTERS,
    PLACEMENTS,
    PROPAGATION_POLICIES,
    SCALING_SCHEDULES,
)
from federation.migration.rebalance import rebalance
from tests.integration.federation_processes import NEEDS_KUBECTL, Endpoint
from tests.integration.placing import (
    Federation,
    config_map,
    config_map_ref,
    deployment,
    deployment_ref,
    endpoint,
    federation,
    namespace,
    only,
    parts,
    policy,
)

__all__ = ["endpoint", "federation"]

DEFINITIONS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)
JOBS = resources.named("jobs.batch")
WIDGETS = Resource("example.com", "v1", "widgets", "Widget", True)
AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True)


async def test_an_object_goes_to_every_member_and_its_replicas_are_divided(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    await federation.create(resources.DEPLOYMENTS, deployment("web", 5))
    await federation.create(resources.CONFIG_MAPS, config_map("settings"))
    placed = await federation.placed(deployment_ref("web"))
    assert sum(parts(placed).values()) == 5
    assert set(parts(placed)) == {"east", "west"}
    template = placed["spec"]["template"]
    assert (template["name"], template["generation"]) == ("web", 1)
    assert parts(await federation.placed(config_map_ref("settings"))) == {"east": None, "west": None}
    await federation.join("north")
    await federation.placed(config_map_ref("settings"), lambda found: len(parts(found)) == 3)


async def test_a_change_costs_one_write_and_rest_costs_none(federation: Federation) -> None:
    for number in range(6):
        await federation.join(f"m{number}")
    await federation.start()
    await federation.create(resources.DEPLOYMENTS, deployment("web", 6))
    await federation.placed(deployment_ref("web"))
    await federation.quiet()
    before = await federation.version()
    await federation.client.patch(resources.DEPLOYMENTS, "web", {"spec": {"replicas": 12}}, namespace="default")
    await federation.placed(deployment_ref("web"), lambda found: sum(parts(found).values()) == 12)
    await federation.quiet()
    assert await federation.version() == before + 2
    await federation.stop()
    await federation.start()
    await federation.quiet()
    assert await federation.version() == before + 2


async def test_a_policy_that_comes_and_goes_moves_the_object(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    await federation.create(resources.CONFIG_MAPS, config_map("settings"))
    ref = config_map_ref("settings")
    await federation.placed(ref, lambda found: set(parts(found)) == {"east", "west"})
    await federation.create(PROPAGATION_POLICIES, policy("east", "ConfigMap", "v1", only("east")))
    placed = await federation.placed(ref, lambda found: set(parts(found)) == {"east"})
    assert parts(placed, "tombstones") == {"west": "NotSelected"}
    assert placed["spec"]["passedOver"] == [{"cluster": "west", "why": "not among the clusters the policy names"}]
    uid = placed["spec"]["template"]["uid"]
    await federation.report(ref, {"west": {"state": "Gone", "uid": uid}})
    await federation.placed(ref, lambda found: not parts(found, "tombstones"))
    others = {"resourceSelectors": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "others"}]}
    await federation.client.patch(PROPAGATION_POLICIES, "east", {"spec": others}, namespace="default")
    await federation.placed(ref, lambda found: set(parts(found)) == {"east", "west"})
    again = {"resourceSelectors": [{"apiVersion": "v1", "kind": "ConfigMap"}], "placement": only("west")}
    await federation.client.patch(PROPAGATION_POLICIES, "east", {"spec": again}, namespace="default")
    await federation.placed(ref, lambda found: set(parts(found)) == {"west"})
    await federation.client.delete(PROPAGATION_POLICIES, "east", namespace="default")
    await federation.placed(ref, lambda found: set(parts(found)) == {"east", "west"})


async def test_a_deleted_object_leaves_tombstones_until_members_say_that_it_is_gone(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    await federation.create(resources.CONFIG_MAPS, config_map("settings"))
    ref = config_map_ref("settings")
    uid = (await federation.placed(ref))["spec"]["template"]["uid"]
    await federation.client.delete(resources.CONFIG_MAPS, "settings", namespace="default")
    placed = await federation.placed(ref, lambda found: not parts(found))
    assert parts(placed, "tombstones") == {"east": "Deleted", "west": "Deleted"}
    await federation.report(ref, {"west": {"state": "Gone", "uid": uid}})
    await federation.placed(ref, lambda found: set(parts(found, "tombstones")) == {"east"})
    await federation.client.delete(CLUSTERS, "east")
    await federation.gone(ref)


async def test_a_namespace_goes_wherever_its_objects_go_and_ends_with_all_that_is_in_it(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    restrict = policy("east", "Namespace", "v1", only("east")) | {"kind": "ClusterPropagationPolicy"}
    del restrict["metadata"]["namespace"]
    await federation.create(CLUSTER_PROPAGATION_POLICIES, restrict)
    await federation.create(resources.NAMESPACES, namespace("shop"))
    shop, ref = Ref("", "Namespace", "", "shop"), config_map_ref("settings", "shop")
    await federation.placed(shop, lambda found: set(parts(found)) == {"east"})
    await federation.create(resources.CONFIG_MAPS, config_map("settings", "shop"))
    placed = await federation.placed(shop, lambda found: set(parts(found)) == {"east", "west"})
    assert placed["spec"]["clusters"][1]["why"] == "objects in it are there"

    await federation.tell("west", phase="Unreachable")
    await federation.client.delete(resources.NAMESPACES, "shop")
    uid = (await federation.placed(ref, lambda found: not parts(found)))["spec"]["template"]["uid"]
    await federation.report(ref, {"east": {"state": "Gone", "uid": uid}})
    await federation.gone(ref)
    moved = await federation.outliving(ref)
    assert moved is not None
    assert parts(moved, "tombstones") == {"west": "Deleted"}
    placed = await federation.placed(shop, lambda found: not parts(found))
    assert parts(placed, "tombstones") == {"east": "Deleted", "west": "Deleted"}

    await federation.create(resources.NAMESPACES, namespace("shop"))
    await federation.create(resources.CONFIG_MAPS, config_map("settings", "shop"))
    placed = await federation.placed(ref)
    assert parts(placed, "tombstones") == {"west": "Deleted"}
    assert placed["spec"]["tombstones"][0]["uid"] == uid != placed["spec"]["template"]["uid"]
    await federation.quiet()
    assert await federation.outliving(ref) is None


async def test_what_a_workload_names_goes_where_it_goes(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    nowhere = policy("nowhere", "ConfigMap", "v1", only("north"))
    await federation.create(PROPAGATION_POLICIES, nowhere, policy("west", "Deployment", "apps/v1", only("west")))
    await federation.create(resources.CONFIG_MAPS, config_map("settings"))
    ref = config_map_ref("settings")
    placed = await federation.placed(ref)
    assert parts(placed) == {}
    volume = {"name": "v", "configMap": {"name": "settings"}}
    await federation.create(resources.DEPLOYMENTS, deployment("web", volumes=[volume]))
    placed = await federation.placed(ref, lambda found: parts(found) == {"west": None})
    assert placed["spec"]["clusters"][0]["why"] == "Deployment web names it"
    await federation.client.delete(resources.DEPLOYMENTS, "web", namespace="default")
    uid = (await federation.placed(deployment_ref("web"), lambda found: not parts(found)))["spec"]["template"]["uid"]
    assert parts(await federation.placed(ref)) == {"west": None}
    await federation.report(deployment_ref("web"), {"west": {"state": "Gone", "uid": uid}})
    placed = await federation.placed(ref, lambda found: not parts(found))
    assert parts(placed, "tombstones") == {"west": "NotSelected"}


async def test_two_policies_have_one_word_on_what_both_of_their_workloads_name(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    nowhere = policy("nowhere", "Secret", "v1", only("north"))
    rude = policy("b", "Deployment", "apps/v1", only("west"), select={"name": "b"}, conflictResolution="Overwrite")
    modest = policy("a", "Deployment", "apps/v1", only("east"), select={"name": "a"}, priority=1)
    await federation.create(PROPAGATION_POLICIES, nowhere, rude, modest)
    head = {"name": "key", "namespace": "default"}
    await federation.create(resources.SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": head})
    volume = {"name": "v", "secret": {"secretName": "key"}}
    await federation.create(resources.DEPLOYMENTS, *(deployment(name, volumes=[volume]) for name in "ab"))
    ref = Ref("", "Secret", "default", "key")
    placed = await federation.placed(ref, lambda found: set(parts(found)) == {"east", "west"})
    assert placed["spec"]["policy"] == "default/nowhere"
    await federation.client.delete(PROPAGATION_POLICIES, "nowhere", namespace="default")
    await federation.placed(ref, lambda found: "policy" not in found["spec"])
    assert "conflictResolution" not in (await federation.placed(ref))["spec"]  # the stronger of the two aborts
    higher = {"spec": {"priority": 2}}
    await federation.client.patch(PROPAGATION_POLICIES, "b", higher, namespace="default")
    await federation.placed(ref, lambda found: found["spec"].get("conflictResolution") == "Overwrite")

    await federation.create(PROPAGATION_POLICIES, nowhere)
    await federation.placed(ref, lambda found: found["spec"].get("policy") == "default/nowhere")
    alone = {"spec": {"propagateDependencies": False}}
    await federation.client.patch(PROPAGATION_POLICIES, "a", alone, namespace="default")
    await federation.placed(ref, lambda found: set(parts(found)) == {"west"})


async def test_an_autoscaler_takes_the_number_of_replicas_away(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    await federation.create(resources.DEPLOYMENTS, deployment("web", 3))
    await federation.placed(deployment_ref("web"), lambda found: sum(parts(found).values()) == 3)
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
    }
    await federation.create(AUTOSCALERS, autoscaler)
    await federation.placed(deployment_ref("web"), lambda found: parts(found) == {"east": None, "west": None})
    await federation.client.delete(AUTOSCALERS, "web", namespace="default")
    await federation.placed(deployment_ref("web"), lambda found: sum(filter(None, parts(found).values())) == 3)


async def test_a_quota_that_a_policy_selects_is_divided_and_an_autoscaler_by_itself(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    quotas = resources.named("resourcequotas")
    head = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "default"}}
    await federation.create(quotas, {**head, "spec": {"hard": {"requests.cpu": "3", "pods": "10"}}})
    ref = Ref("", "ResourceQuota", "default", "q")
    await federation.placed(ref, lambda found: len(parts(found)) == 2 and "hard" not in found["spec"]["clusters"][0])
    weights = [{"clusters": {"clusterNames": [name]}, "weight": weight} for name, weight in (("east", 2), ("west", 1))]
    by_weight = {"replicaScheduling": {"weights": weights}}
    await federation.create(PROPAGATION_POLICIES, policy("q", "ResourceQuota", "v1", by_weight))
    placed = await federation.placed(ref, lambda found: "hard" in found["spec"]["clusters"][0])
    east, west = (one["hard"] for one in placed["spec"]["clusters"])
    assert (east["requests.cpu"], west["requests.cpu"]) == ("2", "1")
    assert int(east["pods"]) + int(west["pods"]) == 10
    await federation.client.patch(quotas, "q", {"spec": {"hard": {"requests.cpu": "6"}}}, namespace="default")
    await federation.placed(ref, lambda found: found["spec"]["clusters"][1]["hard"]["requests.cpu"] == "2")


async def test_a_finished_job_is_deleted_after_its_time_to_live_and_is_run_no_more(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "img"}]}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once", "namespace": "default"},
        "spec": {"parallelism": 2, "completions": 2, "ttlSecondsAfterFinished": 1, "template": {"spec": pod}},
    }
    await federation.create(JOBS, job)
    ref = Ref("batch", "Job", "default", "once")
    placed = await federation.placed(ref, lambda found: parts(found) == {"east": 1, "west": 1})
    done = [
        {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    times = dict.fromkeys(("startTime", "completionTime"), "2026-01-01T00:00:00Z")
    entry = {"state": "Applied", "uid": placed["spec"]["template"]["uid"], "generation": 1, "observed": 1}
    entry["status"] = {"succeeded": 1, "conditions": done, **times}
    await federation.report(ref, {"east": entry})
    await asyncio.sleep(0.3)
    assert await federation.client.get(JOBS, "once", namespace="default")  # west is not done
    await federation.report(ref, {"west": entry})
    gone = await federation.placed(ref, lambda found: not parts(found))
    assert parts(gone, "tombstones") == {"east": "Deleted", "west": "Deleted"}


async def test_custom_resources_follow_their_definition_before_members_serve_them(federation: Federation) -> None:
    await federation.join("east")
    await federation.start()
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    await federation.create(DEFINITIONS, definition)
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "one", "namespace": "default"}}
    async with asyncio.timeout(20):
        while True:
            try:
                await federation.create(WIDGETS, widget)
                break
            except NotFound:
                await asyncio.sleep(0.05)
    ref = Ref("example.com", "Widget", "default", "one")
    await federation.placed(ref, lambda found: parts(found) == {"east": None})
    await federation.client.delete(DEFINITIONS, "widgets.example.com")
    placed = await federation.placed(ref, lambda found: bool(parts(found, "tombstones")))
    assert parts(placed, "tombstones") == {"east": "Deleted"}


async def test_what_is_labelled_local_is_taken_back_and_a_namespace_with_all_that_is_in_it(
    federation: Federation,
) -> None:
    await federation.join("east")
    await federation.start()
    await federation.create(resources.NAMESPACES, namespace("shop"))
    await federation.create(resources.CONFIG_MAPS, config_map("settings", "shop"))
    await federation.placed(config_map_ref("settings", "shop"))
    local = {"metadata": {"labels": {"federation.hanse.io/local": "true"}}}
    await federation.client.patch(resources.NAMESPACES, "shop", local)
    for ref in (config_map_ref("settings", "shop"), Ref("", "Namespace", "", "shop")):
        placed = await federation.placed(ref, lambda found: not parts(found))
        assert parts(placed, "tombstones") == {"east": "NotSelected"}
    back = {"metadata": {"labels": {"federation.hanse.io/local": None}}}
    await federation.client.patch(resources.NAMESPACES, "shop", back)
    for ref in (config_map_ref("settings", "shop"), Ref("", "Namespace", "", "shop")):
        placed = await federation.placed(ref, lambda found: parts(found) == {"east": None})
        assert not parts(placed, "tombstones")


async def test_what_somebody_else_does_to_a_placement_is_put_right(federation: Federation) -> None:
    await federation.join("east")
    await federation.start()
    await federation.create(resources.CONFIG_MAPS, config_map("settings"))
    ref = config_map_ref("settings")
    name = (await federation.placed(ref))["metadata"]["name"]
    await federation.client.patch(PLACEMENTS, name, {"spec": {"clusters": [], "policy": "x"}}, namespace="default")
    await federation.placed(ref, lambda found: parts(found) == {"east": None} and "policy" not in found["spec"])
    await federation.client.delete(PLACEMENTS, name, namespace="default")
    await federation.placed(ref, lambda found: parts(found) == {"east": None})


async def test_a_burst_promises_no_member_more_than_it_has(federation: Federation) -> None:
    for name in ("east", "west"):
        await federation.join(name)
        room = {"allocatable": {"cpu": "1000", "memory": "1Ti"}, "requested": {}, "pods": 300}
        await federation.tell(name, resources=room)
    by_room = {"replicaScheduling": {"preference": "Capacity"}}
    await federation.create(PROPAGATION_POLICIES, policy("room", "Deployment", "apps/v1", by_room))
    at_once = asyncio.Semaphore(16)

    async def create(number: int) -> None:
        async with at_once:
            await federation.create(resources.DEPLOYMENTS, deployment(f"w{number}", 2))

    await asyncio.gather(*map(create, range(500)))
    await federation.start()
    await federation.quiet(seconds=90)
    placements = (await federation.client.list(PLACEMENTS))["items"]
    taken = [parts(one) for one in placements]
    assert len(taken) == 500
    for name in ("east", "west"):
        assert sum(one.get(name, 0) for one in taken) == 300
    assert sum(one["spec"].get("unplaced", 0) for one in placements) == 400


async def test_room_that_comes_goes_to_who_waits_with_the_highest_priority(federation: Federation) -> None:
    await federation.join("east")
    full = {"allocatable": {}, "requested": {}, "pods": 0}
    await federation.tell("east", resources=full)
    await federation.start()
    classes = resources.named("priorityclasses.scheduling.k8s.io")
    for name, value in (("low", 1), ("high", 100)):
        head = {"apiVersion": classes.api_version, "kind": classes.kind, "metadata": {"name": name}}
        await federation.create(classes, {**head, "value": value})
    by_room = {"replicaScheduling": {"preference": "Capacity"}}
    await federation.create(PROPAGATION_POLICIES, policy("room", "Deployment", "apps/v1", by_room))
    names = {"a": "low", "b": "high", "c": "low"}
    for name, its_class in names.items():
        await federation.create(resources.DEPLOYMENTS, deployment(name, 2, priorityClassName=its_class))
        await federation.placed(deployment_ref(name), lambda found: found["spec"].get("unplaced") == 2)
    await federation.tell("east", resources={**full, "pods": 2})
    await federation.placed(deployment_ref("b"), lambda found: parts(found) == {"east": 2})
    await federation.quiet()
    for name in ("a", "c"):
        assert parts(await federation.placed(deployment_ref(name))) == {}
    for name in ("low", "high"):
        await federation.client.delete(classes, name)


async def test_workloads_share_clusters_with_their_group_or_avoid_them(federation: Federation) -> None:
    for name in ("east", "west"):
        await federation.join(name)
    await federation.start()

    def grouped(name: str, **labels: str) -> Object:
        made = deployment(name, 1)
        return {**made, "metadata": {**made["metadata"], "labels": labels}}

    one: Object = {"spreadConstraints": [{"spreadByField": "cluster", "maxGroups": 1}]}
    apart = {**one, "workloadAffinity": {"antiAffinity": {"groupByLabelKey": "quorum"}}}
    together = {**one, "workloadAffinity": {"affinity": {"groupByLabelKey": "pair"}}}
    for name, placement in (("quorum", apart), ("pair", together)):
        select = {"labelSelector": {"matchExpressions": [{"key": name, "operator": "Exists"}]}}
        made = policy(name, "Deployment", "apps/v1", placement, select=select)
        await federation.create(PROPAGATION_POLICIES, made)
    await federation.create(resources.DEPLOYMENTS, *(grouped(f"pair-{n}", pair="one") for n in range(6)))
    found = [parts(await federation.placed(deployment_ref(f"pair-{n}"))) for n in range(6)]
    assert len({next(iter(one)) for one in found}) == 1

    await federation.create(resources.DEPLOYMENTS, *(grouped(f"q-{n}", quorum="one") for n in range(3)))
    await federation.quiet()
    homes = {n: parts(await federation.placed(deployment_ref(f"q-{n}"))) for n in range(3)}
    assert sorted(name for one in homes.values() for name in one) == ["east", "west"]
    [waiting] = [n for n, home in homes.items() if not home]
    placed = await federation.placed(deployment_ref(f"q-{waiting}"))
    assert {one["why"] for one in placed["spec"]["passedOver"]} == {"a workload of its group is there"}
    freed = next(n for n, home in homes.items() if home)
    await federation.client.delete(resources.DEPLOYMENTS, f"q-{freed}", namespace="default")
    await federation.placed(deployment_ref(f"q-{waiting}"), lambda found: parts(found).keys() == homes[freed].keys())


async def test_cluster_wide_policies_place_what_has_no_namespace_and_what_has_one(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    roles = resources.named("clusterroles.rbac.authorization.k8s.io")
    head = {"apiVersion": roles.api_version, "kind": roles.kind, "metadata": {"name": "looks"}}
    await federation.create(roles, {**head, "rules": []})
    await federation.create(resources.CONFIG_MAPS, config_map("settings"))
    looks = Ref("rbac.authorization.k8s.io", "ClusterRole", "", "looks")
    for ref, kind, version in (
        (looks, "ClusterRole", roles.api_version),
        (config_map_ref("settings"), "ConfigMap", "v1"),
    ):
        await federation.placed(ref, lambda found: set(parts(found)) == {"east", "west"})
        wide = policy(kind.lower(), kind, version, only("west"))
        del wide["metadata"]["namespace"]
        await federation.create(CLUSTER_PROPAGATION_POLICIES, {**wide, "kind": "ClusterPropagationPolicy"})
        await federation.placed(ref, lambda found: set(parts(found)) == {"west"})
    await federation.create(PROPAGATION_POLICIES, policy("own", "ConfigMap", "v1", only("east")))
    await federation.placed(config_map_ref("settings"), lambda found: set(parts(found)) == {"east"})
    await federation.client.delete(roles, "looks")


async def test_replicas_and_autoscalers_follow_the_clock(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    await federation.create(resources.DEPLOYMENTS, deployment("web", 2), deployment("still", 2))
    for name, more in (("web", {}), ("still", {"suspend": True}), ("absent", {})):
        schedule = {
            "apiVersion": SCALING_SCHEDULES.api_version,
            "kind": "ScalingSchedule",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "rules": [{"name": "up", "schedule": "@every 1s", "replicas": 6, **more}],
            },
        }
        await federation.create(SCALING_SCHEDULES, schedule)
    placed = await federation.placed(deployment_ref("web"), lambda found: sum(parts(found).values()) == 6)
    assert parts(placed) == {"east": 3, "west": 3}
    absent: dict[str, str] = {}
    async with asyncio.timeout(10):
        while "failure" not in absent:
            await asyncio.sleep(0.1)
            absent = (await federation.client.get(SCALING_SCHEDULES, "absent", namespace="default")).get("status") or {}
    assert absent["failure"] == "rule up: there is no Deployment.apps default/absent"
    assert sum(parts(await federation.placed(deployment_ref("still"))).values()) == 2


async def test_of_two_policies_the_one_that_does_not_preempt_leaves_what_is_placed(federation: Federation) -> None:
    for name in ("east", "west", "north"):
        await federation.join(name)
    await federation.start()
    ref = config_map_ref("settings")
    await federation.create(PROPAGATION_POLICIES, policy("first", "ConfigMap", "v1", only("east")))
    await federation.create(resources.CONFIG_MAPS, config_map("settings"))
    await federation.placed(ref, lambda found: set(parts(found)) == {"east"})
    modest = policy("modest", "ConfigMap", "v1", only("west"), priority=9, preemption="Never")
    await federation.create(PROPAGATION_POLICIES, modest)
    await federation.create(resources.CONFIG_MAPS, config_map("newcomer"))
    await federation.placed(config_map_ref("newcomer"), lambda found: set(parts(found)) == {"west"})
    await federation.quiet()
    assert set(parts(await federation.placed(ref))) == {"east"}
    await federation.create(PROPAGATION_POLICIES, policy("rude", "ConfigMap", "v1", only("north"), priority=10))
    await federation.placed(ref, lambda found: set(parts(found)) == {"north"})
    await federation.client.delete(PROPAGATION_POLICIES, "rude", namespace="default")
    await federation.placed(ref, lambda found: set(parts(found)) == {"west"})


async def test_a_lazy_policy_waits_for_the_object_to_change(federation: Federation) -> None:
    for name in ("east", "west", "north"):
        await federation.join(name)
    await federation.start()
    ref, resource = config_map_ref("settings"), PROPAGATION_POLICIES
    await federation.create(resources.CONFIG_MAPS, config_map("settings"))
    await federation.placed(ref, lambda found: len(parts(found)) == 3)
    await federation.create(resource, policy("lazy", "ConfigMap", "v1", only("east"), activation="Lazy"))
    await federation.create(resources.CONFIG_MAPS, config_map("newcomer"))
    await federation.placed(config_map_ref("newcomer"), lambda found: set(parts(found)) == {"east"})
    assert len(parts(await federation.placed(ref))) == 3
    touched = {"metadata": {"labels": {"touched": "once"}}}
    await federation.client.patch(resources.CONFIG_MAPS, "settings", touched, namespace="default")
    await federation.placed(ref, lambda found: set(parts(found)) == {"east"})

    await federation.client.patch(resource, "lazy", {"spec": {"placement": only("west")}}, namespace="default")
    await federation.quiet()
    await federation.stop()
    await federation.start()
    await federation.quiet()
    assert set(parts(await federation.placed(ref))) == {"east"}
    touched = {"metadata": {"labels": {"touched": "twice"}}}
    await federation.client.patch(resources.CONFIG_MAPS, "settings", touched, namespace="default")
    await federation.placed(ref, lambda found: set(parts(found)) == {"west"})
    await federation.client.delete(resource, "lazy", namespace="default")
    await federation.placed(ref, lambda found: len(parts(found)) == 3)


async def test_who_asks_for_it_is_placed_anew_once(federation: Federation) -> None:
    await federation.join("east")
    await federation.start()
    ref = deployment_ref("web")
    await federation.create(resources.DEPLOYMENTS, deployment("web", 4))
    await federation.placed(ref, lambda found: parts(found) == {"east": 4})
    await federation.join("west")
    await federation.placed(ref, lambda found: any(one["cluster"] == "west" for one in found["spec"]["passedOver"]))
    [done] = await rebalance(federation.client, [(resources.DEPLOYMENTS, "web")], "default", 20)
    assert (done.before, done.after) == ("east (4)", "east (2), west (2)")
    await federation.client.patch(CLUSTERS, "west", {"spec": {"unschedulable": True}})
    await federation.client.patch(resources.DEPLOYMENTS, "web", {"spec": {"replicas": 6}}, namespace="default")
    await federation.placed(ref, lambda found: parts(found) == {"east": 4, "west": 2})
    await federation.client.patch(CLUSTERS, "west", {"spec": {"unschedulable": False}})
    await federation.quiet()
    assert parts(await federation.placed(ref)) == {"east": 4, "west": 2}


@NEEDS_KUBECTL
async def test_describe_says_where_an_object_is_and_why(federation: Federation, endpoint: Endpoint) -> None:
    await federation.join("east")
    await federation.join("west", phase="Suspect")
    await federation.start()
    await federation.create(resources.DEPLOYMENTS, deployment("web", 2))
    await federation.placed(deployment_ref("web"), lambda found: parts(found) == {"east": 2})
    described = await asyncio.to_thread(endpoint.did, "describe", "deployment", "web")
    assert "Placed in 1 clusters: east: 2 of 2 replicas by weight 1" in described
    assert "west: it is not ready but Suspect" in described
    listed = await asyncio.to_thread(endpoint.did, "events", "--for=deployment/web", "-o", "json")
    assert {one["reason"] for one in json.loads(listed)["items"]} == {"Placed", "PassedOver"}
    row = (await asyncio.to_thread(endpoint.did, "get", "placements")).splitlines()[1].split("  ")
    assert [one.strip() for one in row if one][1:4] == ["Deployment", "web", "east (2)"]
    wide = await asyncio.to_thread(
        endpoint.did, "get", "events", "--field-selector=involvedObject.kind=Deployment,involvedObject.name=web,"
        "involvedObject.namespace=default",
    )  # fmt: skip
    assert "Placed in 1 clusters" in wide
    assert "No resources found" in (await asyncio.to_thread(endpoint.kubectl, "get", "events")).stderr
