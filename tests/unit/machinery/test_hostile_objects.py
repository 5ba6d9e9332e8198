"""Whatever a client sends, the answer is an object or an API error, never an exception of ours."""

import random
from typing import Any

import orjson
import pytest

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.api.schema import schemas
from cluster.machinery import json_patch, managed_fields, merge_patch, patched_text, strategic_merge
from cluster.machinery.status_errors import ApiError

NOW = "2026-01-01T00:00:00Z"
NAMES = (
    "spec", "metadata", "containers", "name", "ports", "template", "status", "data", "finalizers", "ownerReferences",
    "uid", "managedFields", "labels", "env", "value", "containerPort", "protocol", "volumes", "tolerations", "fieldsV1",
    "operation", "selector", "matchLabels", "replicas", "x", "$patch", "$retainKeys", "$setElementOrder/containers",
    "$deleteFromPrimitiveList/finalizers",
)  # fmt: skip
SCALARS = (None, True, 0, 1, -1, 1.5, "", "a", "delete", "replace", "merge", "80", 1e30, 2**63, "c")
WORDS = ("add", "remove", "/spec", "/metadata/finalizers/-", "/spec/containers/0", "/x/y", "", 5)
RESOURCES = [resources.PODS, resources.DEPLOYMENTS, resources.SERVICES, resources.CONFIG_MAPS]


def anything(dice: random.Random, depth: int = 0) -> Any:
    kind = dice.random()
    if depth > 5 or kind < 0.35:
        return dice.choice(SCALARS)
    if kind < 0.55:
        return [anything(dice, depth + 1) for _ in range(dice.randrange(4))]
    return {dice.choice(NAMES): anything(dice, depth + 1) for _ in range(dice.randrange(5))}


def an_object(dice: random.Random, resource: Resource) -> dict[str, Any]:
    obj: dict[str, Any] = {dice.choice(NAMES): anything(dice, 1) for _ in range(4)}
    if dice.random() < 0.5:
        items = [[{"name": "c", "ports": [{"containerPort": 80}]}], [{"name": "c"}, {"name": "d"}], [{}], [None], None]
        obj = {"metadata": {"name": "p", "finalizers": ["a"]}, "spec": {"containers": dice.choice(items)}}
    return {**obj, "apiVersion": resource.api_version, "kind": resource.kind}


def attempt(function: Any, *arguments: Any) -> Any:
    """The result, or None for an API error; anything else fails the test."""
    try:
        return function(*arguments)
    except ApiError:
        return None


@pytest.mark.parametrize("seed", range(4))
def test_no_body_and_no_patch_is_an_internal_error(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(400):
        resource = dice.choice(RESOURCES)
        live = an_object(dice, resource)
        if attempt(schemas().normalize, resource, live) is None:
            continue
        managed_fields.on_update(resource, None, live, "a", NOW)
        new, manager = an_object(dice, resource), dice.choice("abc")
        if attempt(schemas().normalize, resource, new) is not None:
            managed_fields.on_update(resource, live, new, "b", NOW, dice.choice(["", "status"]))
        patch = anything(dice)
        ops = [{name: dice.choice(WORDS) for name in ("op", "path", "from", "value")} for _ in range(2)]
        results = [
            attempt(managed_fields.apply, resource, live, an_object(dice, resource), manager, dice.random() < 0.7, NOW),
            attempt(strategic_merge.apply, resource, live, patch),
            attempt(merge_patch.apply, live, patch),
            attempt(json_patch.apply, live, ops),
        ]
        for result in results:
            if result is not None:
                assert orjson.dumps(result)
                assert patched_text.as_json(resource.shape, result, ops)
                attempt(schemas().normalize, resource, result)
