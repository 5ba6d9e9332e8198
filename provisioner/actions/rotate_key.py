"""
`provision secrets rotate-key`: another key for Secrets at rest, while the cluster serves.

Read `plan_key_rotation` first. Where a run was cut off is read from the keys' file and from etcd, so the same command
goes on. A key that was dropped is kept on the operator's side for snapshots from before.
"""

import asyncio
import hashlib
from functools import partial

import aiohttp

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import Conflict, NotFound
from cluster.pki import encryption_config
from inventory.model import HostSpec, Role, url_host
from provisioner.actions.lay_as_they_run import are_laid_down, lay_as_they_run
from provisioner.actions.plan_key_rotation import plan_key_rotation, target_of
from provisioner.actions.telling import admin_client, told_by
from provisioner.errors import ProvisionError
from provisioner.execution.actions import ActionPlan
from provisioner.execution.carry_out import Step, carry_out
from provisioner.execution.ledger import Ledger
from provisioner.operations import etcd
from provisioner.operations.api_probe import operator_tls
from provisioner.operations.sealed_values import SealedValues, read_sealed_values
from provisioner.phase_runner import for_each
from provisioner.phases.connect import connect_hosts, locked_hosts
from provisioner.phases.encryption_keys import (
    first,
    make_key,
    newer_name,
    read_keys,
    retire,
    retired_names,
    write_keys,
)
from provisioner.phases.gather_facts import gather_facts
from provisioner.phases.run import Run

RELOAD_PATIENCE = 60.0
"""Seconds until every apiserver has read a new file; they look every five."""
ROUNDS = 20
"""Looks at etcd at most; each but the last seals a thousand."""
AT_ONCE = 8
_METRIC = "apiserver_encryption_config_controller_last_config_info"
_ONE_TRY = aiohttp.ClientTimeout(total=5)


async def plan_for(run: Run, *, back: bool) -> tuple[ActionPlan, str]:
    """The plan, and the key that it leaves. Connects to the hosts. Raises InventoryError for nothing to take back."""
    await connect_hosts(run, run.spec.hosts, booting=False)
    await gather_facts(run, run.spec.hosts)
    keys = [key.name for key in read_keys(run.home.pki)]
    behind = len(keys) == 1 and not back and not are_laid_down(run, masters_of(run))
    target = keys[0] if behind else target_of(keys, back=back) or newer_name([*keys, *retired_names(run.home.pki)])
    return plan_key_rotation(run.spec.name, keys, target, behind=behind), target


async def rotate_key(run: Run, plan: ActionPlan, target: str) -> None:
    """
    The caller holds the cluster's lock; plan and target are `plan_for`'s.

    Raises:
        ProvisionError: a step failed; all keys that a value needs are in force, and the same command goes on.
    """
    ledger = Ledger(run.home.ledger, plan.verb)
    async with locked_hosts(run), admin_client(run) as client:
        work = _Rotating(run, client, target)
        with run.progress.phase("Rotate the key of Secrets"), ledger.running("rotate the key of Secrets"):
            await carry_out(plan, work.steps(), ledger, tell=told_by(run))


def masters_of(run: Run) -> list[HostSpec]:
    return [host for host in run.spec.hosts if host.serves_api]


async def look(run: Run, wanted: str) -> SealedValues:
    """What Secrets are sealed with, from the first healthy member. Raises ProvisionError."""
    for host in run.spec.with_role(Role.ETCD):
        if await etcd.is_healthy(run.transport(host)):
            return await read_sealed_values(run.transport(host), wanted)
    raise ProvisionError(
        "cannot look at what etcd holds of Secrets", why="no member is healthy",
        next_step="Look at `provision etcd status`, then run again.",
    )  # fmt: skip


