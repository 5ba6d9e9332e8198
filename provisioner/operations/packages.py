"""
Packages of a host's operating system: what apt would bring, bringing exactly that, and whether a reboot is due.

`upgradable` is pure; its input is what `apt-get --simulate` prints, in the C locale.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from provisioner.errors import ProvisionError
from provisioner.transports.base import CommandResult, Transport

# Inst libc6 [2.36-9] (2.36-9+deb12u10 Debian:12.10/stable [amd64]); a new package has no version in brackets.
_LINE = re.compile(r"^Inst (?P<name>\S+) (?:\[(?P<before>[^\]\s]+)\] )?\((?P<after>\S+) ")
_APT = (
    "env", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y",
    "-o", "DPkg::Lock::Timeout=60",
    "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
)  # fmt: skip
"""Files of the configuration that the operator has changed stay as they are."""
_REBOOT_DUE = r"""
if [ -e /run/reboot-required ]; then echo asked for; exit; fi
boot=$(systemctl show --timestamp=unix --property=UserspaceTimestamp --value)
cd /var/lib/dpkg/info || exit 1
find . -maxdepth 1 \( -name 'libc6*.list' -o -name systemd.list -o -name dbus.list -o -name 'linux-image-*.list' \) \
    -newermt "$boot" | sed -n '1s,^\./\(.*\)\.list$,\1,p'
"""
"""Prints why; nothing when none is due. Not every Debian has what writes /run/reboot-required."""


@dataclass(frozen=True, slots=True)
class Package:
    """One that apt would bring. `before` is empty for one that is new."""

    name: str
    before: str
    after: str


def upgradable(simulated: str) -> tuple[Package, ...]:
    """What a simulation names, by name. Packages that are held do not occur in it."""
    found = (_LINE.match(line) for line in simulated.splitlines())
    return tuple(sorted((Package(m["name"], m["before"] or "", m["after"]) for m in found if m), key=lambda p: p.name))


async def ask_upgradable(transport: Transport) -> tuple[Package, ...]:
    """Reads the archives' lists anew first. Raises ProvisionError when they cannot be had."""
    await _apt(transport, "read the archives' lists", "--error-on=any", "update")
    simulated = await _apt(transport, "see what is newer", "--simulate", "--with-new-pkgs", "upgrade")
    return upgradable(simulated.stdout)


async def bring(transport: Transport, packages: Sequence[Package]) -> None:
    """Install these versions and no others. What a run that was cut off left half is finished first."""
    done = await transport.run(["env", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--configure", "-a"])
    if done.exit_code:
        raise _failure(transport, "finish what dpkg began", done)
    wanted = [f"{package.name}={package.after}" for package in packages]
    await _apt(transport, "install packages", "install", *wanted)
    if new := [package.name for package in packages if not package.before]:  # nobody asked for them by name
        done = await transport.run(["apt-mark", "auto", *new])
        if done.exit_code:
            raise _failure(transport, "note which packages came along", done)


async def has(transport: Transport, packages: Sequence[Package]) -> bool:
    """Whether all of them are installed in these versions."""
    asked = ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Abbrev}\n"]
    told = await transport.run([*asked, *(package.name for package in packages)])
    there = {tuple(line.split()[:3]) for line in told.stdout.splitlines()}
    return all((package.name.partition(":")[0], package.after, "ii") in there for package in packages)


async def reboot_due(transport: Transport) -> str:
    """Why; empty when it is not."""
    done = await transport.run(["sh", "-c", _REBOOT_DUE])
    if done.exit_code:
        raise _failure(transport, "see whether a reboot is due", done)
    return done.stdout.strip()


async def _apt(transport: Transport, what: str, *arguments: str) -> CommandResult:
    done = await transport.run([*_APT, *arguments])
    if done.exit_code:
        raise _failure(transport, what, done)
    return done


def _failure(transport: Transport, what: str, done: CommandResult) -> ProvisionError:
    said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg:"))] or done.stderr.splitlines()
    return ProvisionError(
        f"cannot {what}", why=" / ".join(said[-3:]) or f"exit code {done.exit_code}",
        next_step="Correct the host's /etc/apt or its packages (`apt-get check`), then run again.", host=transport.host,
    )  # fmt: skip
