"""
`python -m cluster.kube_proxy.hold_address`: the API's virtual address without the rest of kube-proxy.

For hosts that serve an API and run no Pods. The flags are kube-proxy's.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import logging
import signal
import sys
from collections.abc import Sequence

from cluster.client.kubeconfig import KubeconfigError, load_kubeconfig
from cluster.kube_proxy.virtual_address import VirtualAddress, VirtualAddressError, keep_virtual_address
from cluster.machinery.systemd import notify_ready, notify_stopping

log = logging.getLogger("cluster.kube_proxy.hold_address")


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="api-address", description=__doc__, allow_abbrev=False)
    parser.add_argument("--kubeconfig", required=True, help="its first server is the apiserver of this host")
    parser.add_argument("--api-virtual-address", required=True, type=ipaddress.IPv4Interface, metavar="ADDRESS/PREFIX")
    parser.add_argument("--api-virtual-address-interface", required=True)
    parser.add_argument("--hostname-override", required=True, help="this host's name, as the Lease's holder")
    parser.add_argument("--v", "-v", type=int, default=0)
    return parser.parse_args(argv)


async def run(flags: argparse.Namespace) -> None:
    """Until SIGTERM. Raises KubeconfigError, VirtualAddressError."""
    wanted = VirtualAddress(flags.api_virtual_address, flags.api_virtual_address_interface)
    server = load_kubeconfig(flags.kubeconfig).servers[0]
    work = asyncio.create_task(keep_virtual_address(wanted, flags.kubeconfig, server, flags.hostname_override))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    notify_ready()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    notify_stopping()


def main(argv: Sequence[str] | None = None) -> int:
    flags = parse_flags(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(
        level=logging.DEBUG if flags.v >= 4 else logging.INFO, format="%(asctime)s %(levelname).1s %(name)s %(message)s"
    )
    try:
        asyncio.run(run(flags))
    except (KubeconfigError, VirtualAddressError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
