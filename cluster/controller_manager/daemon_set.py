"""
One Pod on every Node that fits.

The Pods are bound by the scheduler, by a node affinity to one Node each. `plan_nodes` and `plan_update` are pure.
Source: kube-controller-manager, pkg/controller/daemon.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.api import resources
from cluster.client.controller import Controller, Requeue
from cluster.client.expectations import Expectations
from cluster.controller_manager.context import Context, enqueue_all
from cluster.controller_manager.controller_revision import HASH_LABEL, REVISIONS, History, RevisionKeeper, hash_of
from cluster.controller_manager.node_placement import fits_labels, fits_taints
from cluster.controller_manager.ownership import (
    BY_CONTROLLER,
    Claimer,
    controller_index,
    controller_of,
    is_being_deleted,
    owner_reference,
)
from cluster.controller_manager.pod_batch import BURST, PodWriter, delete_all, slow_start
from cluster.controller_manager.pods import (
    is_ready,
    is_terminal,
    phase,
    pod_from_template,
    seconds_until_available,
)
from cluster.controller_manager.rollout import scaled_value
from cluster.machinery.labels import selector_of
from cluster.machinery.objects import Key, Object, copy_object, key_of

_ALWAYS_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_ON_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")
GENERATION_LABEL = "pod-template-generation"


def tolerations_for(spec: Object) -> list[Object]:
    """The template's own and those every daemon has, so that it stays where others go."""
    found = list(spec.get("tolerations") or ())
    wanted = _ALWAYS_TOLERATED + ((_ON_HOST_NETWORK,) if spec.get("hostNetwork") else ())
    for key, effect in wanted:
        entry = {"key": key, "operator": "Exists", "effect": effect}
        if entry not in found:
            found.append(entry)
    return found


def node_of(pod: Object) -> str:
    """The Node a daemon is on or is meant for."""
    if pod["spec"].get("nodeName"):
        return str(pod["spec"]["nodeName"])
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for entry in term.get("matchFields") or ():
            if entry.get("key") == "metadata.name" and len(entry.get("values") or ()) == 1:
                return str(entry["values"][0])
    return ""


def bound_to(spec: Object, node: str) -> Object:
    """The spec with an affinity to one Node, over whatever affinity to Nodes it has."""
    changed = copy_object(spec)
    only = {"key": "metadata.name", "operator": "In", "values": [node]}
    affinity = changed.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [{**term, "matchFields": [only]} for term in terms]
    changed["tolerations"] = tolerations_for(spec)
    return changed


def should_run(template: Object, node: Object) -> tuple[bool, bool]:
    """Whether a daemon shall start on the Node, and whether one that is there may stay."""
    spec = template.get("spec") or {}
    if not fits_labels(spec, node):
        return False, False
    tolerations = tolerations_for(spec)
    return fits_taints(tolerations, node, "NoSchedule", "NoExecute"), fits_taints(tolerations, node, "NoExecute")


@dataclass(frozen=True, slots=True)
class DaemonPlan:
    create_on: tuple[str, ...] = ()
    delete: tuple[Object, ...] = ()


def plan_nodes(daemon_set: Object, nodes: Sequence[Object], by_node: Mapping[str, Sequence[Object]]) -> DaemonPlan:
    """Which Nodes lack their daemon and which daemons are too many, failed or stranded."""
    create: list[str] = []
    delete: list[Object] = []
    surge = surge_of(daemon_set, len(nodes))
    known = {node["metadata"]["name"]: node for node in nodes}
    for name, node in known.items():
        start, stay = should_run(daemon_set["spec"]["template"], node)
        pods = [p for p in by_node.get(name, ()) if not is_being_deleted(p)]
        failed = [p for p in pods if is_terminal(p)]
        running = [p for p in pods if not is_terminal(p)]
        if not stay:
            delete += pods
            continue
        delete += failed
        if start and not running and not any(is_being_deleted(p) for p in by_node.get(name, ())):
            create.append(name)
        elif len(running) > 1 and not surge:
            oldest_first = sorted(running, key=lambda p: (not p["spec"].get("nodeName"), *_age(p)))
            delete += oldest_first[1:]
    for name, stranded in by_node.items():
        if name and name not in known:
            delete += [p for p in stranded if not is_being_deleted(p) and not p["spec"].get("nodeName")]
    return DaemonPlan(tuple(create[:BURST]), tuple(delete[:BURST]))


def _age(pod: Object) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]


def _rolling(daemon_set: Object) -> Object:
    strategy = daemon_set["spec"].get("updateStrategy") or {}
    found: Object = strategy.get("rollingUpdate") or {}
    return found


def surge_of(daemon_set: Object, desired: int) -> int:
    return scaled_value(_rolling(daemon_set).get("maxSurge") or 0, desired, round_up=True)


