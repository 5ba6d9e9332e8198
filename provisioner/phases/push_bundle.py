"""
Bring the release to hosts that do not have it: one stream, unpacked as it arrives, checked, then renamed.

A host keeps /opt/hanse/releases/DIGEST; which one is current is Ansible's link. A push that is cut off leaves a
`.partial` that the next one replaces.
"""

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from cluster import settings
from inventory.model import HostSpec
from provisioner.bundle.build import Bundle
from provisioner.errors import HostUnfitError, ProvisionError
from provisioner.machines.programs import run_program
from provisioner.phase_runner import for_each
from provisioner.phases.run import Run
from provisioner.transports.base import Transport

PIECE = 1 << 20

_RECEIVE = r"""
set -eu
mkdir -p "$1"; cd "$1"
rm -rf "$2.partial"; mkdir "$2.partial"
{ tee /dev/fd/3 | sha256sum > "$2.partial/.sha256"; } 3>&1 | zstd -dcq | tar -xf - -C "$2.partial"
read -r sum _ < "$2.partial/.sha256"; rm "$2.partial/.sha256"
if [ "$sum" != "$3" ]; then echo "sha256 is $sum, sent was $3" >&2; rm -rf "$2.partial"; exit 9; fi
[ -d "$2" ] && rm -rf "$2.partial" || mv "$2.partial" "$2"
"""


async def share_bundle(run: Run) -> None:
    """Unpack run.bundle where local machines see it; nothing for other hosts. May run while machines boot."""
    bundle, folder = run.bundle, run.provider.shared_releases
    assert bundle is not None  # noqa: S101 - the bundle is ensured before hosts are asked what they lack
    if folder is not None and not (folder / bundle.digest).exists():
        require_archive(bundle)
        await asyncio.to_thread(_unpack, bundle, folder)


def _unpack(bundle: Bundle, folder: Path) -> None:
    partial = folder / f"{bundle.digest}.partial"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    argv = ["tar", "--extract", "--zstd", f"--file={bundle.archive}", f"--directory={partial}"]
    # It ends with this process: one that outlived it would write into what the next run clears away.
    run_program(["setpriv", "--pdeathsig", "KILL", *argv])
    partial.rename(folder / bundle.digest)


async def push_bundle(run: Run, hosts: Sequence[HostSpec]) -> None:
    """Send run.bundle to the hosts that do not see it already, all at once."""
    bundle = run.bundle
    assert bundle is not None  # noqa: S101 - the bundle is ensured before hosts are asked what they lack
    await share_bundle(run)

    async def one(host: HostSpec) -> None:
        seen = await run.transport(host).run(["test", "-d", f"{settings.RELEASES}/{bundle.digest}"])
        if seen.exit_code == 0:
            return
        require_archive(bundle)
        await send_bundle(run.transport(host), bundle)
        run.progress.line(f"has release {bundle.digest} ({bundle.size / 1e6:.0f} MB)", host.name)

    await for_each(hosts, one)


def require_archive(bundle: Bundle) -> None:
    """Raises ProvisionError when hosts that lack the release could not get it from here."""
    if not bundle.archive.exists():
        raise ProvisionError(
            f"release {bundle.digest} is not at hand", why=f"there is no {bundle.archive}, and a host lacks it",
            next_step="Put it back with `provision bundle import FILE`, then `provision upgrade NAME --to` it; without "
            "--to the cluster gets the release that is installed here.",
        )  # fmt: skip


async def send_bundle(transport: Transport, bundle: Bundle) -> None:
    """Raises ProvisionError when it did not arrive whole."""
    argv = ["sh", "-c", _RECEIVE, "sh", str(settings.RELEASES), bundle.digest, bundle.archive_sha256]
    result = await transport.stream_in(argv, _pieces(bundle.archive))
    if result.exit_code != 0:
        # A full disk is the host's; a stream that arrived broken is nobody's yet.
        kind = HostUnfitError if "No space left" in result.stderr else ProvisionError
        raise kind(
            "the bundle could not be unpacked", why=result.stderr.strip()[-300:] or f"exit code {result.exit_code}",
            next_step=f"Check the free space below {settings.INSTALL_ROOT}, then run again.", host=transport.host,
        )  # fmt: skip


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
