"""Programs that local machines need of the operator's, and how to get those that are missing."""

import os
import shutil
import subprocess
from collections.abc import Sequence

from provisioner.errors import HostUnfitError, ProvisionError

PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "mount": "mount",
    "zstd": "zstd",
}
"""Program -> Debian package."""


def require_programs() -> None:
    """Raises HostUnfitError that names everything missing at once."""
    if os.geteuid() != 0:
        raise HostUnfitError(
            "local machines cannot be made",
            why=f"user {os.geteuid()} is not root, and mounts, bridges and namespaces need root",
            next_step="Run the same command with sudo, or use --provider static with hosts that answer SSH.",
        )
    missing = [program for program in PACKAGES if shutil.which(program) is None]
    if missing:
        packages = " ".join(sorted({PACKAGES[program] for program in missing}))
        raise HostUnfitError(
            "local machines cannot be made",
            why=f"{', '.join(missing)} not found on this machine",
            next_step=f"Run `apt-get install {packages}`, then run again.",
        )


def run_program(argv: Sequence[str], *, stdin: str = "", may_fail: bool = False) -> subprocess.CompletedProcess[str]:
    """
    Run one program of this machine to its end.

    Args:
        argv: Program and arguments.
        stdin: Its input.
        may_fail: Return instead of raising when it ends with an error.

    Raises:
        ProvisionError: with the program's own last words.
    """
    done = subprocess.run(list(argv), input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0 and not may_fail:
        said = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise ProvisionError(
            f"`{' '.join(argv)}` failed on this machine",
            why=f"exit code {done.returncode}: {said or 'no output'}",
            next_step="Correct the cause, then run again.",
        )
    return done
