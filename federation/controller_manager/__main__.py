"""
The federation's controller manager: `python -m federation.controller_manager --kubeconfig=F [--leader-elect=false]`.

Knows its members: health, facts, and the login in each. Names of Services and propagation are not its work yet.
"""

import argparse
import sys
from collections.abc import Sequence

from cluster.client.component import add_component_flags, parse_flags, run_component
from cluster.client.rest import ApiClient


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="federation-controller-manager", description="Looks after the members of a federation.", allow_abbrev=False
    )
    add_component_flags(parser, lease="federation-controller-manager", port=0)
    parser.set_defaults(leader_elect_resource_namespace="federation-system")
    return parse_flags(parser, argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(sys.argv[1:] if argv is None else argv)

    async def lead(client: ApiClient) -> None:
        from federation.controllers.watch_members import WatchMembers  # only a leader needs it

        await WatchMembers(client).run()

    return run_component(options, "federation-controller-manager", lead)


if __name__ == "__main__":
    sys.exit(main())
