"""The verbs that are killed: what they are given, and what holds when they have come to their end."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.kill_points.site import Site

WORK = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: default}
spec:
  nodeName: NODE
  tolerations: [{operator: Exists}]
  terminationGracePeriodSeconds: 1
  containers: [{name: web, image: "hanse.local/web:1"}]
"""


@dataclass(slots=True)
class World:
    """A cluster over its life, and what is known of it."""

    site: Site
    masters: int
    releases: tuple[str, str] = ("", "")
    """Two that differ, to go to and fro between."""
    runs: str = ""
    """The release that it should run."""
    containers: dict[str, str] = field(default_factory=dict)
    """Pod -> its container and how often it was restarted: what no verb may touch."""
    written: str = ""
    """Value that was stored last."""
    snapshot: str = ""
    worker: str = ""
    """The one that came by `nodes add`."""

    def work(self) -> None:
        """A Pod on each node, and an object."""
        for node in self.site.objects("nodes"):
            name = node["metadata"]["name"]
            self.site.kubectl("apply", "-f", "-", stdin=WORK.replace("NAME", f"on-{name}").replace("NODE", name))
        self.site.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
        self.containers = self.found_containers()

    def found_containers(self) -> dict[str, str]:
        found = {}
        for pod in self.site.objects("pods"):
            [status] = pod["status"].get("containerStatuses") or [{}]
            found[pod["metadata"]["name"]] = f"{status.get('containerID')} {status.get('restartCount')}"
        return found

    def write(self, value: str) -> None:
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "written"}, "data": {"value": value}}
        self.site.kubectl("apply", "-f", "-", stdin=json.dumps(made))
        self.written = value

    def faults(self) -> list[str]:
        """Empty when all is as it should be."""
        site = self.site
        status = site.status()
        found = [] if status["healthy"] else [f"not healthy: {json.dumps(status)}"]
        if not status.get("hosts"):
            return found
        hosts = sorted(host["name"] for host in status["hosts"])
        etcd = sorted(host["name"] for host in status["hosts"] if "etcd" in host["roles"])
        if (members := site.members()) != [(name, False) for name in etcd]:
            found.append(f"members of etcd are {members}")
        if (nodes := sorted(node["metadata"]["name"] for node in site.objects("nodes"))) != hosts:
            found.append(f"nodes are {nodes}, hosts {hosts}")
        if cordoned := [n["metadata"]["name"] for n in site.objects("nodes") if n["spec"].get("unschedulable")]:
            found.append(f"{cordoned} are cordoned")
        if self.runs and (runs := {host["release"] for host in status["hosts"]}) != {self.runs}:
            found.append(f"hosts run {runs}, not {self.runs}")
        now = self.found_containers()
        found += [f"{pod} is {now.get(pod)}, was {was}" for pod, was in self.containers.items() if now.get(pod) != was]
        if self.written:
            value = site.kubectl("get", "configmap", "written", "-o", "jsonpath={.data.value}")
            found += [] if value == self.written else [f"stored is {value}, written was {self.written}"]
        again = site.provision("cluster", site.name)
        if "Nothing to do" not in again.out:
            found.append(f"a second run does something: {again.err}{again.out}")
        return found + self.remains()

    def remains(self) -> list[str]:
        site = self.site
        hosts = site.left_on_hosts() if site.state.read_record() else []
        found = [f"left: {one}" for one in (*hosts, *site.left_here())]
        with site.state.lock():  # raises when somebody still holds it
            return found


@dataclass(frozen=True, slots=True)
class Verb:
    """One command over a cluster's life."""

    name: str
    arguments: Callable[[World], list[str]]
    before: Callable[[World], None] = lambda world: None
    """Makes what the verb needs."""
    after: Callable[[World], None] = lambda world: None
    """What is true once it has come to its end."""
    gone: bool = False
    """The cluster is away then, and that is all there is to check."""


def _snapshot(world: World) -> None:
    world.write("in the snapshot")
    world.site.must("etcd", "snapshot", world.site.name)
    world.snapshot = sorted(path.name for path in world.site.state.snapshots.iterdir())[-1]
    world.write("after the snapshot")


def _restored(world: World) -> None:
    world.written = "in the snapshot"


def _added(world: World) -> None:
    names = sorted(node["metadata"]["name"] for node in world.site.objects("nodes"))
    world.worker = names[-1]
    world.work()


def _removed(world: World) -> None:
    world.containers.pop(f"on-{world.worker}", None)


def _next_release(world: World) -> None:
    one, other = world.releases
    world.runs = other if world.runs == one else one


def _grown(world: World) -> None:
    world.work()
    world.write("in the beginning")


VERBS = (
    Verb(
        "create",
        lambda world: [
            "cluster", world.site.name, f"--nodes={world.masters + 1}", f"--masters={world.masters}",
            f"--etcd={world.masters}",
        ],
        after=_grown,
    ),
    Verb("add", lambda world: ["nodes", "add", world.site.name], after=_added),
    Verb("upgrade", lambda world: ["upgrade", world.site.name, f"--to={world.runs}"], before=_next_release),
    Verb("rotate", lambda world: ["certs", "rotate", world.site.name]),
    Verb(
        "restore", lambda world: ["etcd", "restore", world.site.name, world.snapshot], before=_snapshot, after=_restored
    ),
    Verb("remove", lambda world: ["nodes", "remove", world.site.name, world.worker], after=_removed),
    Verb("destroy", lambda world: ["destroy", world.site.name], gone=True),
)  # fmt: skip
