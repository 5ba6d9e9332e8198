"""
What the scheduler and the controller manager have in common around their work: flags, login, leader election,
health port, signals.

Called by the __main__ of both: `add_component_flags(parser, ...)`, then `run_component(options, name, lead)`.
Flag names are upstream's.
"""

import argparse
import asyncio
import contextlib
import logging
import re
import signal
import socket
import sys
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from cluster.client.delegated_auth import DelegatedAuth
from cluster.client.health_server import HealthServer, server_context, serving
from cluster.client.kubeconfig import KubeconfigError
from cluster.client.leader_election import ElectionSettings, LeaderElector, LeadershipLost
from cluster.client.metrics import Gauge
from cluster.client.rest import ApiClient
from cluster.machinery.systemd import notify_ready, notify_stopping

log = logging.getLogger(__name__)

LEADING = Gauge("leader_election_master_status", "1 while this instance leads.", ("name",))
_DURATION = re.compile(r"([0-9.]+)(h|ms|m|s)")
_UNIT = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def go_duration(text: str) -> float:
    """Seconds of `1m30s`. Raises ArgumentTypeError with an example."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write it like 15s or 1m30s")
    return sum(float(number) * _UNIT[unit] for number, unit in parts)


def go_bool(text: str) -> bool:
    if text.lower() in ("true", "t", "1"):
        return True
    if text.lower() in ("false", "f", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def add_bool(parser: argparse._ActionsContainer, name: str, default: bool, text: str) -> None:
    """A flag that reads `--x`, `--x=true` and `--x=false`, as Go's do."""
    parser.add_argument(name, type=go_bool, nargs="?", const=True, default=default, help=text)


def add_component_flags(parser: argparse.ArgumentParser, *, lease: str, port: int) -> None:
    parser.add_argument("--kubeconfig", required=True, help="file that says where the apiservers are and who we are")
    parser.add_argument("--bind-address", default="0.0.0.0", help="address of the HTTPS port")  # noqa: S104
    parser.add_argument("--secure-port", type=int, default=port, help="HTTPS port for health and metrics; 0 for none")
    parser.add_argument("--tls-cert-file", type=Path, help="without one: HTTP, on loopback only")
    parser.add_argument("--tls-private-key-file", type=Path)
    parser.add_argument("--client-ca-file", type=Path, help="CA of client certificates on the HTTPS port")
    parser.add_argument("--authentication-kubeconfig", help="login for TokenReviews; the main one by default")
    parser.add_argument("--authorization-kubeconfig", help="login for SubjectAccessReviews; the main one by default")
    parser.add_argument("--v", "-v", type=int, default=0, help="4 and more logs debug messages")
    elect = parser.add_argument_group("leader election")
    add_bool(elect, "--leader-elect", True, "work only while holding the Lease")
    elect.add_argument("--leader-elect-lease-duration", type=go_duration, default=15.0)
    elect.add_argument("--leader-elect-renew-deadline", type=go_duration, default=10.0)
    elect.add_argument("--leader-elect-retry-period", type=go_duration, default=2.0)
    elect.add_argument("--leader-elect-resource-lock", choices=["leases"], default="leases")
    elect.add_argument("--leader-elect-resource-name", default=lease)
    elect.add_argument("--leader-elect-resource-namespace", default="kube-system")


def parse_flags(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """
    Parse; flags of upstream that mean nothing here are accepted with a warning, so that its units start ours.

    Exits with 2 for a wrong value and for a word that is no flag.
    """
    options, unknown = parser.parse_known_args(argv)
    words = [word for word in unknown if not word.startswith("--")]
    if words:
        parser.error(f"unrecognized arguments: {' '.join(words)}; write flags as --name=value")
    if unknown:
        names = ", ".join(word.partition("=")[0] for word in unknown)
        sys.stderr.write(f"{parser.prog}: ignored, they change nothing here: {names}\n")
    return options


def start_logging(verbosity: int) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbosity >= 4 else logging.INFO,
        format="%(asctime)s %(levelname).1s %(name)s %(message)s",
    )
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def run_component(
    options: argparse.Namespace,
    name: str,
    lead: Callable[[ApiClient], Awaitable[None]],
    *,
    elected: Callable[[int], None] = lambda transitions: None,
) -> int:
    """
    Run until SIGTERM or SIGINT (0) or until it cannot go on: leadership lost, no kubeconfig (1). Blocks.

    Args:
        elected: called before `lead`, where there is an election, with a number that grows with every leader.
    """
    start_logging(options.v)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_until_told_to_stop(options, name, lead, elected))
        except (LeadershipLost, KubeconfigError) as error:
            log.error("%s", error)
            return 1


async def _until_told_to_stop(
    options: argparse.Namespace,
    name: str,
    lead: Callable[[ApiClient], Awaitable[None]],
    elected: Callable[[int], None],
) -> int:
    work = asyncio.create_task(_run(options, name, lead, elected), name=name)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work
    notify_stopping()
    return 0


async def _run(
    options: argparse.Namespace,
    name: str,
    lead: Callable[[ApiClient], Awaitable[None]],
    elected: Callable[[int], None],
) -> None:
    settings = ElectionSettings(
        options.leader_elect_lease_duration, options.leader_elect_renew_deadline, options.leader_elect_retry_period
    )
    async with (
        ApiClient.from_kubeconfig(options.kubeconfig, user_agent=f"kube-{name}") as client,
        # Renewals must not wait behind a controller's burst of writes: they have connections of their own.
        ApiClient.from_kubeconfig(options.kubeconfig, user_agent=f"kube-{name}/leader-election", connections=2) as own,
        _serving(options, client),
    ):
        notify_ready()
        if not options.leader_elect:
            await lead(client)
            return
        elector = LeaderElector(
            own,
            namespace=options.leader_elect_resource_namespace,
            name=options.leader_elect_resource_name,
            identity=f"{socket.gethostname()}_{uuid.uuid4()}",
            settings=settings,
        )
        LEADING.set_function(lambda: float(elector.is_leader), options.leader_elect_resource_name)

        async def lead_as_elected() -> None:
            elected(elector.transitions)
            await lead(client)

        await elector.run(lead_as_elected)


def _serving(options: argparse.Namespace, client: ApiClient) -> contextlib.AbstractAsyncContextManager[int | None]:
    if not options.secure_port:
        return contextlib.nullcontext(None)
    server = HealthServer({"ping": lambda: True}, allow=DelegatedAuth(client).allow)
    if options.tls_cert_file is None:
        return serving(server, host="127.0.0.1", port=options.secure_port, context=None)
    context = server_context(options.tls_cert_file, options.tls_private_key_file, options.client_ca_file)
    return serving(server, host=options.bind_address, port=options.secure_port, context=context)
