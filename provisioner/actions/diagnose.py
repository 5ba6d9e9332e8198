"""
`provision diagnose`: one file for whoever has to find out what is wrong. Nothing is changed, no secret is in it, and a
host or API that does not answer keeps nothing else from being collected.
"""

import asyncio
import datetime as dt
import inspect
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError
from inventory.model import HostSpec
from provisioner.actions.telling import admin_client
from provisioner.diagnosis import collect_host
from provisioner.diagnosis.redact import redacted
from provisioner.errors import ProvisionError
from provisioner.execution.ledger import HOST_LEDGER
from provisioner.facts.host_facts import read_facts, units_of
from provisioner.phases.connect import connect_hosts
from provisioner.phases.run import Run

HOST_PATIENCE = 60.0  # seconds
API_PATIENCE = 15.0
LOG_LINES = 2000
_KINDS: tuple[Resource, ...] = (
    resources.NODES,
    resources.PODS,
    resources.EVENTS,
    resources.SERVICES,
    resources.LEASES,
    resources.NAMESPACES,
)
_COMMANDS: Mapping[str, Sequence[str]] = {
    "systemctl.txt": ["systemctl", "--no-pager", "--failed", "list-units"],
    "processes.txt": ["ps", "-eo", "pid,ppid,etimes,rss,pcpu,args", "--sort=-rss"],
    "disks.txt": ["df", "-h"],
    "inodes.txt": ["df", "-i"],
    "memory.txt": ["free", "-m"],
    "links.txt": ["ip", "-s", "address"],
    "routes.txt": ["ip", "route", "show", "table", "all"],
    "sockets.txt": ["ss", "-tulpn"],
    "firewall.txt": ["/opt/hanse/current/bin/nft", "list", "ruleset"],
    "kernel.txt": ["dmesg", "--ctime"],
    "releases.txt": ["ls", "-l", "/opt/hanse", "/opt/hanse/releases"],
    "ledger.txt": ["tail", "-n", "500", HOST_LEDGER],
}


async def diagnose(run: Run, target: Path) -> list[str]:
    """Write a tar.gz that only its owner can read. Returns a sentence for each thing that could not be collected."""
    secrets = await asyncio.to_thread(_own_secrets, run.home.pki)
    texts: dict[str, str] = {}
    missing: list[str] = []
    with run.progress.phase("Ask hosts and the API"):
        hosts, api = await asyncio.gather(asyncio.gather(*(_host(run, host) for host in run.spec.hosts)), _api(run))
    for host, (found, why) in zip(run.spec.hosts, hosts, strict=True):
        texts |= {f"hosts/{host.name}/{name}": text for name, text in found.items()}
        missing += [f"{host.name}: {why}"] if why else []
    texts |= {f"api/{name}": text for name, text in api[0].items()}
    missing += [f"API: {why}" for why in api[1]]
    if run.home.ledger.exists():
        texts["ledger.txt"] = run.home.ledger.read_text()
    texts["missing.txt"] = "\n".join(missing) + "\n"
    await asyncio.to_thread(_write, target, {name: redacted(text, secrets) for name, text in texts.items()})
    return missing


async def _host(run: Run, host: HostSpec) -> tuple[dict[str, str], str]:
    """What it says, and why it says nothing."""
    try:
        async with asyncio.timeout(HOST_PATIENCE):
            await connect_hosts(run, [host], booting=False)
            facts = await read_facts(run.transport(host), host)
            journals = {
                f"{unit}.log": ["journalctl", "--no-pager", "-n", str(LOG_LINES), "-u", f"{unit}.service"]
                for unit in units_of(host)
            }
            question = json.dumps({"commands": {**_COMMANDS, **journals}})
            source = inspect.getsource(collect_host).encode()
            result = await run.transport(host).run(["python3", "-I", "-", question], stdin=source)
    except ProvisionError as error:
        return {}, f"{error.what}: {error.why}"
    except TimeoutError:
        return {}, f"no answer within {HOST_PATIENCE:g} s"
    if result.exit_code != 0:
        return {}, result.stderr.strip()[-300:]
    found: dict[str, str] = json.loads(result.stdout)
    return {**found, "facts.txt": repr(facts).replace(", ", ",\n ")}, ""


async def _api(run: Run) -> tuple[dict[str, str], list[str]]:
    found: dict[str, str] = {}
    missing: list[str] = []
    if not (run.home.path / "admin.conf").exists():
        return found, ["there is no kubeconfig yet"]
    async with admin_client(run) as client:
        for kind in _KINDS:
            try:
                async with asyncio.timeout(API_PATIENCE):
                    found[f"{kind.plural}.json"] = await _listed(client, kind)
            except ApiError as error:
                missing.append(f"{kind.plural}: {error}")
            except TimeoutError:
                missing.append(f"{kind.plural}: no answer within {API_PATIENCE:g} s")
    return found, missing


async def _listed(client: ApiClient, kind: Resource) -> str:
    items = (await client.list(kind))["items"]
    for item in items:
        item["metadata"].pop("managedFields", None)
        for container in (item.get("spec") or {}).get("containers") or ():
            container.pop("env", None)  # where people put passwords
    return json.dumps(items, indent=1)


def _own_secrets(pki: Path) -> list[str]:
    """Lines of every private key here, as they might have got into a log."""
    lines = []
    for path in (*pki.rglob("*.key"), *pki.rglob("encryption*.yaml")):
        for line in path.read_bytes().decode("ascii", "ignore").splitlines():
            word = line.split(":")[-1].strip()
            if len(word) >= 20 and not word.startswith("-----"):
                lines.append(word)
    return lines


def _write(target: Path, texts: Mapping[str, str]) -> None:
    """Whole or not at all."""
    stamp = dt.datetime.now(dt.UTC).timestamp()
    partial = target.with_name(f".{target.name}.part")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in sorted(texts.items()):
            content = text.encode(errors="replace")
            entry = tarfile.TarInfo(f"diagnosis/{name}")
            entry.size, entry.mtime, entry.mode = len(content), stamp, 0o600
            tar.addfile(entry, io.BytesIO(content))
    partial.rename(target)
