"""
`python -m tests.histories`: record a history under trouble and judge it. Exit code 1 when anything is wrong.

`--bug NAME` plants one of `planted.BUGS` first, to see that it is found.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter

from tests.histories.run import Settings, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.histories")
    parser.add_argument("--operations", type=int, default=4000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--apiservers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bug", default="")
    parser.add_argument("--calm", action="store_true", help="no kills and pauses")
    given = parser.parse_args()
    settings = Settings(
        operations=given.operations,
        clients=given.clients,
        apiservers=given.apiservers,
        seed=given.seed,
        bug=given.bug,
        trouble=not given.calm,
    )
    began = time.monotonic()
    history, findings = asyncio.run(run(settings))
    statuses = Counter(f"{op.verb} {op.status or 'unknown'}" for op in history.operations)
    print(", ".join(f"{number} {what}" for what, number in sorted(statuses.items())))
    events = sum(len(session.events) for session in history.watches)
    print(f"{len(history.watches)} watches told {events} events of {len(history.log)} changes")
    print("; ".join(history.trouble) or "no trouble")
    for finding in findings[:20]:
        print(f"WRONG: {finding}")
    print(
        f"{len(history.operations)} operations, {len(findings)} violations, seed {settings.seed}, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
