"""Custom resources that a KindRule explains are divided, followed and shown as the federation's own kinds are."""

import asyncio
from pathlib import Path
from typing import Any

import yaml

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.machinery.status_errors import NotFound
from federation.api.refs import Ref
from federation.api.resources import CLUSTER_PROPAGATION_POLICIES, KIND_RULES
from tests.integration.placing import (
    APIS,
    SECONDS,
    Federation,
    config_map,
    config_map_ref,
    endpoint,
    federation,
    parts,
)

__all__ = ["endpoint", "federation"]

EXAMPLE = Path(__file__).parents[2] / "federation" / "examples" / "kind_rules.yaml"
DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
FLEETS = Resource("games.example.com", "v1", "fleets", "Fleet", namespaced=True)
ARENA = Ref("games.example.com", "Fleet", "default", "arena")
DEFINITION: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "fleets.games.example.com"},
    "spec": {
        "group": "games.example.com",
        "scope": "Namespaced",
        "names": {"plural": "fleets", "singular": "fleet", "kind": "Fleet", "listKind": "FleetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            name: {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                            for name in ("spec", "status")
                        },
                    }
                },
            }
        ],
    },
}
FLEET: dict[str, Any] = {
    "apiVersion": "games.example.com/v1",
    "kind": "Fleet",
    "metadata": {"name": "arena", "namespace": "default"},
    "spec": {
        "size": 5,
        "map": "maps",
        "ports": [{"port": 1, "nodePort": 30001}],
        "template": {"spec": {"containers": [{"name": "c", "image": "game"}], "serviceAccountName": "robot"}},
    },
}
FOLLOW: dict[str, Any] = {
    "apiVersion": "federation.hanse.io/v1beta1",
    "kind": "ClusterPropagationPolicy",
    "metadata": {"name": "fleets"},
    "spec": {
        "resourceSelectors": [{"apiVersion": "games.example.com/v1", "kind": "Fleet"}],
        "placement": {"clusterAffinity": {"clusterNames": ["east", "west"]}},
        "propagateDependencies": True,
    },
}


async def test_a_kind_that_a_rule_explains_is_divided_followed_and_shown_whole(federation: Federation) -> None:
    for name in ("east", "west", "north"):
        await federation.join(name, apis=[*APIS, {"groupVersion": "games.example.com/v1", "kinds": ["Fleet"]}])
    await federation.start()
    await federation.create(CLUSTER_PROPAGATION_POLICIES, FOLLOW)
    await federation.create(resources.CONFIG_MAPS, config_map("maps"))
    await federation.create(DEFINITIONS, DEFINITION)
    await _create_fleet(federation)
    copied = await federation.placed(ARENA, lambda found: parts(found) == {"east": None, "west": None})
    assert "rule" not in copied["spec"]

    rule = yaml.safe_load(EXAMPLE.read_text())
    await federation.create(KIND_RULES, rule)
    divided = await federation.placed(ARENA, lambda found: sum(filter(None, parts(found).values())) == 5)
    assert sorted(parts(divided).values()) == [2, 3]
    assert divided["spec"]["rule"] == {"replicas": ".spec.size", "memberOwned": [".spec.ports[*].nodePort"]}
    assert await _condition(federation, rule["metadata"]["name"]) == ("True", "")

    uid = divided["spec"]["template"]["uid"]
    running = {"east": {"running": 3}, "west": {"running": 0}}
    await federation.report(ARENA, {name: _applied(uid, status) for name, status in running.items()})
    await _status(federation, {"running": 3, "regions": ["east"]})

    late = {**rule, "metadata": {"name": "late"}}
    await federation.create(KIND_RULES, late)
    status, why = await _condition(federation, "late")
    assert (status, "fleets.games.example.com is older" in why) == ("False", True)
    await federation.client.delete(KIND_RULES, rule["metadata"]["name"])
    assert await _condition(federation, "late", "True") == ("True", "")
    broken = {**late["spec"], "health": "status.running >="}
    await federation.client.patch(KIND_RULES, "late", {"spec": broken})
    status, why = await _condition(federation, "late", "False")
    assert (status, "health is no expression" in why) == ("False", True)
    await federation.placed(ARENA, lambda found: parts(found) == {"east": None, "west": None})
    await federation.client.delete(DEFINITIONS, DEFINITION["metadata"]["name"])


async def test_what_a_rule_names_goes_along_and_a_copy_stays_until_its_replacement_is_well(
    federation: Federation,
) -> None:
    for name in ("east", "west", "north"):
        await federation.join(name, apis=[*APIS, {"groupVersion": "games.example.com/v1", "kinds": ["Fleet"]}])
    await federation.start()
    only_maps = {**FOLLOW, "metadata": {"name": "nowhere"}}
    only_maps["spec"] = {
        "resourceSelectors": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "maps"}],
        "placement": {"clusterAffinity": {"clusterNames": ["nobody"]}},
    }
    await federation.create(CLUSTER_PROPAGATION_POLICIES, FOLLOW, only_maps)
    await federation.create(KIND_RULES, yaml.safe_load(EXAMPLE.read_text()))
    await federation.create(resources.CONFIG_MAPS, config_map("maps"))
    await federation.create(DEFINITIONS, DEFINITION)
    await _create_fleet(federation)
    placed = await federation.placed(ARENA, lambda found: sum(filter(None, parts(found).values())) == 5)
    await federation.placed(config_map_ref("maps"), lambda found: set(parts(found)) == {"east", "west"})

    uid, shares = placed["spec"]["template"]["uid"], parts(placed)
    await federation.report(ARENA, {name: _applied(uid, {"running": count}) for name, count in shares.items()})
    await federation.lose("west", "2026-01-01T00:00:00Z")
    moved = await federation.placed(ARENA, lambda found: parts(found) == {"east": 5})
    assert set(parts(moved, "evicting")) == {"west"}
    await federation.report(ARENA, {"east": _applied(uid, {"running": 5})})
    gone = await federation.placed(ARENA, lambda found: not parts(found, "evicting"))
    assert parts(gone, "tombstones") == {"west": "Evicted"}
    await federation.client.delete(DEFINITIONS, DEFINITION["metadata"]["name"])


def _applied(uid: str, status: dict[str, Any]) -> dict[str, Any]:
    return {"state": "Applied", "uid": uid, "generation": 1, "observed": 1, "status": status}


async def _create_fleet(federation: Federation) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await federation.create(FLEETS, FLEET)
                return
            except NotFound:
                await asyncio.sleep(0.05)


async def _status(federation: Federation, wanted: dict[str, Any]) -> None:
    found: Any = None
    async with asyncio.timeout(SECONDS):
        while found != wanted:
            await asyncio.sleep(0.05)
            found = (await federation.client.get(FLEETS, "arena", namespace="default")).get("status")


async def _condition(federation: Federation, name: str, status: str = "") -> tuple[str, str]:
    """Status and message of Accepted, once it is there, or as it is waited for."""
    async with asyncio.timeout(SECONDS):
        while True:
            rule = await federation.client.get(KIND_RULES, name)
            for one in (rule.get("status") or {}).get("conditions") or ():
                if status in ("", one["status"]):
                    return one["status"], one.get("message") or ""
            await asyncio.sleep(0.05)
