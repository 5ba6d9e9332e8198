"""Start, restart and stop systemd units on a host. What the units are is Ansible's."""

from collections.abc import Sequence

from provisioner.errors import ProvisionError
from provisioner.transports.base import Transport

_LAST_LINES = "12"


async def start_units(transport: Transport, units: Sequence[str]) -> None:
    """Returns when all say that they are ready. Raises ProvisionError with the units' last log lines."""
    await _systemctl(transport, "start", units)


async def restart_units(transport: Transport, units: Sequence[str]) -> None:
    await _systemctl(transport, "restart", units)


async def stop_units(transport: Transport, units: Sequence[str]) -> None:
    """Units that do not exist are stopped already."""
    await transport.run(["systemctl", "stop", *_services(units)])
    await transport.run(["systemctl", "reset-failed", *_services(units)])


async def end_unit(transport: Transport, unit: str) -> None:
    """Stop one that bears being killed, without its last wishes: etcd waits a minute and a half for silent peers."""
    await transport.run(["systemctl", "stop", "--no-block", f"{unit}.service"])
    await transport.run(["systemctl", "kill", "--signal=KILL", f"{unit}.service"])
    await stop_units(transport, (unit,))


async def _systemctl(transport: Transport, verb: str, units: Sequence[str]) -> None:
    result = await transport.run(["systemctl", verb, *_services(units)])
    if result.exit_code == 0:
        return
    failed = await transport.run(
        ["systemctl", "list-units", "--plain", "--no-legend", "--state=failed,activating,auto-restart"]
    )
    broken = [line.split()[0] for line in failed.stdout.splitlines() if line.split()[:1]]
    named = [unit for unit in _services(units) if unit in broken] or list(_services(units))
    log = await transport.run(
        ["journalctl", "--no-pager", "-o", "cat", "-n", _LAST_LINES, *(f"--unit={u}" for u in named)]
    )
    raise ProvisionError(
        f"cannot {verb} {', '.join(named)}",
        why=_last_words(log.stdout) or result.stderr.strip(),
        next_step=f"Read `journalctl -u {named[0]}` on the host, correct the cause, then run again.",
        host=transport.host,
    )


def _last_words(log: str) -> str:
    """What the services said themselves; systemd's own lines tell nothing new."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and ".service" not in line]
    return " / ".join(lines[-3:])


def _services(units: Sequence[str]) -> list[str]:
    return [f"{unit}.service" for unit in units]
