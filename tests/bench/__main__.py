"""
`make bench`: figures, a line each (name, value, unit), and all of them in bench.json. Nothing is asserted.

The machine is shared and noisy: compare figures of one run with each other, and several runs by their best.
"""

import argparse
import json
import pathlib
import sys

from tests.bench import apiserver, federation, federation_dns, placement, provisioning, store
from tests.bench.figures import Figures

SUITES = {
    "federation": federation.measure,
    "federation-dns": federation_dns.measure,
    "store": store.measure,
    "apiserver": apiserver.measure,
    "provisioning": provisioning.measure,
    "placement": placement.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("suites", nargs="*", default=list(SUITES), help=f"of {', '.join(SUITES)}")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench.json"))
    parser.add_argument("--full", action="store_true", help="long forms, where a suite has one")
    given = parser.parse_args()
    figures = Figures(sys.stdout, full=given.full)
    for suite in given.suites:
        SUITES[suite](figures)
    given.out.write_text(json.dumps(figures.as_json(), indent=1) + "\n")


if __name__ == "__main__":
    main()
