"""
Bring every file on the hosts to its desired state: Ansible, on the hosts that need it.

Which hosts do is known without asking Ansible: what files are made from is hashed here, what they look like is hashed
by the hosts, and both hashes are remembered after each run.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inventory.ansible_export import ExportContext, ansible_inventory
from inventory.model import HostSpec
from provisioner.ansible_runs import PLAYBOOKS, HostResult, run_playbook_until_cancelled
from provisioner.facts.ask_host import inputs_in
from provisioner.phases.gather_facts import gather_facts
from provisioner.phases.issue_certificates import host_files
from provisioner.phases.revoke_certificates import ensure_revocations
from provisioner.phases.run import Run
from provisioner.plan import FileChanges
from provisioner.state import ClusterHome, write_atomically

PLAYBOOK = "site.yml"


def export_inventory(run: Run, hosts: Sequence[HostSpec], release: str) -> dict[str, Any]:
    """The Ansible inventory of these hosts; the cluster's variables name all."""
    interfaces = {
        host.name: run.facts_of(host).addresses[host.address]
        for host in hosts
        if host.address in run.facts_of(host).addresses
    }
    context = ExportContext(
        release=release,
        known_hosts=str(run.home.known_hosts),
        pki={host.name: host_files(host, run.home.pki) for host in hosts},
        interfaces=interfaces,
    )
    inventory = ansible_inventory(run.spec, context)
    names = {host.name for host in hosts}
    everyone = inventory["all"]
    everyone["hosts"] = {name: known for name, known in everyone["hosts"].items() if name in names}
    for group in everyone["children"].values():
        group["hosts"] = {name: known for name, known in group["hosts"].items() if name in names}
    return inventory


def wanted_inputs(run: Run, release: str) -> dict[str, str]:
    """Host name -> hash of everything its files are made from: variables, certificates, roles."""
    roles = _roles_digest()
    found = {}
    inventory = export_inventory(run, run.spec.hosts, release)["all"]
    shared = json.dumps(inventory["vars"], sort_keys=True)
    for host in run.spec.hosts:
        digest = hashlib.sha256(f"{roles}\n{shared}\n".encode())
        digest.update(json.dumps(inventory["hosts"][host.name]["hanse_host"], sort_keys=True).encode())
        for path, source in sorted(host_files(host, run.home.pki).items()):
            digest.update(path.encode())
            if Path(source).exists():
                digest.update(Path(source).read_bytes())
        found[host.name] = digest.hexdigest()
    return found


async def lay_down(run: Run, hosts: Sequence[HostSpec], *, check: bool = False) -> Mapping[str, HostResult]:
    """Run the playbook, then remember what was laid down. In check mode nothing changes anywhere."""
    assert run.bundle is not None  # noqa: S101 - phases come in order
    if not check:
        ensure_revocations(run.home.pki, dt.datetime.now(dt.UTC))  # clusters of earlier releases have no list
    inventory = export_inventory(run, hosts, run.bundle.digest)
    fresh = {host.name for host in hosts if not run.facts_of(host).laid_down}

    def tell(host: str, text: str) -> None:
        if host in fresh and not check:  # of a host that had files, each that changed is told below
            run.progress.line(text, host)

    results = await run_playbook_until_cancelled(PLAYBOOK, inventory, check=check, on_line=tell)
    if not check:
        for name, result in results.items():
            for path in dict.fromkeys(result.changed) if name not in fresh else ():
                run.progress.line(f"change {path}", name)
        await gather_facts(run, hosts)
        inputs = wanted_inputs(run, run.bundle.digest)
        recorded = read_recorded(run.home)
        recorded |= {host.name: (inputs[host.name], run.facts_of(host).laid_down) for host in hosts}
        write_atomically(_record(run.home), json.dumps(recorded, indent=1).encode(), mode=0o600)
    return results


async def expect_file_changes(run: Run, hosts: Sequence[HostSpec]) -> dict[str, FileChanges]:
    """Host name -> what `lay_down` would change there. Changes nothing."""
    return {
        name: FileChanges(tuple(dict.fromkeys(result.changed)), dict(_new_inputs(result)))
        for name, result in (await lay_down(run, hosts, check=True)).items()
    }


def _new_inputs(result: HostResult) -> Iterator[tuple[str, str]]:
    """(unit, hash of its inputs) for each unit's file that changes."""
    for diff in result.diff:
        folder, _, name = diff.get("before_header", "").rpartition("/")
        if folder == "/etc/systemd/system" and (inputs := inputs_in(diff.get("after", "").splitlines())):
            yield name.removesuffix(".service"), inputs


def read_recorded(home: ClusterHome) -> dict[str, tuple[str, str]]:
    """Host name -> (hash of inputs, hash of files). Without it files are laid down anew, which changes nothing."""
    path = _record(home)
    if not path.exists():
        return {}
    try:
        return {name: (pair[0], pair[1]) for name, pair in json.loads(path.read_text()).items()}
    except (ValueError, IndexError, AttributeError):
        return {}


def forget_laid_down(home: ClusterHome, host: str) -> None:
    """What was laid down on a host that left."""
    recorded = read_recorded(home)
    if recorded.pop(host, None) is not None:
        write_atomically(_record(home), json.dumps(recorded, indent=1).encode(), mode=0o600)


def _record(home: ClusterHome) -> Path:
    return home.path / "laid_down.json"


def _roles_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in PLAYBOOKS.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        digest.update(str(path.relative_to(PLAYBOOKS)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
