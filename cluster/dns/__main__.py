"""`python -m cluster.dns`: the cluster's DNS server on one node."""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from cluster import settings as contract
from cluster.client.kubeconfig import KubeconfigError
from cluster.client.rest import ApiClient
from cluster.dns.federations import ConfigError, NameSettings, read_federations, read_forward_zone
from cluster.dns.listening import InterfaceError
from cluster.dns.server_addresses import Resolver
from cluster.dns.service import DnsSettings, serve_dns
from cluster.machinery.systemd import notify_stopping

log = logging.getLogger("cluster.dns")

CONNECTIONS = 8
"""Each of five watches holds one (Services, EndpointSlices, ServiceImports, their definition, settings)."""


def address_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT, e.g. 127.0.0.1:8181")
    return host, int(port)


def federations(text: str) -> dict[str, str]:
    try:
        return read_federations(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def forward_zone(text: str) -> tuple[str, list[Resolver]]:
    try:
        return read_forward_zone(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse_flags(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cluster-dns", description=__doc__)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--bind-address", default=contract.CLUSTER_DNS_ADDRESS)
    parser.add_argument("--port", type=int, default=53)
    parser.add_argument("--cluster-domain", default=contract.CLUSTER_DOMAIN)
    parser.add_argument("--service-cidr", default=contract.SERVICE_CIDR)
    parser.add_argument("--cluster-cidr", default=contract.POD_CIDR, help="pods: they may ask for any name")
    parser.add_argument("--interface", default="hanse-dns0", help="gets the bind address; empty: none is made")
    parser.add_argument("--forward", type=Path, default=Path("/etc/resolv.conf"), help="resolvers for other names")
    parser.add_argument(
        "--federations", type=federations, default={}, metavar="NAME=DOMAIN,…",
        help="whose names service.namespace.NAME.svc are answered; ConfigMap kube-system/kube-dns adds more",
    )  # fmt: skip
    parser.add_argument(
        "--forward-zone", type=forward_zone, action="append", default=[], metavar="ZONE=ADDRESS[:PORT],…",
        help="servers that are asked about names in a zone; may be repeated",
    )  # fmt: skip
    parser.add_argument("--healthz-bind-address", type=address_and_port, default=("127.0.0.1", 8181))
    parser.add_argument("--metrics-bind-address", type=address_and_port, default=("127.0.0.1", 9153))
    parser.add_argument("--ttl", type=int, default=5, help="seconds that answers may be kept")
    parser.add_argument("--v", "-v", type=int, default=0)
    return parser.parse_args(argv)


async def run(flags: argparse.Namespace) -> None:
    settings = DnsSettings(
        bind_address=flags.bind_address,
        port=flags.port,
        cluster_domain=flags.cluster_domain,
        service_cidr=flags.service_cidr,
        cluster_cidr=flags.cluster_cidr,
        interface=flags.interface,
        forward=flags.forward,
        healthz=flags.healthz_bind_address,
        metrics=flags.metrics_bind_address,
        ttl=flags.ttl,
        names=NameSettings(flags.federations, dict(flags.forward_zone)),
    )
    async with ApiClient.from_kubeconfig(flags.kubeconfig, user_agent="cluster-dns", connections=CONNECTIONS) as client:
        work = asyncio.create_task(serve_dns(settings, client))
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
    except (InterfaceError, KubeconfigError, OSError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