def plan_update(
    daemon_set: Object,
    nodes: Sequence[Object],
    by_node: Mapping[str, Sequence[Object]],
    digest: str,
    now: datetime.datetime,
) -> DaemonPlan:
    """The next step of a rolling update: old daemons that may go, and Nodes where a new one starts beside the old."""
    names = [n["metadata"]["name"] for n in nodes if should_run(daemon_set["spec"]["template"], n)[0]]
    minimum = int(daemon_set["spec"].get("minReadySeconds") or 0)
    surge = surge_of(daemon_set, len(names))
    unavailable = scaled_value(_rolling(daemon_set).get("maxUnavailable", 1), len(names), round_up=True)
    if not surge:
        unavailable = max(unavailable, 1)
    broken, candidates, create, delete = 0, [], [], []
    surging = 0
    for name in names:
        pods = [p for p in by_node.get(name, ()) if not is_terminal(p)]
        old = [p for p in pods if hash_label(p) != digest and not is_being_deleted(p)]
        new = [p for p in pods if hash_label(p) == digest and not is_being_deleted(p)]
        new_available = any(seconds_until_available(p, minimum, now) == 0.0 for p in new)
        old_available = any(seconds_until_available(p, minimum, now) == 0.0 for p in old)
        if surge:
            if old and new_available:
                delete += old
            elif old and not new:
                candidates.append((name, old[0], old_available))
            elif old and new:
                surging += 1
            continue
        if not (new_available or old_available):
            broken += 1
            delete += old  # it serves nobody: replacing it costs nothing
        elif old and not new:
            candidates.append((name, old[0], old_available))
    if surge:
        create = [name for name, _, _ in candidates[: max(surge - surging, 0)]]
    else:
        delete += [pod for _, pod, _ in candidates[: max(unavailable - broken, 0)]]
    return DaemonPlan(tuple(create), tuple(delete))


def hash_label(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(HASH_LABEL) or "")


def status_of(
    daemon_set: Object,
    nodes: Sequence[Object],
    by_node: Mapping[str, Sequence[Object]],
    history: History,
    now: datetime.datetime,
) -> Object:
    minimum = int(daemon_set["spec"].get("minReadySeconds") or 0)
    desired = scheduled = misplaced = ready = updated = available = 0
    for node in nodes:
        pods = sorted((p for p in by_node.get(node["metadata"]["name"], ()) if not is_terminal(p)), key=_age)
        if not should_run(daemon_set["spec"]["template"], node)[0]:
            misplaced += bool(pods)
            continue
        desired += 1
        if not pods:
            continue
        scheduled += 1
        ready += any(is_ready(p) for p in pods)
        available += any(seconds_until_available(p, minimum, now) == 0.0 for p in pods)
        updated += any(hash_label(p) == hash_of(history.update) for p in pods)
    counts = {
        "currentNumberScheduled": scheduled,
        "desiredNumberScheduled": desired,
        "numberMisscheduled": misplaced,
        "numberReady": ready,
    }
    optional = {
        "updatedNumberScheduled": updated,
        "numberAvailable": available,
        "numberUnavailable": desired - available,
        "observedGeneration": daemon_set["metadata"].get("generation", 0),
    }
    status: Object = counts | {name: value for name, value in optional.items() if value}
    if history.collisions:
        status["collisionCount"] = history.collisions
    if (daemon_set.get("status") or {}).get("conditions"):
        status["conditions"] = daemon_set["status"]["conditions"]
    return status


