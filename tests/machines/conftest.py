"""
A real cluster of five machines on this one, made once a session by the command that users type.

The tests of this folder run in the order of their file names and of their lines: they tell one story, and the last
one takes the cluster away and looks for what is left.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from provisioner.bundle import debian

ROOT = pathlib.Path(__file__).parents[2]
BIN = ROOT / ".venv" / "bin"
WEB = "hanse.local/web:1"
"""An image that every node has: a web server, a shell, curl."""
NAME = os.environ.get("HANSE_TEST_CLUSTER", "story")
# Set while working on one test: the cluster of the last run is converged again and kept.
KEEP = bool(os.environ.get("HANSE_TEST_KEEP"))


long_run = pytest.mark.skipif(not os.environ.get("HANSE_LONG"), reason="takes minutes: `make soak` runs it")
"""For what waits for clocks of minutes."""


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str
    seconds: float


def run(argv: list[str], *, env: dict[str, str] | None = None, stdin: str = "", timeout: float = 300) -> Done:
    started = time.monotonic()
    done = subprocess.run(
        argv,
        env={**os.environ, **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - started)


def wait_for(what: str, probe: Callable[[], Any], seconds: float) -> Any:
    """The first true answer of `probe`; fails with what was waited for, and the last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds:.0f} s; last answer {answer!r}")
        time.sleep(0.5)
    return answer


@dataclasses.dataclass
class Operator:
    """A person at the keyboard: their state, their commands, their kubectl."""

    home: pathlib.Path
    kubectl_binary: str

    @property
    def env(self) -> dict[str, str]:
        return {"HANSE_HOME": str(self.home), "KUBECONFIG": str(self.home / "merged-kubeconfig")}

    @property
    def kubeconfig(self) -> pathlib.Path:
        return self.home / "clusters" / NAME / "kubeconfig"

    def provision(self, *args: str, timeout: float = 600) -> Done:
        return run([str(BIN / "provision"), *args], env=self.env, timeout=timeout)

    def try_kubectl(self, *args: str, stdin: str = "", timeout: float = 120) -> Done:
        argv = [self.kubectl_binary, f"--kubeconfig={self.kubeconfig}", *args]
        return run(argv, stdin=stdin, timeout=timeout, env={"HOME": str(self.home)})

    def kubectl(self, *args: str, stdin: str = "", timeout: float = 120) -> str:
        done = self.try_kubectl(*args, stdin=stdin, timeout=timeout)
        assert done.code == 0, f"kubectl {' '.join(args)} ended with {done.code}: {done.err}{done.out}"
        return done.out

    def get(self, *args: str) -> Any:
        return json.loads(self.kubectl("get", *args, "-o", "json"))


def carry_out(cluster: Operator, name: str, **variables: str) -> Done:
    """A runbook's mitigation, as an operator has it carried out."""
    settings = [f"--set={key}={value}" for key, value in {"CLUSTER": NAME, **variables}.items()]
    # The page's commands are found where the operator finds them.
    env = {**cluster.env, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return run([str(BIN / "provision"), "runbook", "run", name, *settings], env=env, timeout=400)


def address_of(node: Any) -> str:
    [address] = [one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"]
    return str(address)


def on_host(cluster: Operator, number: int, script: str, *, address: str = "") -> str:
    """What a shell on one of the machines says; where it is is asked of the API unless it is given."""
    home = cluster.home / "clusters" / NAME
    address = address or address_of(cluster.get("node", f"{NAME}-{number}"))
    argv = ["ssh", "-i", str(home / "ssh" / "id_ed25519"), f"-oUserKnownHostsFile={home / 'known_hosts'}"]
    done = run([*argv, f"root@{address}", "sh", "-s"], stdin=script, timeout=60)
    assert done.code == 0, done.err
    return done.out


def leftovers() -> dict[str, list[str]]:
    """What a cluster could leave on this machine, by kind; compared before and after."""
    processes = [
        line.strip()
        for line in run(["ps", "-eo", "args"]).out.splitlines()
        # A process that has ended and waits for init to take note holds nothing any more.
        if ("systemd-nspawn" in line or "/opt/hanse" in line) and "<defunct>" not in line
    ]
    return {
        "links": sorted(line.split()[0] for line in run(["ip", "-br", "link"]).out.splitlines()),
        "nft": sorted(run(["nft", "list", "tables"]).out.splitlines()),
        "mounts": sorted(line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines()),
        "processes": sorted(processes),
    }


@pytest.fixture(scope="session")
def before() -> dict[str, list[str]]:
    return leftovers()


@pytest.fixture(scope="session")
def operator(tmp_path_factory: pytest.TempPathFactory, before: dict[str, list[str]]) -> Iterator[Operator]:
    if os.geteuid() != 0:
        pytest.skip("machines need root: run as root")
    # Below /var: overlays do not stack on the overlay or tmpfs that /tmp may be. The cache is the user's own.
    home = pathlib.Path(os.environ.get("HANSE_TEST_HOME", "/var/tmp/hanse-test-home"))
    home.mkdir(parents=True, exist_ok=True)
    person = Operator(home, str(BIN / "kubectl"))
    if not KEEP:
        person.provision("destroy", NAME)
    yield person
    if not KEEP:
        person.provision("destroy", NAME)


@pytest.fixture(scope="session")
def cluster(operator: Operator) -> Operator:
    """The operator, with five machines that are a cluster."""
    done = operator.provision("cluster", NAME, "--nodes", "5", timeout=900)
    assert done.code == 0, f"provision cluster ended with {done.code}:\n{done.err}\n{done.out}"
    return operator


@pytest.fixture(scope="session")
def debian_kubectl(tmp_path_factory: pytest.TempPathFactory) -> str:
    """kubectl 1.32 as Debian 13 ships it, unpacked for these tests alone."""
    folder = pathlib.Path("/var/tmp/hanse-test-home/cache/kubectl-debian")
    binary = folder / "usr/bin/kubectl"
    if not binary.exists():
        debian.unpack_packages({"trixie": ("kubectl",)}, tmp_path_factory.mktemp("apt"), folder)
    return str(binary)


@pytest.fixture(scope="module", params=["1.37", "1.32"])
def person(request: pytest.FixtureRequest, cluster: Operator) -> Operator:
    if request.param == "1.37":
        return cluster
    return dataclasses.replace(cluster, kubectl_binary=request.getfixturevalue("debian_kubectl"))


@pytest.fixture(scope="module")
def namespace(person: Operator) -> Iterator[str]:
    name = f"people-{uuid.uuid4().hex[:6]}"
    person.kubectl("create", "namespace", name)
    yield name
    person.kubectl("delete", "namespace", name, "--timeout=60s", timeout=90)


def pod_names(person: Operator, namespace: str, label: str = "app=web") -> list[str]:
    return [p["metadata"]["name"] for p in person.get("pods", "-n", namespace, "-l", label)["items"]]
