"""
A Node that stays silent is marked unknown, then tainted, so that its Pods move.

A Node is heard from when its Lease or its status changes, by our own clock. Conditions become taints: NoSchedule at
once; NoExecute for not-ready and unreachable, at a limited rate while a zone is partly down and not at all while all
of it is: then it is we who are cut off. `judge` and `taints_for` are pure.
Source: kube-controller-manager, pkg/controller/nodelifecycle.
"""

import asyncio
import datetime
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass

from cluster.api import resources
from cluster.controller_manager.context import Context
from cluster.controller_manager.pods import condition, is_ready
from cluster.machinery.objects import Key, Object, copy_object, key_of
from cluster.machinery.status_errors import ApiError, Conflict, NotFound
from cluster.machinery.timestamps import format_time

log = logging.getLogger(__name__)

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
LEASES_NAMESPACE = "kube-node-lease"
WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
UNHEALTHY_ZONE = 0.55
"""Share of not ready Nodes from which a zone counts as disrupted."""
LARGE_ZONE = 50
"""Nodes; in a smaller zone a disruption stops eviction altogether."""
SECONDARY_RATE = 0.01  # Nodes a second in a disrupted large zone

_CONDITION_TAINTS: Mapping[tuple[str, str], str] = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_MANAGED = frozenset({*_CONDITION_TAINTS.values(), _UNSCHEDULABLE})


def readiness(node: Object) -> str:
    """True, False or Unknown."""
    ready = condition(node, "Ready")
    return str(ready["status"]) if ready is not None else "Unknown"


def no_schedule_keys(node: Object) -> set[str]:
    """Keys of the NoSchedule taints that the Node's conditions call for."""
    found = {
        key
        for c in (node.get("status") or {}).get("conditions") or ()
        if (key := _CONDITION_TAINTS.get((c.get("type", ""), c.get("status", "")))) is not None
    }
    if (node.get("spec") or {}).get("unschedulable"):
        found.add(_UNSCHEDULABLE)
    return found


def taints_for(node: Object, *, execute: bool, now: datetime.datetime) -> list[Object]:
    """
    All taints the Node shall have.

    Args:
        execute: Whether a bad Node may be given its NoExecute taint now; one that has it keeps it while bad.
    """
    before: Sequence[Object] = (node.get("spec") or {}).get("taints") or ()
    wanted = {(key, "NoSchedule") for key in no_schedule_keys(node)}
    # A Node that has never reported is no worse off for it until its grace period makes it Unknown.
    reported = condition(node, "Ready") is not None
    bad = {"False": NOT_READY, "Unknown": UNREACHABLE}.get(readiness(node)) if reported else None
    if bad is not None:
        has_one = any(t["key"] in (NOT_READY, UNREACHABLE) and t["effect"] == "NoExecute" for t in before)
        if execute or has_one:
            wanted.add((bad, "NoExecute"))
    managed_effects = {(key, "NoSchedule") for key in _MANAGED} | {
        (key, "NoExecute") for key in (NOT_READY, UNREACHABLE)
    }
    kept = [t for t in before if (t["key"], t["effect"]) not in managed_effects or (t["key"], t["effect"]) in wanted]
    there = {(t["key"], t["effect"]) for t in kept}
    stamp = format_time(now)
    return kept + [{"key": key, "effect": effect, "timeAdded": stamp} for key, effect in sorted(wanted - there)]


def silent_conditions(node: Object, now: datetime.datetime) -> list[Object]:
    """The Node's conditions after it was not heard from for too long."""
    stamp = format_time(now)
    found = []
    conditions = list((node.get("status") or {}).get("conditions") or ())
    for kind in WATCHED:
        before = next((c for c in conditions if c["type"] == kind), None)
        if before is None:
            found.append(
                {
                    "type": kind,
                    "status": "Unknown",
                    "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status.",
                    "lastHeartbeatTime": node["metadata"].get("creationTimestamp"),
                    "lastTransitionTime": stamp,
                }
            )
        elif before["status"] != "Unknown":
            found.append(
                before
                | {
                    "status": "Unknown",
                    "reason": "NodeStatusUnknown",
                    "message": "Kubelet stopped posting node status.",
                    "lastTransitionTime": stamp,
                }
            )
        else:
            found.append(before)
    return [*(c for c in conditions if c["type"] not in WATCHED), *found]


@dataclass(slots=True)
class Heard:
    """When a Node last gave a sign of life, by our clock, and what the sign was."""

    at: float
    renewed: str = ""
    heartbeat: str = ""
    ever: bool = False