class DaemonSetController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.events("daemonset-controller")
        self._writer = PodWriter(context.client, self._events)
        self._claimer = Claimer(context.client, resources.DAEMON_SETS, resources.PODS)
        self._expectations = Expectations()
        self._sets = context.informers.of(resources.DAEMON_SETS)
        self._pods = context.informers.of(resources.PODS)
        self._pods.add_index(BY_CONTROLLER, controller_index)
        self._nodes = context.informers.of(resources.NODES)
        revisions = context.informers.of(REVISIONS)
        revisions.add_index(BY_CONTROLLER, controller_index)
        self._keeper = RevisionKeeper(context.client, resources.DAEMON_SETS, revisions)
        self.controller = Controller("daemonset-controller", self.reconcile, workers=2)
        enqueue_all(self.controller, self._sets)
        self._pods.add_handler(self._pod_added, self._pod_updated, self._pod_deleted)
        self._nodes.add_handler(self._any_node, self._node_updated, self._any_node)

    async def run(self) -> None:
        await self.controller.run()

    def _any_node(self, _: Object) -> None:
        for daemon_set in self._sets.list():
            self.controller.enqueue(daemon_set)

    def _node_updated(self, old: Object, new: Object) -> None:
        def placement(node: Object) -> object:
            return node["metadata"].get("labels"), (node.get("spec") or {}).get("taints")

        if placement(old) != placement(new):
            self._any_node(new)

    def _owner(self, pod: Object) -> Object | None:
        reference = controller_of(pod)
        return reference if reference is not None and reference["kind"] == "DaemonSet" else None

    def _pod_added(self, pod: Object) -> None:
        if owner := self._owner(pod):
            self._expectations.created(owner["uid"])
            self.controller.queue.add(Key(key_of(pod).namespace, owner["name"]))

    def _pod_updated(self, _: Object, new: Object) -> None:
        if owner := self._owner(new):
            if is_being_deleted(new):
                self._expectations.deleted(owner["uid"], new["metadata"]["uid"])
            self.controller.queue.add(Key(key_of(new).namespace, owner["name"]))

    def _pod_deleted(self, pod: Object) -> None:
        if owner := self._owner(pod):
            self._expectations.deleted(owner["uid"], pod["metadata"]["uid"])
            self.controller.queue.add(Key(key_of(pod).namespace, owner["name"]))

    async def reconcile(self, key: Key) -> Requeue | None:
        daemon_set = self._sets.get(key)
        if daemon_set is None or is_being_deleted(daemon_set):
            return None
        selector = selector_of(daemon_set["spec"].get("selector"))
        if selector.empty:
            return None
        uid = daemon_set["metadata"]["uid"]
        settled = self._expectations.met(uid)
        history = await self._keeper.sync(daemon_set)
        nodes = self._nodes.list()
        by_node = await self._pods_by_node(daemon_set)
        now = datetime.datetime.now(datetime.UTC)
        if settled:
            plan = plan_nodes(daemon_set, nodes, by_node)
            strategy = (daemon_set["spec"].get("updateStrategy") or {}).get("type") or "RollingUpdate"
            if plan == DaemonPlan() and strategy == "RollingUpdate":
                plan = plan_update(daemon_set, nodes, by_node, hash_of(history.update), now)
            await self._carry_out(daemon_set, plan, history)
        pods = [pod for pods in by_node.values() for pod in pods]
        await self._keeper.clean_up(daemon_set, history, {hash_label(pod) for pod in pods})
        status = status_of(daemon_set, nodes, by_node, history, now)
        if status != (daemon_set.get("status") or {}):
            changed = {**copy_object(daemon_set), "status": status}
            await self._client.update(resources.DAEMON_SETS, changed, subresource="status")
        minimum = int(daemon_set["spec"].get("minReadySeconds") or 0)
        waits = [wait for pod in pods if (wait := seconds_until_available(pod, minimum, now))]
        return Requeue(min(waits)) if waits else None

    async def _pods_by_node(self, daemon_set: Object) -> dict[str, list[Object]]:
        namespace = key_of(daemon_set).namespace
        candidates = self._pods.by_index(BY_CONTROLLER, daemon_set["metadata"]["uid"]) + self._pods.by_index(
            BY_CONTROLLER, f"orphan/{namespace}"
        )
        selector = selector_of(daemon_set["spec"].get("selector"))
        by_node: dict[str, list[Object]] = {}
        for pod in await self._claimer.claim(daemon_set, selector, candidates):
            by_node.setdefault(node_of(pod), []).append(pod)
        return by_node

    async def _carry_out(self, daemon_set: Object, plan: DaemonPlan, history: History) -> None:
        uid = daemon_set["metadata"]["uid"]
        for pod in plan.delete:
            if phase(pod) == "Failed":
                self._events.record(
                    daemon_set,
                    "Warning",
                    "FailedDaemonPod",
                    f"Found failed daemon pod {key_of(pod)} on node {node_of(pod)}, will try to kill it",
                )
        self._expectations.expect(uid, creates=len(plan.create_on), deletes={p["metadata"]["uid"] for p in plan.delete})
        failure = await delete_all(self._writer, daemon_set, plan.delete)

        async def create(number: int) -> Object:
            pod = self._pod_for(daemon_set, plan.create_on[number], history)
            return await self._writer.create(daemon_set, pod)

        done, create_failure = await slow_start(len(plan.create_on), create)
        self._expectations.created(uid, len(plan.create_on) - done)
        failure = failure or create_failure
        if failure is not None:
            self._expectations.forget(uid)
            raise failure

    def _pod_for(self, daemon_set: Object, node: str, history: History) -> Object:
        pod = pod_from_template(
            daemon_set["spec"]["template"], daemon_set, owner_reference(daemon_set, resources.DAEMON_SETS)
        )
        pod["spec"] = bound_to(pod["spec"], node)
        pod["metadata"]["labels"][HASH_LABEL] = hash_of(history.update)
        generation = daemon_set["metadata"].get("generation", 0)
        pod["metadata"]["labels"][GENERATION_LABEL] = str(generation)
        return pod
