"""Strategic merge patches, a scenario a file."""

import copy
import pathlib

import pytest
import yaml

from cluster.api import resources
from cluster.machinery import strategic_merge
from cluster.machinery.status_errors import BadRequest

SCENARIOS = sorted((pathlib.Path(__file__).parents[2] / "scenarios/machinery/strategic_merge").glob("*.yaml"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_strategic_merge(path: pathlib.Path) -> None:
    case = yaml.safe_load(path.read_text())
    before = copy.deepcopy((case["doc"], case["patch"]))
    resource = resources.named(case["resource"])

    if "refused" in case:
        with pytest.raises(BadRequest, match=case["refused"]):
            strategic_merge.apply(resource, case["doc"], case["patch"])
    else:
        assert strategic_merge.apply(resource, case["doc"], case["patch"]) == case["expect"]
    assert (case["doc"], case["patch"]) == before


@pytest.mark.parametrize("patch", [[], "x", None, 1])
def test_patch_that_is_no_map_is_refused(patch: object) -> None:
    with pytest.raises(BadRequest, match=r"into Go value of type map\[string\]interface {}"):
        strategic_merge.apply(resources.PODS, {}, patch)


@pytest.mark.parametrize(
    "patch",
    [
        {"$patch": "odd"},
        {"spec": {"$retainKeys": "x"}},
        {"spec": {"$retainKeys": ["a"], "b": 1}},
        {"spec": {"$setElementOrder/containers": "x"}},
        {"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}},
        {"spec": {"$deleteFromPrimitiveList/x": "y"}},
        {"spec": {"containers": [{"name": "one", "$patch": "odd"}]}},
        {"spec": {"containers": [{"$patch": "delete"}]}},
        {"spec": {"containers": ["text"]}},
        {"metadata": {"finalizers": [["a"]]}},
    ],
)
def test_malformed_directive_is_refused(patch: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        strategic_merge.apply(
            resources.PODS, {"metadata": {"finalizers": ["x"]}, "spec": {"containers": [{"name": "one"}]}}, patch
        )
