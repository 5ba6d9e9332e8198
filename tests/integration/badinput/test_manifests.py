"""Valid manifests are taken; broken in one place they are taken or refused for a reason, and never by accident."""

import os
import random

from tests.integration.badinput.conftest import UnderFire, check_refusal
from tests.integration.badinput.kinds import collection, valid_objects
from tests.integration.badinput.mutations import mutations
from tests.integration.badinput.raw_http import Talk

EACH = int(os.environ.get("HANSE_CORPUS_SIZE", "40"))
"""Mutations a kind; `make soak` tries them all."""


def test_a_valid_object_of_every_kind_is_taken(fire: UnderFire) -> None:
    with fire.unharmed(), Talk(fire.plane) as talk:
        for obj in valid_objects():
            answer = talk.ask("POST", f"{collection(obj)}?dryRun=All&fieldValidation=Strict", obj)
            assert answer.status == 201, f"{obj['apiVersion']} {obj['kind']}: {answer.body[:500]!r}"
    assert len({(obj["apiVersion"], obj["kind"]) for obj in valid_objects()}) >= 60


def test_objects_broken_in_one_place_get_a_proper_answer(fire: UnderFire) -> None:
    choice = random.Random(EACH)
    with fire.unharmed(), Talk(fire.plane) as talk:
        for obj in valid_objects():
            path = f"{collection(obj)}?dryRun=All&fieldValidation=Strict"
            cases = list(mutations(obj))
            for case in choice.sample(cases, min(EACH, len(cases))):
                answer = talk.ask("POST", path, case.obj)
                what = f"{obj['apiVersion']} {obj['kind']} {case.name}"
                check_refusal(answer, what)
                assert answer.status in (201, 400, 403, 404, 409, 413, 422), f"{what}: {answer}"
                assert not (case.refused and answer.status == 201), f"{what} was taken"
