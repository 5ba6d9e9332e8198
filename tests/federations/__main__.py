"""
`python -m tests.federations --seed 1 --rounds 20`: chaos by hand; a finding ends it, with the command to see it again.

`--shrink` plays the round of the finding again and again with fewer steps, and prints what is left; `--replay FILE`
plays a schedule that was written so.
"""

import argparse
import asyncio
import json
import pathlib
import sys

from tests.federations.chaos.run import PATIENCE, play, run
from tests.federations.chaos.schedule import Step, schedule
from tests.federations.chaos.shrink import shrink


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.federations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="round to begin with")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round's trouble")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, help="seconds to become right; more on a busy machine"
    )
    parser.add_argument("--shrink", action="store_true", help="look for the fewest steps of round --first that fail")
    parser.add_argument("--replay", type=pathlib.Path, help="a JSON list of steps")
    given = parser.parse_args()
    if given.replay is not None:
        steps = [Step(**one) for one in json.loads(given.replay.read_text())]
        report = asyncio.run(play([(0, steps)]))
    elif given.shrink:
        left = asyncio.run(shrink(schedule(given.seed, given.first, seconds=given.seconds)))
        json.dump([step.as_json() for step in left], sys.stdout, indent=1)
        return 0
    else:
        report = asyncio.run(
            run(given.seed, given.rounds, seconds=given.seconds, first=given.first, patience=given.patience)
        )
    print("\n".join(report.lines()))
    if report.findings:
        print(report.logs, file=sys.stderr)
        print(f"again: python -m tests.federations --seed {given.seed} --first {given.first} --rounds {report.rounds}")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
