"""
Masters come, go and are replaced under fifty writes a second: none that was acknowledged is lost, whatever is killed.

A cluster of its own, three masters and a worker. The tests tell one story.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.machines.conftest import BIN, Done, Operator, long_run, run, wait_for
from tests.machines.writes import writing

pytestmark = long_run
NAME = "masters"


@dataclasses.dataclass
class Masters:
    """The operator, and the cluster of this story."""

    person: Operator

    @property
    def kubeconfig(self) -> pathlib.Path:
        return self.person.home / "clusters" / NAME / "kubeconfig"

    def provision(self, *args: str) -> Done:
        return self.person.provision(*args)

    def try_kubectl(self, *args: str) -> Done:
        return run([self.person.kubectl_binary, f"--kubeconfig={self.kubeconfig}", *args])

    def kubectl(self, *args: str) -> str:
        done = self.try_kubectl(*args)
        assert done.code == 0, done.err
        return done.out

    def node(self, name: str) -> Any:
        return json.loads(self.kubectl("get", "node", name, "-o", "json"))

    def names(self, label: str = "node-role.kubernetes.io/control-plane") -> list[str]:
        """Of masters, in the order in which they were numbered."""
        told = json.loads(self.kubectl("get", "nodes", "-l", label, "-o", "json"))
        return sorted((item["metadata"]["name"] for item in told["items"]), key=lambda one: int(one.rpartition("-")[2]))

    def on(self, name: str, script: str) -> str:
        """What a shell on that machine says."""
        home = self.person.home / "clusters" / NAME
        addresses = self.node(name)["status"]["addresses"]
        [address] = [one["address"] for one in addresses if one["type"] == "InternalIP"]
        argv = ["ssh", "-i", str(home / "ssh" / "id_ed25519"), f"-oUserKnownHostsFile={home / 'known_hosts'}"]
        done = run([*argv, f"root@{address}", "sh", "-s"], stdin=script, timeout=60)
        assert done.code == 0, done.err
        return done.out

    def leader(self) -> str:
        told = self.provision("etcd", "status", NAME).out.splitlines()
        return next(line.split()[0] for line in told if "leader, healthy" in line)

    def die(self, name: str) -> None:
        """Its power is cut; returns when the cluster has noticed."""
        assert self.provision("machines", "kill", NAME, name).code == 0
        # Not one call: the virtual address may be on its way from the machine that died.
        gone = ("wait", "--for=condition=Ready=Unknown", f"node/{name}", "--timeout=5s")
        wait_for(f"node {name} is unknown", lambda: self.try_kubectl(*gone).code == 0, 120)

    def runbook(self, page: str, node: str) -> Done:
        env = {**self.person.env, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        settings = [f"--set=CLUSTER={NAME}", f"--set=NODE={node}"]
        return run([str(BIN / "provision"), "runbook", "run", page, *settings], env=env, timeout=500)

    def killed_at(self, place: str, *args: str) -> int:
        env = {**os.environ, **self.person.env, "PROVISION_FAILPOINT": f"{place}=kill"}
        argv = [str(BIN / "provision"), *args]
        return subprocess.run(argv, env=env, capture_output=True, timeout=600, check=False).returncode

    def is_as_described(self) -> None:
        again = self.provision("cluster", NAME)
        assert "Nothing to do" in again.out, again.out + again.err
        wait_for("all is healthy", lambda: self.provision("status", NAME).code == 0, 60)


@pytest.fixture(scope="module")
def masters(operator: Operator) -> Iterator[Masters]:
    person = Masters(operator)
    person.provision("destroy", NAME)
    done = person.provision("cluster", NAME, "--nodes", "4", "--masters", "3", "--no-merge")
    assert done.code == 0, done.err
    yield person
    person.provision("destroy", NAME)


def test_the_first_master_is_dead_and_replaced(masters: Masters) -> None:
    first = masters.names()[0]
    masters.die(first)
    refused = masters.runbook("replace_master", f"{NAME}-4")
    assert f"Node {NAME}-4 is no master" in refused.err

    with writing(masters.kubeconfig) as writes:
        done = masters.runbook("replace_first_master", first)

    assert done.code == 0, done.err + done.out
    assert (writes.lost, first in masters.names(), len(masters.names())) == ([], False, 3)
    masters.is_as_described()
    print(f"first master replaced in {done.seconds:.1f} s, longest gap of writes {writes.longest_gap:.2f} s")


def test_a_dead_leader_of_etcd_is_replaced(masters: Masters) -> None:
    leader = masters.leader()
    masters.die(leader)

    with writing(masters.kubeconfig) as writes:
        done = masters.runbook("replace_master", leader)

    assert done.code == 0, done.err + done.out
    assert (writes.lost, leader in masters.names(), len(masters.names())) == ([], False, 3)
    masters.is_as_described()
    print(f"leader replaced in {done.seconds:.1f} s, longest gap of writes {writes.longest_gap:.2f} s")


def test_a_living_master_is_replaced_however_often_the_run_is_killed(masters: Masters) -> None:
    leader = masters.leader()
    new = f"{NAME}-{max(int(name.rpartition('-')[2]) for name in masters.names('kubernetes.io/hostname')) + 1}"
    command = ("nodes", "replace", NAME, leader)

    with writing(masters.kubeconfig) as writes:
        for place in (
            f"did {new}/machine", f"begun {new}/files", f"did etcd/add {new}", f"begun {new}/etcd",
            f"did etcd/promote {new}", f"did {leader}/stop", f"did {leader}/lead", f"did etcd/remove {leader}",
            f"did {leader}/revoke", "begun clients", f"begun {leader}/clean", f"did {leader}/clean",
        ):  # fmt: skip
            assert masters.killed_at(place, *command) == -9, place
            other = masters.provision("nodes", "add", NAME)
            assert "Run `provision nodes replace" in other.err
        done = masters.provision(*command)

    assert done.code == 0, done.err + done.out
    assert writes.lost == []
    assert (leader in masters.names(), new in masters.names()) == (False, True)
    masters.is_as_described()
    print(f"replaced by thirteen runs, longest gap of writes {writes.longest_gap:.2f} s")


def test_three_become_one_and_three_again(masters: Masters) -> None:
    leader = masters.leader()
    going = [leader, next(name for name in masters.names() if name != leader)]
    even = masters.provision("nodes", "remove", NAME, leader)
    assert (even.code, "2 etcd members are an even number" in even.err) == (2, True), even.err

    with writing(masters.kubeconfig) as writes:
        fewer = masters.provision("nodes", "remove", NAME, *going)
        assert fewer.code == 0, fewer.err
        assert len(masters.names()) == 1
        masters.is_as_described()
        more = masters.provision("nodes", "add", NAME, "--control-plane", "--count", "2")

    assert more.code == 0, more.err
    assert writes.lost == []
    assert len(masters.names()) == 3
    masters.is_as_described()
    print(f"shrunk in {fewer.seconds:.1f} s, grown in {more.seconds:.1f} s, longest gap {writes.longest_gap:.2f} s")


def test_a_removal_that_would_cost_the_quorum_is_refused(masters: Masters) -> None:
    dead, *alive = masters.names()
    masters.die(dead)
    try:
        done = masters.provision("nodes", "replace", NAME, alive[0])
    finally:
        assert masters.provision("machines", "start", NAME, dead).code == 0

    assert f"etcd takes nobody in while {dead} is a member and does not answer" in done.err
    wait_for("all is healthy", lambda: masters.provision("status", NAME).code == 0, 90)
    masters.is_as_described()
