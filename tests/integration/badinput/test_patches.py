"""Patches: those of the standards, those of Kubernetes, and those that were made to break a server."""

import json
import pathlib
from typing import Any

import pytest
import yaml

from tests.integration.badinput.conftest import UnderFire, check_refusal
from tests.integration.badinput.raw_http import Answer, Talk, expand

CASES = yaml.safe_load(pathlib.Path(__file__).with_name("patches.yaml").read_text())
MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
STRICT = "dryRun=All&fieldValidation=Strict"


def filled(value: Any) -> Any:
    """`{abc*3}` in texts written out, and the same for keys."""
    return json.loads(expand(json.dumps(value)).decode())


def verdict(case: dict[str, Any], answer: Answer, found: Any) -> str:
    """Empty when the answer is one of those that are wanted."""
    check_refusal(answer, case["name"], within=5)
    want = case["want"]
    codes = [want] if isinstance(want, int) else want if isinstance(want, list) and isinstance(want[0], int) else []
    if codes:
        return "" if answer.status in codes else f"{case['name']}: {answer.status}, not {want}: {answer.body[:300]!r}"
    if answer.status != 200:
        return f"{case['name']}: {answer.status} {answer.body[:300]!r}"
    return "" if found(json.loads(answer.body)) == want else f"{case['name']}: {answer.body[:500]!r}"


def test_json_patches_do_what_the_standard_says(fire: UnderFire) -> None:
    with fire.unharmed(stored=True), Talk(fire.plane) as talk:
        wrong = []
        for number, case in enumerate(CASES["json_patches"]):
            start = {"metadata": {"name": f"jp-{number}"}, "data": filled(case["start"])}
            assert talk.ask("POST", MAPS, start).status == 201
            patch = filled(case["patch"]) * case.get("repeat", 1)
            answer = talk.ask("PATCH", f"{MAPS}/jp-{number}?{STRICT}", patch, "application/json-patch+json")
            wrong.append(verdict(case, answer, lambda obj: obj.get("data")))

    assert [fault for fault in wrong if fault] == []


def test_strategic_patches_do_what_kubernetes_says(fire: UnderFire) -> None:
    container = {"image": "x"}
    pod = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{**container, "name": n} for n in ("one", "two")]},
    }
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": pod}
    with fire.unharmed(stored=True), Talk(fire.plane) as talk:
        assert talk.ask("POST", DEPLOYMENTS, {"metadata": {"name": "sp"}, "spec": spec}).status == 201
        wrong = []
        for case in CASES["strategic"]:
            media = "application/strategic-merge-patch+json"
            answer = talk.ask("PATCH", f"{DEPLOYMENTS}/sp?{STRICT}", case["patch"], media)
            names = lambda obj: [c["name"] for c in obj["spec"]["template"]["spec"]["containers"]]  # noqa: E731
            wrong.append(verdict(case, answer, names))

    assert [fault for fault in wrong if fault] == []


@pytest.mark.parametrize(
    ("media", "patch", "fault"),
    [
        ("merge-patch+json", b'{"data":{"a":"1","a":"2"}}', 'duplicate field "data.a"'),
        (
            "strategic-merge-patch+json",
            b'{"data":{"a":"1","a":"2"},"bogus":1}',
            'duplicate field "data.a", unknown field "bogus"',
        ),
        (
            "json-patch+json",
            b'[{"op":"add","path":"/data/z","path":"/data/b","value":"1"}]',
            'json patch duplicate field "[0].path"',
        ),
    ],
)
def test_repeated_fields_of_a_patch_are_told(fire: UnderFire, media: str, patch: bytes, fault: str) -> None:
    with fire.unharmed(stored=True), Talk(fire.plane) as talk:
        assert talk.ask("POST", MAPS, {"metadata": {"name": "repeated"}, "data": {"a": "0"}}).status in (201, 409)
        strict = talk.ask("PATCH", f"{MAPS}/repeated?{STRICT}", patch, f"application/{media}")
        warned = talk.ask("PATCH", f"{MAPS}/repeated?dryRun=All", patch, f"application/{media}")

    assert strict.status == 422
    assert f"strict decoding error: {fault}" in json.loads(strict.body)["message"]
    assert warned.status == 200
    assert fault.split(",")[0].replace('"', '\\"') in warned.headers["warning"]


def test_applies_that_disagree_name_each_other_until_one_forces(fire: UnderFire) -> None:
    def applied(manager: str, **data: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": data}

    media = "application/apply-patch+yaml"
    with fire.unharmed(stored=True), Talk(fire.plane) as talk:
        for manager, data in (("one", {"a": "1", "b": "1"}), ("two", {"b": "1", "c": "1"})):
            made = talk.ask("PATCH", f"{MAPS}/shared?fieldManager={manager}", applied(manager, **data), media)
            assert made.status in (200, 201)
        before = fire.revision()
        refused = talk.ask("PATCH", f"{MAPS}/shared?fieldManager=three", applied("three", a="2", b="2", c="2"), media)
        assert fire.changed_since(before) == []
        forced = talk.ask(
            "PATCH", f"{MAPS}/shared?fieldManager=three&force=true", applied("three", a="2", b="2"), media
        )

    causes = json.loads(refused.body)["details"]["causes"]
    assert refused.status == 409
    assert [(cause["reason"], cause["field"]) for cause in causes] == [
        ("FieldManagerConflict", field) for field in (".data.a", ".data.b", ".data.b", ".data.c")
    ]
    assert json.loads(forced.body)["data"] == {"a": "2", "b": "2", "c": "1"}
