"""
`python -m tests.kill_points --seed 1 --rounds 5`: verbs killed anywhere, by hand; a finding ends it, and the cluster
stays until the next run.
"""

import argparse
import sys
from pathlib import Path

from tests.kill_points.rounds import play
from tests.kill_points.verbs import VERBS


def main() -> int:
    names = [verb.name for verb in VERBS]
    parser = argparse.ArgumentParser(prog="python -m tests.kill_points")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="lives of a cluster beside the undisturbed one")
    parser.add_argument("--seconds", type=float, default=0.0, help="begin no new life after that many")
    parser.add_argument("--masters", type=int, default=1, choices=[1, 3])
    parser.add_argument("--verbs", default=",".join(names), help="which are struck")
    parser.add_argument("--home", type=Path, default=Path("/var/tmp/hanse-kill-points"))
    given = parser.parse_args()
    report = play(
        given.home,
        given.seed,
        given.rounds,
        masters=given.masters,
        wanted=given.verbs.split(","),
        seconds=given.seconds,
    )
    print("\n".join(report.lines()))
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
