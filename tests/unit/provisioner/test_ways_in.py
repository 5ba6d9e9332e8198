"""The operator's kubeconfig where there is no virtual address: it names a master that answers."""

import contextlib
import datetime as dt
import pathlib
import socket
import ssl
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from inventory.model import ClusterSpec, HostSpec, Role
from provisioner import kubeconfig
from provisioner.actions import ways_in
from provisioner.machines.existing import ExistingMachines
from provisioner.phases.issue_certificates import issue_certificates
from provisioner.phases.run import Run
from provisioner.progress import JsonProgress
from provisioner.state import ClusterHome
from provisioner.transports.ssh import SshAccess

ROLES = frozenset({Role.CONTROL_PLANE, Role.ETCD, Role.NODE})


def made_run(tmp_path: pathlib.Path, *addresses: str) -> Run:
    hosts = tuple(HostSpec(name=f"m{n}", address=address, roles=ROLES) for n, address in enumerate(addresses))
    home = ClusterHome(tmp_path, "c")
    spec = ClusterSpec(name="c", hosts=hosts)
    issue_certificates(spec, home.pki, dt.datetime.now(dt.UTC))
    access = SshAccess(known_hosts=home.known_hosts, accept_new_host_keys=False)
    return Run(spec=spec, home=home, provider=ExistingMachines(), access=access, progress=JsonProgress())


@contextlib.asynccontextmanager
async def master(run: Run, host: str, address: str) -> AsyncIterator[None]:
    """What answers /readyz on an apiserver's port, with the certificate that the host would have."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(run.home.pki / "ca.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    stem = run.home.pki / "hosts" / host / "apiserver"
    context.load_cert_chain(f"{stem}.crt", f"{stem}.key")

    async def ready(request: web.BaseRequest) -> web.Response:
        return web.Response(text="ok")

    runner = web.ServerRunner(web.Server(ready), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, 6443, ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()


def server_in(path: pathlib.Path) -> str:
    return str(kubeconfig.read(path)["clusters"][0]["cluster"]["server"])


async def test_the_kubeconfig_names_a_living_master_and_keeps_to_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.7.7.2", 6443)) == 0:
            pytest.skip("port 6443 is taken on this machine")
    run = made_run(tmp_path, "127.7.7.1", "127.7.7.2", "127.7.7.3")
    users = tmp_path / "users"
    monkeypatch.setenv("KUBECONFIG", str(users))
    async with master(run, "m0", "127.7.7.1"):
        await ways_in.write_kubeconfig(run)
        assert server_in(run.home.kubeconfig) == "https://127.7.7.1:6443"
        kubeconfig.merge_into_file(users, kubeconfig.read(run.home.kubeconfig))

    async with master(run, "m1", "127.7.7.2"):
        await ways_in.ensure_answering(run)
        assert server_in(run.home.kubeconfig) == "https://127.7.7.2:6443"
        assert server_in(users) == "https://127.7.7.2:6443"
        async with master(run, "m0", "127.7.7.1"):
            await ways_in.ensure_answering(run)
            assert server_in(run.home.kubeconfig) == "https://127.7.7.2:6443", "it answers, so nothing changes"

    await ways_in.ensure_answering(run)
    assert server_in(run.home.kubeconfig) == "https://127.7.7.2:6443", "nobody answers, so nothing is known better"
