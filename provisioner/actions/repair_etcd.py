"""`provision etcd repair`: room to write again. What is done in which order: `plan_etcd_repair`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from inventory.model import HostSpec, Role
from provisioner.actions.plan_etcd_repair import NOSPACE, MemberRoom, check_room, plan_repair
from provisioner.actions.telling import told_by
from provisioner.errors import ProvisionError
from provisioner.execution.actions import ActionPlan
from provisioner.execution.carry_out import Step, carry_out
from provisioner.execution.ledger import Ledger
from provisioner.operations import etcd
from provisioner.phases.connect import connect_hosts, locked_hosts
from provisioner.phases.run import Run

CONNECT_PATIENCE = 8.0  # seconds for a host that may be dead
_LEFT_OVER = "/var/lib/etcd/replaced /var/lib/etcd/restoring /var/lib/etcd/salvage"
_ROOM = f"""
df --output=avail -B1 /var/lib/etcd | tail -n 1
du -sbc {_LEFT_OVER} 2>/dev/null | tail -n 1 | cut -f 1
systemctl show etcd --property=ExecStart | sed -n 's/.*--quota-backend-bytes=\\([0-9]*\\).*/\\1/p'
"""


async def look(run: Run) -> list[MemberRoom]:
    """In the order of the description. A host that does not answer is a member that does not."""
    return list(await asyncio.gather(*(_room(run, host) for host in run.spec.with_role(Role.ETCD))))


async def plan_etcd_repair(run: Run) -> ActionPlan:
    """Raises ProvisionError where this is no cure."""
    return plan_repair(run.spec.name, await look(run))


async def repair_etcd(run: Run, plan: ActionPlan) -> None:
    """The caller holds the cluster's lock; `plan` is of `plan_etcd_repair` with the same run."""
    reached = [host for host in run.spec.with_role(Role.ETCD) if host.name in run.transports]
    starving = any(action.id == "etcd/disarm" for action in plan)
    steps = _Repairing(run, reached, starving=starving).steps()
    ledger = Ledger(run.home.ledger, plan.verb)
    async with locked_hosts(run, reached):
        with run.progress.phase("Repair etcd"), ledger.running("repair etcd"):
            await carry_out(plan, steps, ledger, tell=told_by(run))


async def _room(run: Run, host: HostSpec) -> MemberRoom:
    try:
        async with asyncio.timeout(CONNECT_PATIENCE):
            await connect_hosts(run, [host], booting=False)
    except (ProvisionError, TimeoutError) as error:
        run.progress.line(f"does not answer: {error}", host.name)
        return MemberRoom(host.name, answers=False)
    transport = run.transport(host)
    answers, state, disk = await asyncio.gather(
        etcd.takes_part(transport), etcd.state(transport), transport.run(["sh", "-c", _ROOM])
    )
    free, left_over, quota = _sizes(disk.stdout)
    quota = quota or run.spec.etcd.quota_bytes
    if state is None:
        return MemberRoom(host.name, answers=False, disk_free=free, left_over=left_over)
    return MemberRoom(
        host.name, answers, state.is_leader, state.alarms, state.db_bytes, state.db_in_use, free, left_over, quota
    )


def _sizes(told: str) -> tuple[int, int, int]:
    """(free, left over, quota); what is not told is (-1, 0, 0)."""
    words = [int(word) for word in told.split() if word.isdigit()]
    free, left_over, quota = (*words, *(-1, 0, 0)[len(words) :]) if len(words) < 3 else words[:3]
    return free, left_over, quota


class _Repairing:
    """How each action is done and seen to be done."""

    def __init__(self, run: Run, members: Sequence[HostSpec], *, starving: bool) -> None:
        self._run = run
        self._members = members
        self._compacted = False
        self._defragmented: set[str] = set()
        self._starving = starving

    def steps(self) -> dict[str, Step]:
        found = {
            "etcd/compact": Step(self._compact, self._is_compacted),
            "etcd/disarm": Step(self._disarm, self._is_disarmed),
        }
        for host in self._members:
            found[f"{host.name}/clear"] = _step(self._clear, self._is_clear, host)
            found[f"{host.name}/defragment"] = _step(self._defragment, self._is_defragmented, host)
        return found

    async def _clear(self, host: HostSpec) -> None:
        await etcd.must(self._run.transport(host), ["rm", "-rf", *_LEFT_OVER.split()], "remove what was left")

    async def _is_clear(self, host: HostSpec) -> bool:
        return (await _room(self._run, host)).left_over == 0

    async def _compact(self) -> None:
        for host in self._members:
            transport = self._run.transport(host)
            if (state := await etcd.state(transport)) is not None and await etcd.takes_part(transport):
                await etcd.compact(transport, state.revision)
                self._compacted = True
                return
        raise ProvisionError(
            "etcd cannot be compacted", why="no member takes part in a quorum any more",
            next_step="Look at `provision etcd status`, then run this again.",
        )  # fmt: skip

    async def _is_compacted(self) -> bool:
        return self._compacted

    async def _defragment(self, host: HostSpec) -> None:
        """It does not answer meanwhile, so enough others have to, unless nothing is written anyway."""
        everybody = self._run.spec.with_role(Role.ETCD)
        others = [other for other in self._members if other is not host]
        answers = await asyncio.gather(*(etcd.takes_part(self._run.transport(other)) for other in others))
        if not self._starving and len(everybody) > 1 and sum(answers) <= len(everybody) // 2:
            raise ProvisionError(
                "etcd is not defragmented", host=host.name,
                why=f"{sum(answers)} other members answer, {len(everybody) // 2 + 1} have to while this one does not",
                next_step="Bring the others back (`provision etcd status`), then run this again.",
            )  # fmt: skip
        before = await etcd.state(self._run.transport(host))
        await etcd.defragment(self._run.transport(host))
        after = await etcd.state(self._run.transport(host))
        if before and after:
            self._run.progress.line(f"{(before.db_bytes - after.db_bytes) / 1e6:.1f} MB smaller", host.name)
        self._defragmented.add(host.name)

    async def _is_defragmented(self, host: HostSpec) -> bool:
        return host.name in self._defragmented

    async def _disarm(self) -> None:
        rooms = await asyncio.gather(*(_room(self._run, host) for host in self._members))
        check_room(self._run.spec.name, rooms)
        transport = next(self._run.transports[one.host] for one in rooms if one.answers)
        await etcd.disarm(transport)

    async def _is_disarmed(self) -> bool:
        states = await asyncio.gather(*(etcd.state(self._run.transport(host)) for host in self._members))
        return not any(NOSPACE in state.alarms for state in states if state is not None)


def _step(
    do: Callable[[HostSpec], Awaitable[None]], done: Callable[[HostSpec], Awaitable[bool]], host: HostSpec
) -> Step:
    return Step(lambda: do(host), lambda: done(host))
