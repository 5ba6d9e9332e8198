"""
Fetch Debian packages and unpack them into a folder, without installing anything on this machine.

apt runs with a state of its own, so that packages of another Debian release than this machine's can be had.
The mirror is the one this machine is configured for; the signatures are checked against Debian's keyring.
"""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from provisioner.errors import ProvisionError

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class PackageFetchError(ProvisionError):
    """A package could not be had. Remedy: make the mirror reachable, then run again."""


def unpack_packages(wanted: Mapping[str, Sequence[str]], work: Path, target: Path) -> dict[str, str]:
    """
    Fetch the packages of each Debian release and unpack all of them into `target`.

    Args:
        wanted: release name -> package names; dependencies are not followed.
        work: scratch folder for apt's state and the fetched files.
        target: where the files go; made if missing.

    Returns: package name -> version that was fetched.
    Raises: PackageFetchError, with apt's own last words.
    """
    target.mkdir(parents=True, exist_ok=True)
    versions: dict[str, str] = {}
    for release, names in wanted.items():
        fetched = work / release / "debs"
        fetched.mkdir(parents=True, exist_ok=True)
        options = _private_apt(work / release, release)
        _run(["apt-get", *options, "update", "-qq"], f"cannot read the package lists of Debian {release}")
        _run(
            ["apt-get", *options, "download", "-qq", *names],
            f"cannot fetch {len(names)} packages of Debian {release}",
            cwd=fetched,
        )
        for archive in sorted(fetched.glob("*.deb")):
            name, version = archive.name.split("_")[:2]
            versions[name] = version.replace("%3a", ":")
            _run(["dpkg-deb", "-x", str(archive), str(target)], f"cannot unpack {archive.name}")
        if missing := sorted(set(names) - versions.keys()):
            raise PackageFetchError(
                f"cannot fetch {', '.join(missing)}",
                why=f"Debian {release} at the configured mirror does not have it",
                next_step="Run `apt-cache policy` for it, or use another mirror.",
            )
    return versions


def _private_apt(work: Path, release: str) -> list[str]:
    sources = work / "sources.list"
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    (work / "status").touch()
    sources.write_text("".join(f"deb [signed-by={_KEYRING}] {line}\n" for line in _source_lines(release)))
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "-",
        "Dir::State": work / "state",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def _source_lines(release: str) -> list[str]:
    """`URI SUITE main` of the release and its security updates, at the mirrors this machine already uses."""
    listed = _run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"],
        "cannot ask apt for the configured mirrors",
    )
    archive = security = ""
    for row in listed.splitlines():
        uri, _, suite_and_component = row.partition(" ")
        suite, _, component = suite_and_component.partition(" ")
        if component != "main" or "debian" not in uri:
            continue
        if suite.endswith("-security"):
            security = security or uri
        elif "-" not in suite:
            archive = archive or uri
    if not archive:
        raise PackageFetchError(
            "no Debian mirror is configured on this machine",
            why="`apt-get indextargets` names no `main` archive",
            next_step="Add one to /etc/apt/sources.list.d, run `apt-get update`, then run the command again.",
        )
    lines = [f"{archive} {release} main"]
    if security:
        lines.append(f"{security} {release}-security main")
    return lines


def _run(argv: Sequence[str], what: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        raise PackageFetchError(
            what,
            why=f"{argv[0]} is not installed",
            next_step="Run this on Debian, or import a bundle that was built elsewhere.",
        ) from missing
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise PackageFetchError(
            what,
            why=f"{argv[0]} ended with {done.returncode}: {' / '.join(said)}",
            next_step="Check that the package mirror is reachable (`apt-get update`), then run again.",
        )
    return done.stdout