class NodeLifecycleController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._settings = context.settings
        self._events = context.events("node-controller")
        self._nodes = context.informers.of(resources.NODES)
        self._leases = context.informers.of(resources.LEASES)
        self._pods = context.informers.of(resources.PODS)
        self._pods.add_index("by-node", lambda pod: [pod["spec"].get("nodeName") or ""])
        self._heard: dict[str, Heard] = {}
        self._may_execute_at: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._nodes.add_handler(self._wake, self._node_changed)

    def _wake(self, _: Object) -> None:
        self._changed.set()

    def _node_changed(self, old: Object, new: Object) -> None:
        same_spec = old.get("spec") == new.get("spec")
        if not same_spec or readiness(old) != readiness(new) or no_schedule_keys(old) != no_schedule_keys(new):
            self._changed.set()

    async def run(self) -> None:
        while True:
            await self.look_at_all(time.monotonic())
            try:
                async with asyncio.timeout(self._settings.node_monitor_period):
                    await self._changed.wait()
                await asyncio.sleep(0.1)  # what changes together is looked at together
            except TimeoutError:
                pass
            self._changed.clear()

    async def look_at_all(self, now: float) -> None:
        nodes = self._nodes.list()
        names = {node["metadata"]["name"] for node in nodes}
        for name in self._heard.keys() - names:
            del self._heard[name]
        for node in nodes:
            await self._guarded(self._judge(node, now), node)
        states = self._zone_states(self._nodes.list())
        for node in self._nodes.list():
            await self._guarded(self._taint(node, states, now), node)

    async def _guarded(self, work: Awaitable[None], node: Object) -> None:
        """One Node's trouble must not keep the others from being looked at."""
        try:
            await work
        except (Conflict, NotFound) as stale:
            log.debug("node %s: %s", node["metadata"]["name"], stale)
        except ApiError as error:
            log.warning("node %s: %s", node["metadata"]["name"], error)

    # --- silence -------------------------------------------------------------------------------------------

    async def _judge(self, node: Object, now: float) -> None:
        name = node["metadata"]["name"]
        heard = self._listen(node, now)
        grace = self._settings.node_monitor_grace_period if heard.ever else self._settings.node_startup_grace_period
        if now - heard.at <= grace:
            return
        conditions = silent_conditions(node, datetime.datetime.now(datetime.UTC))
        if conditions == list((node.get("status") or {}).get("conditions") or ()):
            return
        was_ready = readiness(node) == "True"
        changed = copy_object(node)
        changed.setdefault("status", {})["conditions"] = conditions
        await self._client.update(resources.NODES, changed, subresource="status")
        if was_ready:
            self._events.record(node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")
            await self._mark_pods_not_ready(name)

    def _listen(self, node: Object, now: float) -> Heard:
        name = node["metadata"]["name"]
        lease = self._leases.get(Key(LEASES_NAMESPACE, name)) or {}
        renewed = str((lease.get("spec") or {}).get("renewTime") or "")
        ready = condition(node, "Ready") or {}
        heartbeat = str(ready.get("lastHeartbeatTime") or "") if ready.get("status") != "Unknown" else ""
        heard = self._heard.get(name)
        if heard is None:
            heard = self._heard[name] = Heard(now, renewed, heartbeat, bool(heartbeat or renewed))
        elif (renewed and renewed != heard.renewed) or (heartbeat and heartbeat != heard.heartbeat):
            heard.at, heard.ever = now, True
            heard.renewed, heard.heartbeat = renewed or heard.renewed, heartbeat or heard.heartbeat
        return heard

    async def _mark_pods_not_ready(self, node_name: str) -> None:
        """Nobody knows how the Pods are: Services shall not count on them."""
        stamp = format_time(datetime.datetime.now(datetime.UTC))
        for pod in self._pods.by_index("by-node", node_name):
            if not is_ready(pod):
                continue
            namespace, name = key_of(pod)
            patch = {"status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": stamp}]}}
            try:
                await self._client.patch(
                    resources.PODS, name, patch, namespace=namespace, patch_type="strategic", subresource="status"
                )
            except NotFound:
                continue

    # --- taints --------------------------------------------------------------------------------------------

    def _zone_of(self, node: Object) -> str:
        labels = node["metadata"].get("labels") or {}
        return f"{labels.get('topology.kubernetes.io/region', '')}/{labels.get('topology.kubernetes.io/zone', '')}"

    def _zone_states(self, nodes: Sequence[Object]) -> dict[str, float]:
        """Nodes a second that may be tainted NoExecute, by zone."""
        totals: Counter[str] = Counter()
        bad: Counter[str] = Counter()
        for node in nodes:
            zone = self._zone_of(node)
            totals[zone] += 1
            bad[zone] += readiness(node) != "True"
        whole_down = {zone for zone in totals if bad[zone] == totals[zone]}
        if totals and whole_down == set(totals) and sum(totals.values()) > 1:
            return dict.fromkeys(totals, 0.0)  # everything at once: it is we who are cut off
        rates = {}
        for zone, total in totals.items():
            disrupted = bad[zone] > 2 and bad[zone] / total >= UNHEALTHY_ZONE and zone not in whole_down
            rates[zone] = self._settings.node_eviction_rate
            if disrupted:
                rates[zone] = SECONDARY_RATE if total > LARGE_ZONE else 0.0
        return rates

    def _may_execute(self, zone: str, rates: Mapping[str, float], now: float) -> bool:
        rate = rates.get(zone, 0.0)
        if not rate or now < self._may_execute_at.get(zone, 0.0):
            return False
        self._may_execute_at[zone] = now + 1 / rate
        return True

    async def _taint(self, node: Object, rates: Mapping[str, float], now: float) -> None:
        before = list((node.get("spec") or {}).get("taints") or ())
        moment = datetime.datetime.now(datetime.UTC)
        wanted = taints_for(node, execute=False, now=moment)
        with_execute = taints_for(node, execute=True, now=moment)
        if len(with_execute) > len(wanted) and self._may_execute(self._zone_of(node), rates, now):
            wanted = with_execute
        if [(t["key"], t["effect"]) for t in wanted] == [(t["key"], t["effect"]) for t in before]:
            return
        changed = copy_object(node)
        changed.setdefault("spec", {})["taints"] = wanted
        await self._client.update(resources.NODES, changed)
