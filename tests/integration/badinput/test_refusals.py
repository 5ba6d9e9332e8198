"""What upstream's validation refuses is refused here, in its words: required, unknown, out of range, immutable."""

import copy
import json
import pathlib
from typing import Any

import yaml

from tests.integration.badinput.conftest import UnderFire, check_refusal
from tests.integration.badinput.kinds import collection, valid_objects
from tests.integration.badinput.raw_http import Talk

TABLE = yaml.safe_load(pathlib.Path(__file__).with_name("refusals.yaml").read_text())
NAMES = {"CustomResourceDefinition": "valids.kept.test", "IPAddress": "192.0.2.8"}
"""Of stored objects, where not every name will do."""


def valid(kind: str) -> dict[str, Any]:
    """The last one of the table, which is the newest version of the kind."""
    return copy.deepcopy([obj for obj in valid_objects() if obj["kind"] == kind][-1])


def changed(obj: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    at: Any = obj
    *way, last = case["at"].split(".")
    for part in way:
        at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
    if "to" in case:
        at[last] = case["to"]
    else:
        del at[last]
    return obj


def test_what_is_wrong_is_refused_at_creation(fire: UnderFire) -> None:
    wrong = []
    with fire.unharmed(), Talk(fire.plane) as talk:
        for case in TABLE["new"]:
            obj = changed(valid(case["kind"]), case)
            answer = talk.ask("POST", f"{collection(obj)}?dryRun=All", obj)
            check_refusal(answer, str(case))
            if answer.status not in (400, 422) or case["says"] not in json.loads(answer.body)["message"]:
                wrong.append(f"{case}: {answer.status} {answer.body[-700:].decode()}")

    assert not wrong, "\n".join(wrong)


def test_what_may_not_change_is_refused_in_an_update(fire: UnderFire) -> None:
    wrong = []
    with fire.unharmed(stored=True), Talk(fire.plane) as talk:
        for case in TABLE["changed"]:
            obj = valid(case["kind"])
            if case["kind"] == "CustomResourceDefinition":
                obj["spec"]["group"] = "kept.test"
            obj["metadata"]["name"] = NAMES.get(case["kind"], "kept")
            made = talk.ask("POST", collection(obj), obj)
            assert made.status in (201, 409), f"{case}: {made}"
            path = f"{collection(obj)}/{obj['metadata']['name']}"
            for _ in range(5):
                stored = json.loads(talk.ask("GET", path).body)
                answer = talk.ask("PUT", path, changed(stored, case))
                if answer.status != 409:
                    break  # else a controller has just written its status
            check_refusal(answer, str(case))
            if answer.status not in (400, 403, 422) or case["says"] not in json.loads(answer.body)["message"]:
                wrong.append(f"{case}: {answer.status} {answer.body[-700:].decode()}")

    assert not wrong, "\n".join(wrong)