class _Rotating:
    """How each action is done and seen to be done."""

    def __init__(self, run: Run, client: ApiClient, target: str) -> None:
        self._run = run
        self._pki = run.home.pki
        self._client = client
        self._target = target
        self._passed: set[str] = set()

    def steps(self) -> dict[str, Step]:
        found = {"rewrite": Step(self._rewrite, self._is_rewritten)}
        for step in ("add", "use", "drop"):
            found |= {
                f"{step}/key": Step(partial(self._write, step), partial(self._is_written, step)),
                f"{step}/files": Step(self._lay_down, self._is_laid_down),
                f"{step}/gate": Step(partial(self._gate, step), partial(self._has_passed, step)),
            }
        return found

    async def _write(self, step: str) -> None:
        keys = read_keys(self._pki)
        if step == "add":
            if self._target not in [key.name for key in keys]:
                write_keys(self._pki, (*keys, make_key(self._target)))
            return
        keys = first(keys, self._target)
        if step == "drop":
            retire(self._pki, keys[1:])
            keys = keys[:1]
        write_keys(self._pki, keys)

    async def _is_written(self, step: str) -> bool:
        names = [key.name for key in read_keys(self._pki)]
        if step == "add":
            return self._target in names
        return names[0] == self._target and (step == "use" or len(names) == 1)

    async def _lay_down(self) -> None:
        await lay_as_they_run(self._run, masters_of(self._run))

    async def _is_laid_down(self) -> bool:
        masters = masters_of(self._run)
        await gather_facts(self._run, masters)
        return are_laid_down(self._run, masters)

    async def _gate(self, step: str) -> None:
        """Raises ProvisionError when an apiserver has not read the file within RELOAD_PATIENCE."""
        content = (self._pki / encryption_config.FILE).read_bytes()
        wanted = f'hash="sha256:{hashlib.sha256(content).hexdigest()}"'
        await for_each(masters_of(self._run), lambda host: _wait_read(self._run, host, wanted))
        self._passed.add(step)

    async def _has_passed(self, step: str) -> bool:
        return step in self._passed

    async def _rewrite(self) -> None:
        """Write every Secret that another key sealed, as it is: whatever happens to it meanwhile is left as it is."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def seal(namespace: str, name: str) -> None:
            async with slots:
                await _write_as_it_is(self._client, namespace, name)

        for _ in range(ROUNDS):
            left = await look(self._run, self._target)
            if not left.others:
                return
            await asyncio.gather(*(seal(namespace, name) for namespace, name in left.others))

    async def _is_rewritten(self) -> bool:
        return not (await look(self._run, self._target)).others


async def _write_as_it_is(client: ApiClient, namespace: str, name: str) -> None:
    while True:
        try:
            found = await client.get(resources.SECRETS, name, namespace=namespace)
            await client.update(resources.SECRETS, found)
        except Conflict:
            continue  # somebody wrote it: read again, since they may have done so before the key was in force
        except NotFound:
            pass
        return


async def _wait_read(run: Run, host: HostSpec, wanted: str) -> None:
    url, tls = f"https://{url_host(host.address)}:6443/metrics", operator_tls(run.home.pki)
    why = "no answer"
    try:
        async with asyncio.timeout(RELOAD_PATIENCE), aiohttp.ClientSession(timeout=_ONE_TRY) as session:
            while True:
                try:
                    async with session.get(url, ssl=tls) as answer:
                        text = await answer.text()
                    if answer.status == 200 and any(_METRIC in line and wanted in line for line in text.splitlines()):
                        return
                    why = "it goes by another file" if answer.status == 200 else f"HTTP {answer.status}"
                except (aiohttp.ClientError, OSError) as error:
                    why = str(error) or type(error).__name__
                await asyncio.sleep(0.5)
    except TimeoutError as error:
        raise ProvisionError(
            f"the apiserver has not read its keys after {RELOAD_PATIENCE:g} s", why=why, host=host.name,
            next_step="Read `journalctl -u kube-apiserver` on the host, correct the cause, then run again.",
        ) from error  # fmt: skip
