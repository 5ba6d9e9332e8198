"""`python -m federation.dns_server`: authoritative name server of the federation's zone."""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

from cluster.client.kubeconfig import KubeconfigError
from cluster.client.rest import ApiClient
from cluster.machinery.systemd import notify_stopping
from federation.dns.key_files import KeyFileError, TsigSecret, read_key_file
from federation.dns.secondaries import Secondary, read_secondary
from federation.dns_server.service import DnsServerSettings, serve

log = logging.getLogger("federation.dns_server")


def name_server(text: str) -> tuple[str, str]:
    name, _, address = text.partition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=ADDRESS, e.g. ns1.example.com=192.0.2.1")
    return name.rstrip(".").lower(), address


def secondary(text: str) -> Secondary:
    try:
        return read_secondary(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def key_file(text: str) -> tuple[TsigSecret, ...]:
    try:
        return read_key_file(Path(text))
    except KeyFileError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
    parser.add_argument(
        "--rate-limit", type=int, default=1000, help="UDP answers a second to one network (/24, /56); 0: no limit"
    )
    parser.add_argument(
        "--secondary", type=secondary, action="append", default=[], metavar="[NAME=]ADDRESS[:PORT]",
        help="a server that is told of every change by NOTIFY, and with a name stands in NS records; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--transfer-key-file", type=key_file, action="append", default=[], metavar="FILE",
        help="TSIG keys that may transfer the zone, as tsig-keygen writes them; the first one signs; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--allow-transfer", type=ip_network, action="append", default=[], metavar="NETWORK",
        help="where signed transfers may come from; default the secondaries, else everywhere; may be repeated",
    )  # fmt: skip
    parser.add_argument("--v", "-v", type=int, default=0)
    return parser.parse_args(argv)


async def run(flags: argparse.Namespace) -> None:
    servers: dict[str, list[str]] = {}
    for name, address in flags.name_server or [(f"ns1.{flags.zone.rstrip('.').lower()}", flags.bind_address)]:
        # "Any address" is one to listen on, not one to give out.
        servers.setdefault(name, []).extend([address] if address and not ip_address(address).is_unspecified else [])
    for each in flags.secondary:
        if each.name:
            servers.setdefault(each.name, []).append(each.address)
    settings = DnsServerSettings(
        flags.bind_address,
        flags.port,
        flags.zone,
        servers,
        flags.rate_limit,
        keys=[key for keys in flags.transfer_key_file for key in keys],
        secondaries=flags.secondary,
        allow_transfer=flags.allow_transfer,
    )
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
