"""A few rounds of chaos in a federation, and proof that its judge would have seen what it looks for."""

from pathlib import Path

from cluster.api.resources import CONFIG_MAPS, NAMESPACES
from federation.placement.render import MANAGED
from tests.federations.chaos.judge import Judge
from tests.federations.chaos.run import run
from tests.federations.chaos.schedule import MEMBERS, NAMESPACE, TAKEN_IN, schedule
from tests.federations.chaos.user import template
from tests.federations.world import world

ROUNDS = 6


async def test_after_chaos_everything_is_as_it_must_be() -> None:
    report = await run(seed=4, rounds=ROUNDS, seconds=2.0)
    assert not report.findings, "\n".join([*report.lines(), report.logs])
    assert report.rounds == ROUNDS
    assert report.writes["apply"]


def test_a_seed_is_a_schedule() -> None:
    assert schedule(3, 7) == schedule(3, 7)
    assert schedule(3, 7) != schedule(3, 8)


async def test_the_judge_sees_what_is_lost_left_over_and_touched(tmp_path: Path) -> None:
    async with world(tmp_path, members=len(MEMBERS)) as federation:
        await federation.wait_phase(*MEMBERS)
        await federation.manager.kill()
        judge = Judge(federation)
        judge.settle()
        await federation.api.create(
            NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        )
        assert await judge.faults() == []
        await federation.api.create(CONFIG_MAPS, template("c0", 1, 0, ""))
        await federation.api.create(CONFIG_MAPS, template("c1", 1, 0, ""))
        copy = template("c1", 2, 0, "")
        federation.members["m0"].put(CONFIG_MAPS, copy)
        stray = template("c2", 1, 0, "")
        stray["metadata"]["labels"][MANAGED] = "true"
        federation.members["m1"].put(CONFIG_MAPS, stray)
        changed = judge.foreign[TAKEN_IN, "configmaps", "theirs"]
        federation.members[TAKEN_IN].put(CONFIG_MAPS, {**changed, "data": {"value": "ours"}})
        found = "\n".join(await judge.faults())
        assert "lost: ConfigMap c0 is not in m2" in found
        assert "stale: ConfigMap c1 has 2 in m0 and 1 at the federation" in found
        assert "resurrected: ConfigMap c1 in m0 is of template None" in found
        assert "resurrected: ConfigMap c2 is in m1, and has no template" in found
        assert f"touched: configmaps/theirs in {TAKEN_IN} is somebody else's" in found
