"""
`python -m cluster`: a whole control plane in one process, without etcd; for development and for tests.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster import settings


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cluster",
        description="Apiserver, controller manager and scheduler in one process, without etcd.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--data-dir", type=Path, help="keeps objects and keys; without it all is gone in the end")
    add("--bind-address", default="127.0.0.1", help="address of the API (default: %(default)s)")
    add("--secure-port", type=int, default=settings.APISERVER_PORT, help="its port, 0 for a free one (%(default)s)")
    add("--service-cluster-ip-range", default=settings.SERVICE_CIDR, help="Service addresses (%(default)s)")
    add("--kubeconfig-out", type=Path, help="where the kubeconfig is written (default: in the data directory)")
    add("--hollow-nodes", type=int, default=0, help="Ready Nodes without machines, so that Pods are bound (0)")
    add("--stop-on-eof", action="store_true", help="stop when standard input ends: with the process that started us")
    add("-v", "--v", dest="verbosity", type=int, default=0, help="1 logs what happens, 4 and more debug messages")
    return parser.parse_args(argv)


async def serve(flags: argparse.Namespace) -> None:
    """Until SIGTERM, SIGINT or the end of standard input. Raises what `control_plane.running` does."""
    from cluster.single_process.control_plane import Settings, running

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if flags.stop_on_eof:
        loop.add_reader(sys.stdin.fileno(), _stop_at_end, stop)
    wanted = Settings(
        data_dir=flags.data_dir,
        bind_address=flags.bind_address,
        secure_port=flags.secure_port,
        service_cluster_ip_range=flags.service_cluster_ip_range,
        kubeconfig_out=flags.kubeconfig_out,
        hollow_nodes=flags.hollow_nodes,
    )
    async with running(wanted) as plane:
        sys.stdout.write(f"{plane.url} is ready\nexport KUBECONFIG={plane.kubeconfig}\n")
        sys.stdout.flush()
        parts = asyncio.ensure_future(plane.run_parts())
        waiting = asyncio.ensure_future(stop.wait())
        await asyncio.wait({parts, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if parts.done():
            parts.result()  # they never end of themselves: raises what ended them
        parts.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await parts


def _stop_at_end(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


def main(argv: Sequence[str] | None = None) -> int:
    flags = parse(sys.argv[1:] if argv is None else argv)
    levels = {0: logging.WARNING, 1: logging.INFO, 2: logging.INFO, 3: logging.INFO}
    logging.basicConfig(
        level=levels.get(flags.verbosity, logging.DEBUG), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    import uvloop

    # As in the apiserver: objects live long and are no cycles.
    gc.set_threshold(50_000, 20, 100)
    failed = False
    try:
        uvloop.run(serve(flags))
    except* (OSError, ValueError) as faults:
        failed = True
        for fault in faults.exceptions:
            sys.stderr.write(f"the control plane cannot run: {fault}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
