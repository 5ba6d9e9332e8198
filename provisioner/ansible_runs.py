"""
The one place that starts Ansible: a playbook in, what it changed on each host out.

The run's folder lies in memory where there is a tmpfs, is readable by us alone and is removed afterwards, because
ansible-runner writes down what it is given. Secrets are not given to it at all: playbooks read them from files.

Called by   provisioner.phases, from a thread (ansible-runner blocks).
Not here    which playbook and when (phases); what a playbook does (playbooks/).
"""

import asyncio
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner

import playbooks
from provisioner.errors import HostUnfitError, HostUnreachableError, ProvisionError

PLAYBOOKS = Path(playbooks.__path__[0])

_PREFIX = "hanse-ansible-"


@dataclass(frozen=True, slots=True)
class HostResult:
    """What a playbook did on one host; in check mode, what it would do."""

    changed: tuple[str, ...] = ()
    """Paths made, changed or removed; of secrets only the task's name."""
    failed: str = ""
    """Ansible's words for the first failure; empty when there is none."""
    unreachable: bool = False
    diff: tuple[Mapping[str, str], ...] = ()
    """before, after, before_header, after_header for each changed file that is no secret."""


@dataclass(slots=True)
class _Collected:
    changed: list[str] = field(default_factory=list)
    changed_tasks: int = 0
    failed: str = ""
    unreachable: bool = False
    diff: list[Mapping[str, str]] = field(default_factory=list)


def run_playbook(
    playbook: str,
    inventory: Mapping[str, Any],
    *,
    check: bool = False,
    on_line: Callable[[str, str], None] = lambda host, line: None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, HostResult]:
    """
    Run a playbook of `playbooks/` on an inventory in Ansible's JSON form.

    Args:
        playbook: file name, e.g. `site.yml`.
        inventory: Ansible's JSON inventory; hosts carry their connection and `hanse_*` variables.
        check: change nothing, report what would change.
        on_line: called with (host, sentence) as tasks end.
        stopped: asked often; true ends the playbook where it is.

    Returns: host name -> result, for every host of the inventory.
    Raises: HostUnfitError or HostUnreachableError naming every host that failed; ProvisionError when Ansible itself
        could not run.
    """
    collected: dict[str, _Collected] = {name: _Collected() for name in _host_names(inventory)}

    def on_event(event: dict[str, Any]) -> bool:
        _collect(event, collected, on_line)
        return False  # keep nothing on disk

    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - memory, and mkdtemp makes it 0700
    _remove_remains(base or tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base)
    try:
        status, output = _run(folder, playbook, inventory, check, on_event, stopped)
    finally:
        _end_connections(folder)
        shutil.rmtree(folder)
    results = {
        host: HostResult(tuple(seen.changed), seen.failed, seen.unreachable, tuple(seen.diff))
        for host, seen in collected.items()
    }
    _raise_failures(playbook, results, status, output)
    return results


def _remove_remains(base: str) -> None:
    """What killed runs left."""
    for folder in Path(base).glob(f"{_PREFIX}*"):
        process = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if not Path("/proc", process).exists():
            _end_connections(str(folder))
            shutil.rmtree(folder, ignore_errors=True)  # another run may be at it


def _end_connections(folder: str) -> None:
    """Ansible's ssh stays connected for a minute; nobody comes back to these sockets."""
    for path in Path(folder, "cp").glob("*"):
        subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={path}", "host"], capture_output=True, check=False)


def _run(
    folder: str,
    playbook: str,
    inventory: Mapping[str, Any],
    check: bool,
    on_event: Callable[[dict[str, Any]], bool],
    stopped: Callable[[], bool],
) -> tuple[str, str]:
    hosts = Path(folder, "hosts.json")
    hosts.write_text(json.dumps(inventory))
    own_programs = str(Path(sys.executable).parent)
    run = ansible_runner.run(
        private_data_dir=folder,
        playbook=str(PLAYBOOKS / playbook),
        inventory=str(hosts),
        project_dir=str(PLAYBOOKS),
        cmdline="--check --diff" if check else "--diff",
        envvars={
            "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": f"{folder}/work",
            "ANSIBLE_HOME": f"{folder}/home",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{folder}/cp",
            "PATH": f"{own_programs}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        },
        suppress_env_files=True,
        quiet=True,
        event_handler=on_event,
        cancel_callback=stopped,
    )
    return str(run.status), run.stdout.read()[-2000:] if run.status != "successful" else ""


async def run_playbook_until_cancelled(
    playbook: str,
    inventory: Mapping[str, Any],
    *,
    check: bool = False,
    on_line: Callable[[str, str], None] = lambda host, line: None,
) -> dict[str, HostResult]:
    """`run_playbook` in a thread of its own; being cancelled ends Ansible at once."""
    stopped = threading.Event()
    call = functools.partial(run_playbook, playbook, inventory, check=check, on_line=on_line, stopped=stopped.is_set)
    try:
        return await asyncio.to_thread(call)
    finally:
        stopped.set()


def _host_names(inventory: Mapping[str, Any]) -> set[str]:
    """Every host that an inventory in Ansible's YAML/JSON shape names, in `hosts` at any depth."""
    names: set[str] = set()
    for group in inventory.values():
        if isinstance(group, Mapping):
            names |= set(group.get("hosts") or {})
            names |= _host_names(group.get("children") or {})
    return names


def _collect(
    event: Mapping[str, Any], collected: Mapping[str, _Collected], on_line: Callable[[str, str], None]
) -> None:
    kind = event.get("event", "")
    data = event.get("event_data") or {}
    if kind == "playbook_on_stats":
        _count_hidden_changes(data.get("changed") or {}, collected)
        return
    host = data.get("host", "")
    if host not in collected or kind not in ("runner_on_ok", "runner_on_failed", "runner_on_unreachable"):
        return
    seen, result, task = collected[host], data.get("res") or {}, str(data.get("task", ""))
    if kind == "runner_on_ok":
        if result.get("changed"):
            seen.changed_tasks += 1
            seen.changed.extend(result.get("paths") or [task])
            seen.diff.extend(d for d in result.get("diff") or [] if isinstance(d, Mapping))
            on_line(host, task)
        return
    seen.unreachable = kind == "runner_on_unreachable"
    seen.failed = seen.failed or f"{task}: {result.get('msg') or result.get('censored') or 'no message'}"


def _count_hidden_changes(counts: Mapping[str, int], collected: Mapping[str, _Collected]) -> None:
    """A task with no_log hides even whether it changed anything; only the play's totals tell."""
    for host, count in counts.items():
        hidden = count - collected[host].changed_tasks
        collected[host].changed.extend(["certificates and keys"] * hidden)


def _raise_failures(playbook: str, results: Mapping[str, HostResult], status: str, output: str) -> None:
    failed = {host: result for host, result in results.items() if result.failed}
    if failed:
        kind = HostUnreachableError if all(r.unreachable for r in failed.values()) else HostUnfitError
        raise kind(
            f"{playbook} failed on {len(failed)} of {len(results)} hosts",
            why="; ".join(f"{host}: {result.failed}" for host, result in sorted(failed.items())),
            next_step="Correct the cause, then run the same command again; finished hosts are not touched.",
        )
    if status != "successful":
        raise ProvisionError(
            f"Ansible could not run {playbook}",
            why=f"it ended as '{status}': {' / '.join(output.strip().splitlines()[-4:]) or 'no output'}",
            next_step="Run again; if it stays, run `ansible-playbook --version` to see whether Ansible is whole.",
        )
