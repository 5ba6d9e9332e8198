"""Rounds of chaos: change and break, heal, and wait until everything is as it must be."""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from cluster.api.resources import NAMESPACES
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError
from federation.api.resources import CLUSTERS, PLACEMENTS
from tests.federations.chaos.judge import Judge, meddle
from tests.federations.chaos.operator import confirm_deletions
from tests.federations.chaos.schedule import MEMBERS, NAMESPACE, Step, is_trouble, schedule
from tests.federations.chaos.trouble import Trouble
from tests.federations.chaos.user import User
from tests.federations.world import World, wait_ready, world

PATIENCE = 30.0
"""Seconds from healing until everything must be right."""
SETTLED = 0.3
"""Seconds that everything has to stay right."""


@dataclass
class Report:
    rounds: int = 0
    findings: list[str] = field(default_factory=list)
    """Each begins with the seed and round that it was found in."""
    converged: list[float] = field(default_factory=list)
    """Seconds from healing, by round."""
    changes: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    """In members, by verb."""
    confirmed: int = 0
    """How often somebody had to say yes to many deletions."""
    logs: str = ""
    """When something was found: the end of the controller manager's, and all Placements."""

    def lines(self) -> list[str]:
        took = sorted(self.converged) or [0.0]
        return [
            f"rounds {self.rounds}, findings {len(self.findings)}",
            f"converged after healing: median {took[len(took) // 2]:.2f} s, longest {took[-1]:.2f} s",
            f"changes by users: {dict(self.changes)}",
            f"troubles: {dict(self.troubles)}",
            f"writes into members: {dict(self.writes)}; deletions confirmed {self.confirmed} times",
            *self.findings,
        ]


async def run(seed: int, rounds: int, *, seconds: float = 3.0, first: int = 0, patience: float = PATIENCE) -> Report:
    """Rounds `first` to `first + rounds - 1` of a seed, in one federation; it ends with the first finding."""
    numbered = [(number, schedule(seed, number, seconds=seconds)) for number in range(first, first + rounds)]
    return await play(numbered, f"seed {seed}", patience)


async def play(
    rounds: Sequence[tuple[int, Sequence[Step]]], name: str = "replay", patience: float = PATIENCE
) -> Report:
    """Given schedules, with their numbers."""
    report = Report()
    with tempfile.TemporaryDirectory(prefix="chaos-") as home:
        async with world(Path(home)) as federation:
            for member in MEMBERS:
                await federation.add(member)
            judge, user, trouble = Judge(federation), User(federation.api), Trouble(federation)
            judge.settle()
            await federation.wait_phase(*MEMBERS)
            namespace: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
            await federation.api.create(NAMESPACES, namespace)
            for number, steps in rounds:
                found = await _round(federation, steps, judge, user, trouble, report, patience)
                report.rounds += 1
                if found:
                    report.findings += [f"{name} round {number}: {one}" for one in found]
                    report.logs = await _evidence(federation)
                    break
            report.changes, report.troubles = user.done, trouble.done
            for one in federation.members.values():
                for (verb, _), times in one.writes.items():
                    report.writes[verb] += times
    return report


async def _evidence(federation: World) -> str:
    log = federation.manager.log.read_text(errors="replace")[-6000:]
    placements = (await federation.api.list(PLACEMENTS, namespace=NAMESPACE))["items"]
    told = [
        orjson.dumps({"name": one["metadata"]["name"], "spec": one["spec"], "status": one.get("status")}).decode()
        for one in placements
    ]
    members = (await federation.api.list(CLUSTERS))["items"]
    clusters = [orjson.dumps(one.get("status")).decode()[:2000] for one in members]
    process = federation.manager.process
    ended = f"the controller manager's process: {process.returncode if process is not None else 'never started'}"
    return "\n".join([log, ended, *told, *clusters])


async def _round(
    federation: World,
    steps: Sequence[Step],
    judge: Judge,
    user: User,
    trouble: Trouble,
    report: Report,
    patience: float,
) -> list[str]:
    """What is wrong at its end."""
    judge.begin_round()
    user.touched.clear()
    began = time.monotonic()
    for step in steps:
        await asyncio.sleep(max(0.0, began + step.at - time.monotonic()))
        if is_trouble(step):
            trouble.begin(step)
        elif step.what in ("drift", "steal"):
            member, value, steal = step.details["member"], step.details["value"], step.what == "steal"
            if meddle(federation.members[member], step.target, value, steal=steal) and steal:
                judge.stolen.add((member, step.target))
        else:
            await user.do(step)
    await asyncio.sleep(max(0.0, began + max(one.at + one.seconds for one in steps) - time.monotonic()))
    await trouble.heal()
    healed = time.monotonic()
    await wait_ready(federation.api, federation.apiserver)
    found = await user.faults()
    if found:
        return found
    while True:
        try:
            report.confirmed += await confirm_deletions(federation)
            found = await judge.faults()
        except ApiError as fault:
            found = [f"the federation's API does not answer: {fault}"]
        if not found or time.monotonic() - healed > patience:
            break
        await asyncio.sleep(0.1)
    report.converged.append(time.monotonic() - healed)
    if not found:
        await asyncio.sleep(SETTLED)
        found = [f"not for long: {one}" for one in await judge.faults()]
    return found or await judge.needless_deletions(user.touched)
