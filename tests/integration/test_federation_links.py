"""Objects arrive in members, stay as they were rendered, go again, and tell how they are; members are fakes."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.api.resources import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, SERVICES, Resource, by_kind
from cluster.client.discovery import served_resources
from cluster.client.rest import ApiClient
from federation.api.refs import placement_key, ref_of
from federation.api.resources import CLUSTERS, OVERRIDE_POLICIES, PLACEMENTS
from federation.controllers.links.copies import FIELD_MANAGER
from tests.fakes.fake_member import FakeMember
from tests.fakes.member.peculiarities import old_cluster
from tests.integration.federation_links import fresh_name, linked
from tests.integration.federation_members import config_map, deployment, eventually
from tests.integration.federation_processes import Endpoint, federation_apiserver


def kind(api_version: str, name: str) -> Resource:
    found = by_kind(api_version, name)
    assert found is not None
    return found


DEFINITIONS = kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
SCALERS = kind("autoscaling/v2", "HorizontalPodAutoscaler")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with federation_apiserver(tmp_path_factory.mktemp("federation")) as running:
        yield running


@pytest.fixture
async def east() -> FakeMember:
    return FakeMember(fresh_name("east"))


@pytest.fixture
async def west() -> FakeMember:
    return FakeMember(fresh_name("west"))


async def test_a_deployment_arrives_divided_and_its_status_comes_back(
    endpoint: Endpoint, east: FakeMember, west: FakeMember
) -> None:
    async with linked(endpoint, east, west) as links:
        template = await links.federation.create(DEPLOYMENTS, deployment(fresh_name("web"), replicas=3))
        await links.place(template, {"name": east.name, "replicas": 2}, {"name": west.name, "replicas": 1})
        copy = await links.there(east.name, DEPLOYMENTS, template, spec__replicas=2)
        await links.there(west.name, DEPLOYMENTS, template, spec__replicas=1)
        managers = {(one["manager"], one["operation"]) for one in copy["metadata"]["managedFields"]}
        assert (FIELD_MANAGER, "Apply") in managers
        assert (FIELD_MANAGER, "Update") not in managers

        async def rolled_out() -> bool:
            found = await links.federation.get(DEPLOYMENTS, template["metadata"]["name"], namespace="default")
            status = found["status"]
            assert status.get("readyReplicas") == 3, status
            return bool(status.get("observedGeneration") == found["metadata"]["generation"])

        await eventually("the template says that all replicas run", rolled_out)


async def test_changes_and_deletions_arrive_and_are_confirmed(endpoint: Endpoint, east: FakeMember) -> None:
    async with linked(endpoint, east) as links:
        template = await links.federation.create(CONFIG_MAPS, config_map(fresh_name("settings"), a="1", b="2"))
        await links.place(template, east.name)
        await links.told(template, east.name, "Applied")
        template = await links.federation.update(CONFIG_MAPS, {**template, "data": {"a": "3"}})
        await links.there(east.name, CONFIG_MAPS, template, data={"a": "3"})
        await links.bury(template, east.name)
        entry = await links.told(template, east.name, "Gone")
        assert entry["uid"] == template["metadata"]["uid"]
        assert east.get(CONFIG_MAPS, template["metadata"]["name"], "default") is None


async def test_an_orphan_stays_without_a_trace_of_us(endpoint: Endpoint, east: FakeMember) -> None:
    async with linked(endpoint, east) as links:
        template = await links.federation.create(CONFIG_MAPS, config_map(fresh_name("settings")))
        await links.place(template, east.name)
        await links.told(template, east.name, "Applied")
        await links.bury(template, east.name, propagation="Orphan")
        await links.told(template, east.name, "Gone")
        copy = await links.there(east.name, CONFIG_MAPS, template, data={"a": "1"})
        assert "labels" not in copy["metadata"]
        assert "annotations" not in copy["metadata"]
        assert all(one["manager"] != FIELD_MANAGER for one in copy["metadata"].get("managedFields") or ())


async def test_a_restart_writes_nothing_where_nothing_changed(endpoint: Endpoint, east: FakeMember) -> None:
    east.behaves.sidecar = {"name": "proxy", "image": "registry.test/proxy:1"}
    async with linked(endpoint, east) as links:
        templates = [
            await links.federation.create(DEPLOYMENTS, deployment(fresh_name("web"))),
            await links.federation.create(CONFIG_MAPS, config_map(fresh_name("settings"))),
            await links.federation.create(SERVICES, service(fresh_name("front"))),
        ]
        for template in templates:
            await links.place(template, east.name)
            await links.told(template, east.name, "Applied")
        before = east.writes.copy()
        await links.stop()
        changed = config_map(fresh_name("settings"))
        template = await links.federation.create(CONFIG_MAPS, changed)
        await links.start()
        await links.place(template, east.name)
        await links.told(template, east.name, "Applied")
        await asyncio.sleep(0.5)
        assert east.writes - before == {("apply", "configmaps"): 1}


async def test_what_happened_while_a_member_was_lost_is_made_up_for(endpoint: Endpoint, east: FakeMember) -> None:
    async with linked(endpoint, east) as links:
        kept = await links.federation.create(CONFIG_MAPS, config_map(fresh_name("kept")))
        dropped = await links.federation.create(CONFIG_MAPS, config_map(fresh_name("dropped")))
        for template in (kept, dropped):
            await links.place(template, east.name)
            await links.told(template, east.name, "Applied")
        await east.crash()
        await links.federation.update(CONFIG_MAPS, {**kept, "data": {"a": "2"}})
        await links.bury(dropped, east.name)
        late = await links.federation.create(CONFIG_MAPS, config_map(fresh_name("late")))
        await links.place(late, east.name)
        await links.told(late, east.name, "Pending", message="does not answer")
        await east.come_back()
        await links.there(east.name, CONFIG_MAPS, kept, data={"a": "2"})
        await links.told(dropped, east.name, "Gone")
        await links.told(late, east.name, "Applied")


async def test_a_member_that_others_have_reached_again_is_asked_at_once(
    endpoint: Endpoint, east: FakeMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("federation.controllers.links.reach.FIRST_PAUSE", 3600.0)
    async with linked(endpoint, east) as links:
        name = fresh_name("settings")
        template = await links.federation.create(CONFIG_MAPS, config_map(name))
        await links.place(template, east.name)
        await links.told(template, east.name, "Applied")
        await east.crash()
        template = await links.federation.update(CONFIG_MAPS, {**template, "data": {"a": "2"}})
        await links.told(template, east.name, "Pending", message="does not answer")
        await east.come_back()
        for phase in ("Unreachable", "Ready"):
            await links.federation.patch(CLUSTERS, east.name, {"status": {"phase": phase}}, subresource="status")
        await links.there(east.name, CONFIG_MAPS, template, data={"a": "2"})


async def test_drift_is_set_back_and_what_is_the_members_own_stays(endpoint: Endpoint, east: FakeMember) -> None:
    async with linked(endpoint, east) as links:
        template = await links.federation.create(DEPLOYMENTS, deployment(fresh_name("web")))
        await links.place(template, east.name)  # without a number: an autoscaler of the member decides
        await links.told(template, east.name, "Applied")
        copy = await links.there(east.name, DEPLOYMENTS, template)
        before = east.writes.copy()
        copy["spec"]["replicas"] = 7
        copy["metadata"]["labels"]["theirs"] = "1"
        east.put(DEPLOYMENTS, copy)
        await asyncio.sleep(0.4)
        assert east.writes == before
        copy = await links.there(east.name, DEPLOYMENTS, template, spec__replicas=7)
        copy["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.test/other:1"
        east.put(DEPLOYMENTS, copy)
        image = "spec__template__spec__containers__0__image"
        copy = await links.there(east.name, DEPLOYMENTS, template, spec__replicas=7, **{image: "registry.test/web:1"})
        assert copy["metadata"]["labels"]["theirs"] == "1"
        east.remove(DEPLOYMENTS, template["metadata"]["name"], "default")
        await links.there(east.name, DEPLOYMENTS, template)


async def test_who_changes_a_field_again_and_again_is_not_fought_with(endpoint: Endpoint, east: FakeMember) -> None:
    async with linked(endpoint, east) as links:
        template = await links.federation.create(CONFIG_MAPS, config_map(fresh_name("settings")))
        await links.place(template, east.name)
        await links.told(template, east.name, "Applied")
        for number in range(10):
            copy = await links.there(east.name, CONFIG_MAPS, template)
            east.put(CONFIG_MAPS, {**copy, "data": {"a": f"theirs {number}"}})
            await asyncio.sleep(0.15)
        entry = await links.told(template, east.name, "Conflict", message="again and again")
        assert "data is changed by somebody" in entry["message"]


def service(name: str) -> dict[str, Any]:
    spec = {"selector": {"app": name}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def test_what_is_there_already_is_adopted_when_equal_and_left_alone_when_not(
    endpoint: Endpoint, east: FakeMember
) -> None:
    async with linked(endpoint, east) as links:
        equal, other, forced = (fresh_name("theirs") for _ in range(3))
        for name, value in ((equal, "1"), (other, "2"), (forced, "2")):
            east.put(CONFIG_MAPS, config_map(name, a=value))
        template = await links.federation.create(CONFIG_MAPS, config_map(equal))
        await links.place(template, east.name)
        await links.told(template, east.name, "Applied")
        template = await links.federation.create(CONFIG_MAPS, config_map(other))
        await links.place(template, east.name)
        await links.told(template, east.name, "Conflict", message="data.a of it differs")
        assert east.get(CONFIG_MAPS, other, "default")["data"] == {"a": "2"}  # type: ignore[index]
        await links.place(template, east.name, conflictResolution="Overwrite")
        await links.there(east.name, CONFIG_MAPS, template, data={"a": "1"})
        template = await links.federation.create(CONFIG_MAPS, config_map(forced))
        await links.place(template, east.name, conflictResolution="Overwrite")
        await links.there(east.name, CONFIG_MAPS, template, data={"a": "1"})


async def test_a_namespace_that_was_there_before_us_is_never_deleted(endpoint: Endpoint, east: FakeMember) -> None:
    async with linked(endpoint, east) as links:
        theirs, ours = fresh_name("theirs"), fresh_name("ours")
        east.put(NAMESPACES, namespace(theirs))
        for name in (theirs, ours):
            template = await links.federation.create(NAMESPACES, namespace(name))
            await links.place(template, east.name)
            await links.told(template, east.name, "Applied")
            await links.bury(template, east.name)
            await links.told(template, east.name, "Gone")
        assert east.get(NAMESPACES, ours) is None
        assert "annotations" not in east.get(NAMESPACES, theirs)["metadata"]  # type: ignore[index]


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


async def test_overrides_differ_between_members(endpoint: Endpoint, east: FakeMember, west: FakeMember) -> None:
    async with linked(endpoint, east, west) as links:
        name = fresh_name("web")
        rule = {
            "targetCluster": {"clusterNames": [west.name]},
            "overriders": {"image": [{"component": "Tag", "operator": "replace", "value": "2"}]},
        }
        selector = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        policy = {
            "apiVersion": OVERRIDE_POLICIES.api_version,
            "kind": "OverridePolicy",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"resourceSelectors": [selector], "overrideRules": [rule]},
        }
        policy = await links.federation.create(OVERRIDE_POLICIES, policy)
        template = await links.federation.create(DEPLOYMENTS, deployment(name))
        await links.place(template, east.name, west.name)
        image = "spec__template__spec__containers__0__image"
        await links.there(east.name, DEPLOYMENTS, template, **{image: "registry.test/web:1"})
        await links.there(west.name, DEPLOYMENTS, template, **{image: "registry.test/web:2"})
        await links.federation.delete(OVERRIDE_POLICIES, name, namespace="default")
        await links.there(west.name, DEPLOYMENTS, template, **{image: "registry.test/web:1"})
        later = {**policy, "metadata": {"name": name, "namespace": "default"}}
        await links.federation.create(OVERRIDE_POLICIES, later)
        await links.there(west.name, DEPLOYMENTS, template, **{image: "registry.test/web:2"})


async def test_what_is_needed_comes_first_and_what_needs_it_waits(endpoint: Endpoint, east: FakeMember) -> None:
    async with linked(endpoint, east) as links:
        team = fresh_name("team")
        space = await links.federation.create(NAMESPACES, namespace(team))
        settings = await links.federation.create(CONFIG_MAPS, config_map("settings", team))
        wanted = deployment("web", team)
        source = [{"configMapRef": {"name": "settings"}}]
        wanted["spec"]["template"]["spec"]["containers"][0]["envFrom"] = source
        web = await links.federation.create(DEPLOYMENTS, wanted)
        group = f"{team}.test"
        definition = await links.federation.create(DEFINITIONS, widget_definition(group))
        widgets = await served(links.federation, group)
        widget = await links.federation.create(widgets, {**WIDGET, "apiVersion": f"{group}/v1"}, namespace=team)
        for template in (widget, web, settings):
            await links.place(template, east.name)
        await links.place(space, {"name": east.name}, suspended=False)
        await links.told(settings, east.name, "Applied")
        await links.told(web, east.name, "Applied")
        await links.told(widget, east.name, "Pending", message="does not serve Widget")
        await links.place(definition, east.name)
        await links.told(widget, east.name, "Applied")
        versions = [
            int(east.get(resource, name, space)["metadata"]["resourceVersion"])  # type: ignore[index]
            for resource, name, space in (
                (NAMESPACES, team, ""), (CONFIG_MAPS, "settings", team), (DEPLOYMENTS, "web", team),
            )
        ]  # fmt: skip
        assert versions == sorted(versions)


async def served(federation: ApiClient, group: str) -> Resource:
    """The widgets of a group, once they are."""

    async def look() -> Resource | None:
        found, _ = await served_resources(federation)
        return next((one for one in found if one.group == group), None)

    widgets: Resource = await eventually(f"{group} is served", look)
    return widgets


WIDGET = {"kind": "Widget", "metadata": {"name": "one"}, "spec": {"size": 3}}


def widget_definition(group: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    return {
        "apiVersion": DEFINITIONS.api_version,
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


async def test_a_member_without_server_side_apply_gets_merges(endpoint: Endpoint) -> None:
    east = FakeMember(fresh_name("east"), old_cluster())
    async with linked(endpoint, east) as links:
        wanted = deployment(fresh_name("web"))
        containers = wanted["spec"]["template"]["spec"]["containers"]
        containers[0]["env"] = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
        template = await links.federation.create(DEPLOYMENTS, wanted)
        await links.place(template, {"name": east.name, "replicas": 2})
        await links.told(template, east.name, "Applied")
        copy = await links.there(east.name, DEPLOYMENTS, template)
        copy["spec"]["template"]["spec"]["containers"].append({"name": "theirs", "image": "registry.test/theirs:1"})
        copy["spec"]["replicas"] = 5
        east.put(DEPLOYMENTS, copy)
        copy = await links.there(east.name, DEPLOYMENTS, template, spec__replicas=2)
        assert [one["name"] for one in copy["spec"]["template"]["spec"]["containers"]] == ["web", "theirs"]
        template = await links.federation.get(DEPLOYMENTS, template["metadata"]["name"], namespace="default")
        template["spec"]["template"]["spec"]["containers"][0]["env"].pop(0)
        template = await links.federation.update(DEPLOYMENTS, template)
        await links.place(template, {"name": east.name, "replicas": 2})
        env = "spec__template__spec__containers__0__env"
        await links.there(east.name, DEPLOYMENTS, template, **{env: [{"name": "B", "value": "2"}]})
        before = east.writes.copy()
        await links.stop()
        await links.start()
        await asyncio.sleep(1.0)
        assert east.writes == before
        await links.bury(template, east.name)
        await links.told(template, east.name, "Gone")


async def test_deletions_that_nobody_asked_for_stop_at_a_tenth_until_somebody_confirms(
    endpoint: Endpoint, east: FakeMember
) -> None:
    async with linked(endpoint, east) as links:
        prefix = fresh_name("many")
        names = [f"{prefix}-{number}" for number in range(30)]
        templates = [await links.federation.create(CONFIG_MAPS, config_map(name)) for name in names]
        for template in templates:
            await links.place(template, east.name)
        for template in templates:
            await links.told(template, east.name, "Applied")
        for template in templates:
            await links.bury(template, east.name, why="NotSelected")
        await links.told(templates[-1], east.name, "Deleting", message="confirm-deletions")
        left = [name for name in names if east.get(CONFIG_MAPS, name, "default")]
        assert len(left) >= 10
        assert [one.reason for one in links.links[east.name].conditions] == ["TooMany"]
        confirmed = {"metadata": {"annotations": {"federation.hanse.io/confirm-deletions": "yes"}}}
        await links.federation.patch(CLUSTERS, east.name, confirmed)
        for template in templates:
            await links.told(template, east.name, "Gone")

        async def is_used_up() -> bool:
            return not (await links.federation.get(CLUSTERS, east.name))["metadata"].get("annotations")

        await eventually("the confirmation is used up", is_used_up)
        assert links.links[east.name].conditions == []


async def test_a_store_older_than_its_members_deletes_nothing_until_somebody_confirms(
    endpoint: Endpoint, east: FakeMember
) -> None:
    async with linked(endpoint, east) as links:
        known, forgotten = [
            await links.federation.create(CONFIG_MAPS, config_map(fresh_name("settings"))) for _ in range(2)
        ]
        for template in (known, forgotten):
            await links.place(template, east.name)
            await links.told(template, east.name, "Applied")
        await links.stop()
        key = placement_key(ref_of(forgotten))
        await links.federation.delete(PLACEMENTS, key.name, namespace=key.namespace)
        await links.bury(known, east.name)
        await links.start()
        await links.told(known, east.name, "Deleting", message="may have been restored")
        assert east.get(CONFIG_MAPS, known["metadata"]["name"], "default")
        confirmed = {"metadata": {"annotations": {"federation.hanse.io/confirm-deletions": "yes"}}}
        await links.federation.patch(CLUSTERS, east.name, confirmed)
        await links.told(known, east.name, "Gone")
        assert east.get(CONFIG_MAPS, forgotten["metadata"]["name"], "default")


async def test_what_an_older_store_knows_no_placement_of_is_found_too(endpoint: Endpoint, east: FakeMember) -> None:
    async with linked(endpoint, east) as links:
        known = await links.federation.create(CONFIG_MAPS, config_map(fresh_name("settings")))
        forgotten = await links.federation.create(DEPLOYMENTS, deployment(fresh_name("web")))
        for template in (known, forgotten):
            await links.place(template, east.name)
            await links.told(template, east.name, "Applied")
        await links.stop()
        key = placement_key(ref_of(forgotten))
        await links.federation.delete(PLACEMENTS, key.name, namespace=key.namespace)
        await links.bury(known, east.name)
        await links.start()
        await links.told(known, east.name, "Deleting", message=f"{forgotten['metadata']['name']}): its store may have")
        assert east.get(CONFIG_MAPS, known["metadata"]["name"], "default")


async def test_a_member_that_hangs_delays_nobody_else(endpoint: Endpoint, east: FakeMember, west: FakeMember) -> None:
    async with linked(endpoint, east, west) as links:
        first = await links.federation.create(CONFIG_MAPS, config_map(fresh_name("settings")))
        await links.place(first, east.name, west.name)
        for name in (east.name, west.name):
            await links.told(first, name, "Applied")
        east.hang()
        for _ in range(40):  # more than a link has workers
            template = await links.federation.create(CONFIG_MAPS, config_map(fresh_name("settings")))
            await links.place(template, east.name, west.name)
        await links.told(template, west.name, "Applied")
        east.resume()
        await links.told(template, east.name, "Applied")


async def test_a_member_that_throttles_fails_and_loses_answers_gets_everything_in_the_end(
    endpoint: Endpoint, east: FakeMember
) -> None:
    async with linked(endpoint, east) as links:
        east.behaves.throttled, east.behaves.losing_answers, east.behaves.error_burst = 0.05, 0.2, 5
        templates = [await links.federation.create(CONFIG_MAPS, config_map(fresh_name("settings"))) for _ in range(30)]
        for template in templates:
            await links.place(template, east.name)
        for template in templates:
            await links.told(template, east.name, "Applied")
        for template in templates:
            await links.bury(template, east.name)
        for template in templates:
            await links.told(template, east.name, "Gone")
        assert not [one for one in east.objects(CONFIG_MAPS) if one["metadata"]["name"].startswith("settings-")]


async def test_what_a_member_refuses_is_said_in_its_words(endpoint: Endpoint, east: FakeMember) -> None:
    east.behaves.refused = {"ConfigMap": "no settings here"}
    async with linked(endpoint, east) as links:
        template = await links.federation.create(CONFIG_MAPS, config_map(fresh_name("settings")))
        await links.place(template, east.name)
        await links.told(template, east.name, "Failed", message="no settings here")


async def test_a_member_that_says_nothing_from_the_start_is_told_of(
    endpoint: Endpoint, east: FakeMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("federation.controllers.links.served.SLOW", 0.3)
    async with linked(endpoint, east, start=False) as links:
        east.hang()
        await links.start()
        template = await links.federation.create(CONFIG_MAPS, config_map(fresh_name("settings")))
        await links.place(template, east.name)
        await links.told(template, east.name, "Pending", message="does not say which kinds it serves")
        east.resume()
        await links.told(template, east.name, "Applied")


async def test_a_kind_that_a_member_serves_in_another_version_waits_until_it_serves_ours(
    endpoint: Endpoint, east: FakeMember
) -> None:
    east.behaves.without_groups = ("autoscaling/v2",)
    async with linked(endpoint, east) as links:
        name = fresh_name("web")
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        scaler = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"scaleTargetRef": target, "maxReplicas": 3},
        }
        template = await links.federation.create(SCALERS, scaler)
        await links.place(template, east.name)
        await links.told(template, east.name, "Pending", message="serves HorizontalPodAutoscaler in autoscaling/v1")
        east.behaves.without_groups = ()
        east.api.refresh()
        facts = {"status": {"apis": [{"groupVersion": "autoscaling/v2", "kinds": ["HorizontalPodAutoscaler"]}]}}
        await links.federation.patch(CLUSTERS, east.name, facts, subresource="status")
        await links.told(template, east.name, "Applied")
