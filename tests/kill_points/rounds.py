"""A cluster's life from `create` to `destroy`, each verb struck several times and then left to converge."""

import itertools
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.kill_points.blows import blows
from tests.kill_points.releases import two_releases
from tests.kill_points.site import Site
from tests.kill_points.verbs import VERBS, Verb, World

MOST_BLOWS = 6
"""In a row, to one verb."""


@dataclass(slots=True)
class Report:
    """What happened."""

    points: int = 0
    findings: list[str] = field(default_factory=list)
    edges: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Verb -> edges and seconds of an undisturbed run."""

    def lines(self) -> list[str]:
        known = [f"{verb}: {edges} edges, {seconds:.1f} s" for verb, (edges, seconds) in self.edges.items()]
        return [*known, f"{self.points} points", *self.findings]


def play(
    home: Path, seed: int, rounds: int, *, masters: int = 1, wanted: Sequence[str] = (), seconds: float = 0.0
) -> Report:
    """
    The first round of a home is undisturbed: it says how many edges each verb has, and that nothing is found without
    blows. What it says is kept in the home.

    Args:
        home: The operator's; its cache is used again.
        rounds: Lives beside the first one.
        wanted: Verbs that are struck; all when empty.
        seconds: No new life begins after that many; 0: no limit.
    """
    home.mkdir(parents=True, exist_ok=True)
    site, report = Site(home, f"kp{masters}"), Report()
    began = time.monotonic()
    known = home / f"edges-{masters}.json"
    if known.exists():
        report.edges = {verb: (edges, took) for verb, (edges, took) in json.loads(known.read_text()).items()}
    site.provision("destroy", site.name)
    try:
        for number in range(1 if report.edges else 0, rounds + 1):
            if seconds and number and time.monotonic() - began > seconds:
                break
            rng = random.Random(f"{seed} {masters} {number}")
            world = World(site, masters)
            if not _live(world, rng if number else None, wanted, report, f"round {number}"):
                break
            known.write_text(json.dumps(report.edges))
    finally:
        if not report.findings:
            site.provision("destroy", site.name)
    return report


def _live(world: World, rng: random.Random | None, wanted: Sequence[str], report: Report, title: str) -> bool:
    """Whether nothing was found."""
    for verb in VERBS:
        verb.before(world)
        where = f"{title}, {verb.name}"
        if rng is None:
            _trace(world, verb, report)
        elif not wanted or verb.name in wanted:
            where += f" ({_strike(world, verb, rng, report)})"
        faults = _converge(world, verb)
        if faults:
            report.findings += [f"{where}: {fault}" for fault in faults]
            return False
        print(f"{where}: well", flush=True)
        if verb.name == "create":
            world.releases = two_releases(world.site)
            world.runs = world.releases[0]
    return True


def _trace(world: World, verb: Verb, report: Report) -> None:
    trace = world.site.home / "trace"
    trace.unlink(missing_ok=True)
    done = world.site.provision(*verb.arguments(world), trace=trace)
    assert done.code == 0, done.err
    edges = len(trace.read_text().splitlines()) if trace.exists() else 0
    report.edges[verb.name] = (edges, done.seconds)


def _strike(world: World, verb: Verb, rng: random.Random, report: Report) -> str:
    """Returns what was done, in words."""
    edges, seconds = report.edges[verb.name]
    arguments, said = verb.arguments(world), []
    for blow in itertools.islice(blows(rng, edges, seconds), rng.randint(1, MOST_BLOWS)):
        if verb.gone and not world.site.state.read_record():
            break
        done = world.site.provision(*arguments, blow=blow)
        report.points += done.struck
        said.append(f"{blow}{'' if done.struck else ': too late'}")
        if not done.struck or done.code == 0:
            break
    return ", ".join(said)


def _converge(world: World, verb: Verb) -> list[str]:
    """The same command again, and what is wrong then. Faults of the harness's own questions are findings, too."""
    site = world.site
    if verb.gone:
        site.provision(*verb.arguments(world))
        there = [str(path) for path in (site.state.path,) if path.exists()]
        return [f"{one} is there" for one in there] + site.left_here()
    if not _is_done(world, verb):
        done = site.provision(*verb.arguments(world))
        if done.code != 0:
            return [f"the same command ends with {done.code}: {done.err}{done.out}"]
    verb.after(world)
    return world.faults()


def _is_done(world: World, verb: Verb) -> bool:
    """`nodes add` and `nodes remove` that have come to their end would do more, or find nothing, when run again."""
    there = len(world.site.status().get("hosts") or ())
    if verb.name == "add":
        return there == world.masters + 2 and not (world.site.state.path / "joining.json").exists()
    return verb.name == "remove" and there == world.masters + 1
