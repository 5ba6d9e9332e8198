"""
Two clusters in two regions become one federation, served by three hosts that nobody has to trust to live.

One application is created once. It runs in both clusters and its name answers with both; what stops serving leaves the
answers, its replicas move, and what is well again comes back once. Eight machines besides those of the story.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import dns.exception
import dns.resolver
import pytest

from federation.trial import NODE_PORT, REGIONS, REPLICAS, Trial, TrialError
from tests.helm_programs import helm_program
from tests.machines.conftest import KEEP, Operator, run, wait_for

CHART = pathlib.Path(__file__).parents[1] / "charts" / "shop"
EAST, WEST = REGIONS
QUICK_FAILOVER = {
    "apiVersion": "federation.hanse.io/v1beta1",
    "kind": "PropagationPolicy",
    "metadata": {"name": "web"},
    "spec": {
        "resourceSelectors": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}],
        "failover": {"tolerationSeconds": 2},
    },
}


@pytest.fixture(scope="module")
def trial(operator: Operator) -> Iterator[Trial]:
    found = Trial(name="many", zone="fed.example.com", hosts=3, home=operator.home)
    if not KEEP:
        found.destroy()
    try:
        found.up()
        yield found
    finally:
        if not KEEP:
            found.destroy()


class Answers:
    """What a name server says of the application, as it changes."""

    def __init__(self, trial: Trial, server: str) -> None:
        self.seen: list[set[str]] = []
        """Sets of regions, each other than the one before."""
        self._regions = {address: region.name for region in REGIONS for address in addresses(trial, region.name)}
        self._resolver = dns.resolver.Resolver(configure=False)
        self._resolver.nameservers = [server]
        self._resolver.lifetime = 2
        self._name = trial.service_name
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def now(self) -> set[str]:
        """Regions of the addresses that are answered."""
        return {self._regions[str(one)] for one in self.records()}

    def records(self) -> Any:
        try:
            return self._resolver.resolve(self._name, "A")
        except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
            return []

    def __enter__(self) -> "Answers":
        self.seen = [self.now()]
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._ended.set()
        self._thread.join()

    def _listen(self) -> None:
        while not self._ended.wait(0.2):
            with contextlib.suppress(dns.exception.DNSException):  # a server that is killed meanwhile is no answer
                if (found := self.now()) != self.seen[-1]:
                    self.seen.append(found)


def addresses(trial: Trial, region: str) -> list[str]:
    """Of the region's nodes, as the federation's API shows them."""
    nodes = json.loads(trial.kubectl("get", "nodes", "-l", f"federation.hanse.io/cluster={region}", "-o", "json"))
    return [a["address"] for n in nodes["items"] for a in n["status"]["addresses"] if a["type"] == "InternalIP"]


def servers(trial: Trial) -> list[str]:
    return [address for address, _ in trial.name_servers()]


def test_an_application_that_is_created_once_runs_in_both_regions(trial: Trial) -> None:
    assert all(count > 0 for count in trial.replicas().values()), trial.replicas()
    assert sum(trial.replicas().values()) == REPLICAS
    for server in servers(trial):
        answers = Answers(trial, server)
        assert answers.now() == {EAST.name, WEST.name}
        assert answers.records().rrset.ttl <= 5
    for record in answers.records():
        with urllib.request.urlopen(f"http://{record}:{NODE_PORT}/cgi-bin/index.cgi", timeout=5) as page:
            assert b"hello from web-" in page.read()
    nodes = json.loads(trial.kubectl("get", "nodes", "-o", "json"))["items"]
    places = {node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in nodes}
    assert places == {EAST.zone, WEST.zone}


def test_making_it_again_changes_nothing(trial: Trial) -> None:
    again = json.loads(trial.federate("init", trial.name, "--json"))
    assert again["changes"] == 0


def test_kubectl_and_helm_see_one_application(trial: Trial) -> None:
    trial.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    trial.kubectl("scale", "deployment/web", "--replicas=6")
    trial.kubectl("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=6", "--timeout=30s")
    trial.kubectl("scale", "deployment/web", f"--replicas={REPLICAS}")
    environment = {"HOME": str(trial.home), "KUBECONFIG": str(trial.kubeconfig), "PATH": os.environ["PATH"]}
    helm = str(helm_program("4.3"))
    install = [helm, "install", "shop", str(CHART), "-n", "shop", "--create-namespace", "--wait", "--timeout=90s"]
    done = run(install, env=environment)
    assert done.code == 0, done.err + done.out
    pods = json.loads(trial.kubectl("get", "pods", "-n", "shop", "-o", "json"))["items"]
    assert {pod["metadata"]["labels"]["federation.hanse.io/cluster"] for pod in pods} == {EAST.name, WEST.name}
    done = run([helm, "uninstall", "shop", "-n", "shop", "--wait", "--timeout=60s"], env=environment)
    assert done.code == 0, done.err + done.out


def test_copies_that_are_not_ready_leave_the_answers_and_return_once(trial: Trial) -> None:
    pods = trial.kubectl("get", "pods", "-l", f"app=web,federation.hanse.io/cluster={EAST.name}", "-o", "name")
    names = [name.removeprefix("pod/") for name in pods.split()]
    with Answers(trial, servers(trial)[0]) as answers:
        for name in names:
            trial.kubectl("exec", f"{EAST.name}:{name}", "--", "touch", "/tmp/unwell")
        wait_for("east leaves the answers", lambda: answers.seen[-1] == {WEST.name}, 10)
        for name in names:
            trial.kubectl("exec", f"{EAST.name}:{name}", "--", "rm", "/tmp/unwell")
        wait_for("east returns", lambda: answers.seen[-1] == {EAST.name, WEST.name}, 40)
    assert len(answers.seen) == 3, f"flapping: {answers.seen}"


@contextlib.contextmanager
def cut_off(addresses: list[str]) -> Iterator[None]:
    """Whatever this machine would pass on to these addresses, or from them, is lost."""
    table = "hanse_test_cut"
    chains = "".join(
        f"chain {hook} {{ type filter hook {hook} priority -300; ip saddr {{ {', '.join(addresses)} }} drop; "
        f"ip daddr {{ {', '.join(addresses)} }} drop; }}\n"
        for hook in ("input", "output", "forward")
    )
    subprocess.run(["nft", "-f", "-"], input=f"table inet {table} {{\n{chains}}}\n", text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", table], check=True)


def test_a_cluster_that_is_cut_off_leaves_its_replicas_move_and_it_returns_once(trial: Trial) -> None:
    trial.kubectl("apply", "-f", "-", stdin=json.dumps(QUICK_FAILOVER))
    api = json.loads(trial.kubectl("get", "cluster", WEST.name, "-o", "json"))["spec"]["serverAddressByClientCIDRs"]
    lost = [*addresses(trial, WEST.name), api[0]["serverAddress"].removeprefix("https://").partition(":")[0]]
    with Answers(trial, servers(trial)[0]) as answers:
        with cut_off(lost):
            wait_for("west leaves the answers", lambda: answers.seen[-1] == {EAST.name}, 20)
            wait_for("its replicas run in east", lambda: trial.replicas()[EAST.name] == REPLICAS, 30)
        wait_for("west returns", lambda: answers.seen[-1] == {EAST.name, WEST.name}, 60)
        wait_for("replicas return", lambda: trial.replicas()[WEST.name] > 0, 30)
        wait_for("no more than wanted", lambda: sum(trial.replicas().values()) == REPLICAS, 30)
        time.sleep(3)  # so that what flaps is seen
    assert len(answers.seen) == 3, f"flapping: {answers.seen}"


def test_a_host_of_the_federation_dies_and_api_names_and_controllers_go_on(trial: Trial) -> None:
    lease = json.loads(trial.kubectl("get", "lease", "federation-controller-manager", "-n", "federation-system",
                                     "-o", "json"))  # fmt: skip
    leader = lease["spec"]["holderIdentity"].partition("_")[0]
    others = [host["address"] for host in hosts(trial) if host["name"] != leader]
    trial.provision("federation", "kill", trial.name, leader)
    try:
        wait_for("the API takes writes", lambda: api_writes(trial), 30)
        for server in others:
            assert Answers(trial, server).now() == {EAST.name, WEST.name}
        trial.kubectl("scale", "deployment/web", "--replicas=6")
        wait_for("another controller manager acts", lambda: sum(trial.replicas().values()) == 6, 60)
    finally:
        trial.provision("federation", "start", trial.name, leader)
    wait_for("the host is back", lambda: not any(host["faults"] for host in hosts(trial)), 60)


def hosts(trial: Trial) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(trial.federate("status", trial.name, "--json"))["hosts"]
    return found


def api_writes(trial: Trial) -> bool:
    try:
        trial.kubectl("annotate", "deployment/web", f"seen={time.monotonic()}", "--overwrite", "--request-timeout=5s")
    except TrialError:
        return False
    return True


def test_a_cluster_whose_nodes_are_stopped_leaves_the_answers(trial: Trial) -> None:
    with Answers(trial, servers(trial)[0]) as answers:
        for number in range(1, WEST.nodes + 1):
            trial.provision("machines", "kill", trial.cluster(WEST), f"{trial.cluster(WEST)}-{number}")
        wait_for("west leaves the answers", lambda: answers.seen[-1] == {EAST.name}, 20)
        wait_for("its replicas run in east", lambda: trial.replicas()[EAST.name] == 6, 30)
