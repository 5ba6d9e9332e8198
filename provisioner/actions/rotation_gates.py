"""
Whether everything has come to a stage of the rotation: asked of apiservers, of the API, of hosts and their Pods.

Reads only. `pending` names the first thing that has not; `wait_settled` asks until nothing is pending.
"""

import asyncio
import contextlib
import datetime as dt
import hashlib
import ssl
from collections.abc import AsyncIterator

from cluster.api import resources
from cluster.client.kubeconfig import ClientConfig
from cluster.client.rest import ApiClient
from cluster.client.tls import build_context
from cluster.machinery.status_errors import ApiError
from cluster.pki.authority import PkiError, load_authority
from cluster.pki.issue import CertificateContent, Usage, issue_key_pair
from inventory.model import HostSpec, Role, url_host
from provisioner.actions.telling import admin_client
from provisioner.errors import ProvisionError
from provisioner.operations import etcd
from provisioner.operations.api_probe import readiness
from provisioner.operations.pod_credentials import behind, read_pod_credentials
from provisioner.phase_runner import for_each
from provisioner.phases.join_nodes import not_ready
from provisioner.phases.rotate_authorities import Stage, generation, signs_new, trusted
from provisioner.phases.run import Run

PATIENCE = 150.0
"""Seconds; Pods get a new bundle within two looks of their kubelet."""
SETTLE = 11.0
"""Seconds after that until the last client has looked at its files: twice their interval of five, and one."""
ROOT_CA = "kube-root-ca.crt"
_ASK_AGAIN = 1.0


async def wait_settled(run: Run, stage: Stage) -> None:
    """Raises ProvisionError with what has not come to the stage after PATIENCE."""
    why = ""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                why = await pending(run, stage)
                if not why:
                    break
                await asyncio.sleep(_ASK_AGAIN)
    except TimeoutError as error:
        raise ProvisionError(
            f"not everything has come to stage {stage} after {PATIENCE:g} s", why=why or "no answer",
            next_step=f"Cure it and run `provision certs rotate-ca {run.spec.name}` again, or go back with --rollback.",
        ) from error  # fmt: skip
    await asyncio.sleep(SETTLE)


async def pending(run: Run, stage: Stage) -> str:
    """A sentence; empty when everything has come."""
    masters = [host for host in run.spec.hosts if host.serves_api]
    for why in (await for_each(masters, lambda host: _apiserver(run, host, stage))).values():
        if why:
            return why
    members = run.spec.with_role(Role.ETCD)
    health = await for_each(members, lambda host: etcd.is_healthy(run.transport(host)))
    if sick := [name for name, healthy in health.items() if not healthy]:
        return f"{', '.join(sick)}: the member of etcd is not healthy"
    try:
        return await _api(run) or await _pods(run)
    except (ApiError, TimeoutError) as error:
        return str(error) or "the API does not answer"


async def _apiserver(run: Run, host: HostSpec, stage: Stage) -> str:
    """It serves with the certificate of the generation that signs, and lets those in that are trusted, nobody else."""
    pki = run.home.pki
    shown = generation(pki, "new" if signs_new(stage) else "old", "ca.crt")
    for which in ("old", "new"):
        context = _probe(run, which, shown)
        if context is None:
            continue
        answer = await readiness(f"https://{url_host(host.address)}:6443", context)
        if which in trusted(stage) and answer:
            return f"{host.name}: the apiserver does not take certificates of the {which} CA: {answer}"
        if which not in trusted(stage) and not answer:
            return f"{host.name}: the apiserver still takes certificates of the {which} CA"
    return ""


def _probe(run: Run, which: str, shown: bytes) -> ssl.SSLContext | None:
    """Somebody with a certificate of that generation and no rights; None when its CA has expired."""
    pki = run.home.pki
    authority = load_authority(generation(pki, which, "ca.crt"), generation(pki, which, "ca.key"))
    content = CertificateContent("hanse:rotation", usages=(Usage.CLIENT,))
    try:
        pair = issue_key_pair(authority, content, now=dt.datetime.now(dt.UTC), lifetime=dt.timedelta(minutes=10))
    except PkiError:
        return None
    pem, key = pair.certificate_pem, pair.key_pem
    return build_context(ClientConfig(servers=(), ca_data=shown, cert_data=pem, key_data=key))


async def _api(run: Run) -> str:
    """Every Namespace publishes what is in force, and apiservers reach every kubelet."""
    if not run.spec.with_role(Role.NODE):
        return ""
    wanted = (run.home.pki / "ca.crt").read_text()
    async with _asked(run) as client:
        maps = await client.list(resources.CONFIG_MAPS, field_selector=f"metadata.name={ROOT_CA}")
        stale = [one["metadata"]["namespace"] for one in maps["items"] if one["data"].get("ca.crt") != wanted]
        if stale:
            return f"{ROOT_CA} of {len(stale)} Namespaces is not up to date, as in {stale[0]}"
        nodes = await client.list(resources.NODES)
        if waiting := not_ready(run.spec, nodes["items"]):
            name, why = next(iter(waiting.items()))
            return f"Node {name} is not Ready: {why}"
        for host in run.spec.with_role(Role.NODE):
            try:
                await client.request("GET", f"/api/v1/nodes/{host.name}/proxy/healthz", patient=False)
            except ApiError as error:
                return f"Node {host.name}: the apiserver does not reach its kubelet: {error}"
    return ""


async def _pods(run: Run) -> str:
    """Every running Pod with a token has been given what is in force."""
    wanted = hashlib.sha256((run.home.pki / "ca.crt").read_bytes()).hexdigest()
    running = await running_pods(run)
    found = await for_each(run.spec.with_role(Role.NODE), lambda host: read_pod_credentials(run.transport(host)))
    for host, credentials in found.items():
        if late := behind(credentials, running, wanted):
            return f"{host}: {len(late)} Pods trust other CAs, as {running[late[0]]} does"
    return ""


async def running_pods(run: Run) -> dict[str, str]:
    """UID -> namespace/name of every Pod that has not ended."""
    async with _asked(run) as client:
        pods = await client.list(resources.PODS)
    return {
        pod["metadata"]["uid"]: f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        for pod in pods["items"]
        if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    }


@contextlib.asynccontextmanager
async def _asked(run: Run) -> AsyncIterator[ApiClient]:
    """A client of its own each time: the operator's certificate changes from stage to stage."""
    async with asyncio.timeout(10), admin_client(run) as client:
        yield client
