"""
The agent of a pull-mode member: `python -m federation.agent --cluster=NAME --federation-server=URL --token-file=F
--discovery-token-ca-cert-hash=sha256:… [--kubeconfig=F]`; without a kubeconfig it runs in a Pod of the cluster.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster.client.component import add_bool, parse_flags, start_logging
from cluster.client.kubeconfig import ClientConfig, KubeconfigError, in_cluster_config, load_kubeconfig
from cluster.machinery.systemd import notify_ready, notify_stopping
from cluster.pki.authority import PkiError
from cluster.pki.pinning import check_pin

log = logging.getLogger(__name__)


def _pin(text: str) -> str:
    try:
        return check_pin(text)
    except PkiError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from fault


def _server(text: str) -> str:
    if not text.startswith("https://"):
        raise argparse.ArgumentTypeError(f"{text!r} is no https URL; write it like https://fed.example.com:7443")
    return text.rstrip("/")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="federation-agent", description="Connects a cluster to a federation that does not reach it.",
        allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--cluster", required=True, help="what the federation calls this cluster")
    add("--federation-server", required=True, type=_server, help="https URL of the federation")
    add("--token-file", type=Path, help="file with the bootstrap token; needed until there is a certificate")
    add("--discovery-token-ca-cert-hash", action="append", type=_pin, default=[], help="pin of the federation's CA")
    add("--kubeconfig", help="login at this cluster; the Pod's own by default")
    add("--member-server", default="", help="where others reach this cluster's API; the kubeconfig's by default")
    add_bool(
        parser, "--tunnel", True, "the federation may ask this cluster's API over a connection that the agent holds"
    )
    add("--v", "-v", type=int, default=0, help="4 and more logs debug messages")
    return parse_flags(parser, argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(sys.argv[1:] if argv is None else argv)
    start_logging(options.v)
    try:
        member = load_kubeconfig(options.kubeconfig) if options.kubeconfig else in_cluster_config(os.environ)
    except KubeconfigError as fault:
        log.error("%s", fault)
        return 1
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_until_told_to_stop(options, member))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The quick one where it is there; the agent's image is a third smaller without."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


def _authority(member: ClientConfig) -> bytes:
    if member.ca_file is None or member.ca_data:
        return member.ca_data
    try:
        return member.ca_file.read_bytes()
    except OSError as fault:
        log.warning("others will not know this cluster's API: %s", fault)
        return b""


async def _until_told_to_stop(options: argparse.Namespace, member: ClientConfig) -> None:
    from federation.agent.agent import run
    from federation.agent.login import Invited

    # Inside a Pod the address is the cluster's own Service, which means nothing elsewhere.
    shown = options.member_server or (member.servers[0] if options.kubeconfig else "")
    pins = tuple(options.discovery_token_ca_cert_hash)
    authority = await asyncio.to_thread(_authority, member)
    invited = Invited(
        options.cluster, options.federation_server, options.token_file, pins, shown, authority, options.tunnel
    )
    work = asyncio.create_task(run(invited, member), name="agent")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    notify_ready()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    notify_stopping()


if __name__ == "__main__":
    sys.exit(main())
