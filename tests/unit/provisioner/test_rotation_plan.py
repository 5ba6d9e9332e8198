"""Which stages of a rotation are left, and what each takes."""

import itertools

import pytest

from inventory.sources.nspawn import local_cluster
from provisioner.actions.plan_rotation import begins_anew, plan_rotation, stage_before, stages_ahead
from provisioner.errors import InventoryError
from provisioner.phases.rotate_authorities import Progress, Stage

SPEC = local_cluster("dev", 5, "10.89.0.0/24", "/key")
TRUST, SIGN, DROP, RETIRE = Stage.TRUST, Stage.SIGN, Stage.DROP, Stage.RETIRE


@pytest.mark.parametrize(
    ("found", "until", "ahead"),
    [
        (Progress(), None, (TRUST, SIGN, DROP)),
        (Progress(), TRUST, (TRUST,)),
        (Progress(Stage.START, whole=False), None, (TRUST, SIGN, DROP)),
        (Progress(TRUST), None, (SIGN, DROP)),
        (Progress(TRUST, whole=False), None, (TRUST, SIGN, DROP)),
        (Progress(SIGN, whole=False, back=True), SIGN, (SIGN,)),
        (Progress(SIGN), SIGN, ()),
        (Progress(DROP, whole=False), None, (DROP,)),
        (Progress(DROP), None, (RETIRE,)),
        (Progress(DROP), TRUST, (TRUST,)),
        (Progress(RETIRE, whole=False), None, (RETIRE,)),
    ],
)
def test_stages_that_are_left(found: Progress, until: Stage | None, ahead: tuple[Stage, ...]) -> None:
    assert stages_ahead(found, until) == ahead


def test_a_ca_that_expired_waits_for_no_tokens_of_the_rotation_before() -> None:
    assert stages_ahead(Progress(DROP), None, dead=True) == (TRUST, SIGN, DROP)
    assert begins_anew(Progress(DROP), (TRUST, SIGN, DROP))
    assert not begins_anew(Progress(SIGN), (DROP,))


@pytest.mark.parametrize(
    ("found", "target"),
    [
        (Progress(TRUST, whole=False), Stage.START),
        (Progress(SIGN), TRUST),
        (Progress(SIGN, whole=False), TRUST),
        (Progress(TRUST, whole=False, back=True), TRUST),
        (Progress(DROP), SIGN),
        (Progress(Stage.START, whole=False, back=True), Stage.START),
    ],
)
def test_a_rollback_goes_one_stage_back_and_is_gone_on_with(found: Progress, target: Stage) -> None:
    assert stage_before(found) is target


@pytest.mark.parametrize("found", [Progress(), Progress(RETIRE, whole=False)])
def test_where_there_is_no_way_back_it_says_so(found: Progress) -> None:
    with pytest.raises(InventoryError):
        stage_before(found)


def test_a_stage_that_lies_behind_is_refused() -> None:
    with pytest.raises(InventoryError, match="past stage trust"):
        stages_ahead(Progress(SIGN), TRUST)


def test_members_of_etcd_restart_one_by_one_where_whom_they_trust_changes() -> None:
    plan = plan_rotation(SPEC, Progress(), (TRUST, SIGN, DROP))

    restarts = [action for action in plan if "etcd" in action.id]
    assert [action.id for action in restarts] == [
        f"{stage}/etcd dev-{number}" for stage in (TRUST, DROP) for number in (1, 2, 3)
    ]
    for one, other in itertools.pairwise(restarts[:3]):
        assert other.after == (one.id,)
    gates = [action.id for action in plan if action.id.endswith("/gate")]
    assert gates == ["trust/gate", "sign/gate", "drop/gate"]
    assert all(action.after for action in list(plan)[1:])


def test_nothing_waits_for_answers_that_an_expired_ca_makes_impossible() -> None:
    plan = plan_rotation(SPEC, Progress(), (TRUST, SIGN, DROP), dead=True)

    assert [a.id for a in plan if a.id.startswith("trust/etcd")] == ["trust/etcd"]
    assert next(a for a in plan if a.id == "trust/gate").what == "keep what is known so far"


def test_the_same_world_makes_the_same_plan() -> None:
    stages = stages_ahead(Progress(TRUST, whole=False), None)
    first, second = (plan_rotation(SPEC, Progress(TRUST, whole=False), stages) for _ in range(2))
    assert first.digest == second.digest
    assert first.digest != plan_rotation(SPEC, Progress(), stages).digest
