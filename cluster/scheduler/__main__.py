"""
kube-scheduler: `python -m cluster.scheduler --kubeconfig=F [--leader-elect=false]`.
"""

import argparse
import sys
from collections.abc import Sequence

from cluster.client.component import add_component_flags, parse_flags, run_component
from cluster.client.rest import ApiClient
from cluster.settings import SCHEDULER_PORT


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kube-scheduler", description="Assigns Pods to Nodes.", allow_abbrev=False)
    add_component_flags(parser, lease="kube-scheduler", port=SCHEDULER_PORT)
    parser.add_argument("--scheduler-name", default="default-scheduler", help="which Pods are ours: spec.schedulerName")
    return parse_flags(parser, argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(sys.argv[1:] if argv is None else argv)

    async def lead(client: ApiClient) -> None:
        from cluster.scheduler.scheduler import Scheduler

        await Scheduler(client, name=options.scheduler_name).run()

    return run_component(options, "scheduler", lead)


if __name__ == "__main__":
    sys.exit(main())
