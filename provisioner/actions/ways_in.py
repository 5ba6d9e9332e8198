"""The operator's ways into a cluster: `kubeconfig` for people, `admin.conf` for us, and the user's own file."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from provisioner import kubeconfig
from provisioner.operations.api_probe import operator_tls, readiness
from provisioner.phases.run import Run
from provisioner.state import write_atomically

VIRTUAL_ADDRESS_PATIENCE = 20.0  # seconds until a master holds the API's virtual address; two are usual


async def write_kubeconfig(run: Run) -> None:
    """
    With the virtual address once a master holds it; until then, and for ever where nobody does, that of a master that
    answers.
    """
    spec = run.spec
    server = spec.api_endpoint
    if not spec.control_plane.virtual_address:
        server = await first_that_answers(spec.api_servers, run.home.pki)
    elif why := await _wait_answer(run, server):
        server = await first_that_answers(spec.api_servers, run.home.pki)
        run.progress.line(
            f"the virtual address {spec.control_plane.virtual_address} does not answer: {why}; using {server}"
        )
    write_for(run, server)


async def ensure_answering(run: Run) -> None:
    """Where there is no virtual address: that the kubeconfig names a master that answers, if one does."""
    spec = run.spec
    if spec.control_plane.virtual_address or len(spec.api_servers) == 1:
        return
    named = named_server(run)
    server = await first_that_answers(
        [*([named] if named in spec.api_servers else []), *spec.api_servers], run.home.pki
    )
    if server != named:
        write_for(run, server)
        kubeconfig.refresh_in_file(kubeconfig.user_file(), kubeconfig.read(run.home.kubeconfig))


def named_server(run: Run) -> str:
    """URL in the kubeconfig; empty when there is none."""
    clusters = kubeconfig.read(run.home.kubeconfig).get("clusters")
    return str(clusters[0]["cluster"]["server"]) if clusters else ""


async def first_that_answers(servers: Sequence[str], pki: Path) -> str:
    """The first one's URL when none does: whoever uses it then hears from it what is wrong."""
    tls = operator_tls(pki)
    for server in servers[1:] and servers:
        if not await readiness(server, tls):
            return server
    return servers[0]


async def _wait_answer(run: Run, url: str) -> str:
    tls = operator_tls(run.home.pki)
    why = "no answer"
    try:
        async with asyncio.timeout(VIRTUAL_ADDRESS_PATIENCE):
            while True:
                why = await readiness(url, tls)
                if not why:
                    return ""
                await asyncio.sleep(0.2)
    except TimeoutError:
        return why


def refresh_kubeconfig(run: Run) -> None:
    """The CAs and the operator's certificate as they are now, for the same servers; also in the user's own file."""
    write_for(run, named_server(run) or run.spec.api_endpoint)
    kubeconfig.refresh_in_file(kubeconfig.user_file(), kubeconfig.read(run.home.kubeconfig))


def write_for(run: Run, server: str) -> None:
    """`kubeconfig` for the user, `admin.conf` for us: a master's own address works before the virtual one does."""
    servers, name = run.spec.api_servers, kubeconfig.context_name(run.spec.name, run.spec.kind)
    for path, first in ((run.home.kubeconfig, server), (run.home.path / "admin.conf", servers[0])):
        content = kubeconfig.to_bytes(kubeconfig.render(name, first, servers, run.home.pki))
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content, mode=0o600)
