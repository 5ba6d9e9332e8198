"""`python -m federation.dns_server`: authoritative name server of the federation's zone."""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from ipaddress import ip_address

from cluster.client.kubeconfig import KubeconfigError
from cluster.client.rest import ApiClient
from cluster.machinery.systemd import notify_stopping
from federation.dns_server.service import DnsServerSettings, serve

log = logging.getLogger("federation.dns_server")


def name_server(text: str) -> tuple[str, str]:
    name, _, address = text.partition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=ADDRESS, e.g. ns1.example.com=192.0.2.1")
    return name.rstrip(".").lower(), address


def parse_flags(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="federation-dns", description=__doc__)
    parser.add_argument("--kubeconfig", required=True, help="of the federation's apiserver")
    parser.add_argument("--zone", required=True, help="e.g. example.com")
    parser.add_argument("--bind-address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=53)
    parser.add_argument(
        "--name-server", type=name_server, action="append", default=[], metavar="NAME=ADDRESS",
        help="a name server of the zone, this one first; may be repeated; default ns1.ZONE=BIND-ADDRESS",
    )  # fmt: skip
    parser.add_argument("--rate-limit", type=int, default=1000, help="UDP answers a second to one source; 0: no limit")
    parser.add_argument("--v", "-v", type=int, default=0)
    return parser.parse_args(argv)


async def run(flags: argparse.Namespace) -> None:
    servers: dict[str, list[str]] = {}
    for name, address in flags.name_server or [(f"ns1.{flags.zone.rstrip('.').lower()}", flags.bind_address)]:
        # "Any address" is one to listen on, not one to give out.
        servers.setdefault(name, []).extend([address] if address and not ip_address(address).is_unspecified else [])
    settings = DnsServerSettings(flags.bind_address, flags.port, flags.zone, servers, flags.rate_limit)
    async with ApiClient.from_kubeconfig(flags.kubeconfig, user_agent="federation-dns", connections=2) as client:
        work = asyncio.create_task(serve(settings, client))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await work
        notify_stopping()


def main() -> int:
    flags = parse_flags(sys.argv[1:])
    logging.basicConfig(
        level=logging.DEBUG if flags.v >= 4 else logging.INFO, format="%(asctime)s %(levelname).1s %(name)s %(message)s"
    )
    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(flags))
    except (KubeconfigError, OSError, ValueError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
