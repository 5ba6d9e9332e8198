"""
A federation to try on one machine: two local clusters in two regions, and a web application that is created once.

`python -m federation.trial [NAME]` is `make federation`. It uses the commands that people use, and kubectl; running it
again changes nothing. Taken away by `federate destroy NAME` and `provision destroy` of both clusters.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NODE_PORT = 30080
REPLICAS = 4
PATIENCE = 90.0  # seconds until the application serves from both clusters
APPLICATION: tuple[dict[str, Any], ...] = (
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 2,
                    "containers": [
                        {
                            "name": "web",
                            "image": "hanse.local/web:1",
                            "ports": [{"containerPort": 80}],
                            # So that a copy can be made unwell: `kubectl exec … -- touch /tmp/unwell`.
                            "readinessProbe": {
                                "exec": {"command": ["test", "!", "-e", "/tmp/unwell"]},  # noqa: S108
                                "periodSeconds": 1,
                                "failureThreshold": 1,
                            },
                        }
                    ],
                },
            },
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {
            "type": "NodePort",
            "selector": {"app": "web"},
            "ports": [{"port": 80, "nodePort": NODE_PORT}],
        },
    },
)


def hanse_home() -> Path:
    """$HANSE_HOME, else ~/.hanse."""
    given = os.environ.get("HANSE_HOME", "")
    return Path(given).expanduser().absolute() if given else Path.home() / ".hanse"


class TrialError(Exception):
    """A command failed; what it said is in the message."""


@dataclass(frozen=True, slots=True)
class Region:
    """One local cluster."""

    name: str
    nodes: int

    @property
    def zone(self) -> str:
        return f"{self.name}-a"


REGIONS = (Region("east", 3), Region("west", 2))


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """
    One federation with its clusters.

    Raises TrialError from whatever runs a command.
    """

    name: str = "demo"
    zone: str = "fed.example.com"
    hosts: int = 0
    """Local machines that serve the federation; 0: this machine does."""
    secure_port: int = 7443
    dns_port: int = 10053
    """Of this machine, when it serves the federation."""
    home: Path = field(default_factory=hanse_home)
    """What HANSE_HOME is for every command."""
    tell: Callable[[str], None] = print

    @property
    def kubeconfig(self) -> Path:
        """The federation's."""
        return self.home / "federations" / self.name / "kubeconfig"

    @property
    def service_name(self) -> str:
        """What the application is called in DNS."""
        return f"web.default.{self.name}.svc.{self.zone}"

    def cluster(self, region: Region) -> str:
        return f"{self.name}-{region.name}"

    def up(self) -> None:
        """All of it: clusters and federation at once, then members and application."""
        with ThreadPoolExecutor() as pool:
            for done in [*(pool.submit(self.make_cluster, one) for one in REGIONS), pool.submit(self.make_federation)]:
                done.result()
        for region in REGIONS:
            self.join(region)
        self.create_application()

    def make_cluster(self, region: Region) -> None:
        self.provision(
            "cluster", self.cluster(region), f"--nodes={region.nodes}", f"--region={region.name}",
            f"--zone={region.zone}", "--no-merge",
        )  # fmt: skip
        self.tell(f"cluster {self.cluster(region)} of {region.nodes} nodes is ready")

    def make_federation(self) -> None:
        where = (
            [f"--nodes={self.hosts}"]
            if self.hosts
            else [f"--secure-port={self.secure_port}", f"--dns-port={self.dns_port}"]
        )
        self.federate("init", self.name, f"--dns-zone={self.zone}", *where)
        self.tell(f"federation {self.name} is ready")

    def join(self, region: Region) -> None:
        config = self.home / "clusters" / self.cluster(region) / "kubeconfig"
        self.federate("join", region.name, f"--kubeconfig={config}", f"--federation={self.name}")
        self.tell(f"cluster {region.name} is a member")

    def create_application(self) -> None:
        self.kubectl("apply", "--server-side", "-f", "-", stdin="\n---\n".join(json.dumps(one) for one in APPLICATION))
        self.wait("every member serves the application", lambda: self.serving() == {one.name for one in REGIONS})

    def destroy(self) -> None:
        """What there is of it."""
        if (self.home / "federations" / self.name).exists():
            self.federate("destroy", self.name)
        there = [one for one in map(self.cluster, REGIONS) if (self.home / "clusters" / one).exists()]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda cluster: self.provision("destroy", cluster), there))

    # What is seen of it.

    def serving(self) -> set[str]:
        """Regions that the name answers for, as the federation wrote them down."""
        records = json.loads(self.federate("dns", "status", f"--federation={self.name}", "--json"))["records"]
        return {
            target["cluster"]
            for record in records
            if record["name"] == self.service_name
            for target in record["targets"]
            if target.get("cluster")
        }

    def name_servers(self) -> list[tuple[str, int]]:
        if not self.hosts:
            return [("127.0.0.1", self.dns_port)]
        found = json.loads(self.federate("status", self.name, "--json"))["hosts"]
        return [(host["address"], 53) for host in found]

    def replicas(self) -> dict[str, int]:
        """Region -> ready Pods of the application there, as the federation's API shows them."""
        pods = json.loads(self.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
        found = {region.name: 0 for region in REGIONS}
        for pod in pods:
            ready = any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
            if ready and "deletionTimestamp" not in pod["metadata"]:
                found[pod["metadata"]["labels"]["federation.hanse.io/cluster"]] += 1
        return found

    def wait(self, what: str, holds: Callable[[], bool], seconds: float = PATIENCE) -> float:
        """Seconds until it held. Raises TrialError when it does not."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > seconds:
                raise TrialError(f"{what}: not within {seconds:g} s; `federate status {self.name}` tells more")
            time.sleep(0.3)
        return time.monotonic() - began

    # How commands are run.

    def provision(self, *arguments: str) -> str:
        return self._run([sys.executable, "-P", "-m", "provisioner", *arguments])

    def federate(self, *arguments: str) -> str:
        return self._run([sys.executable, "-P", "-m", "federation", *arguments])

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        beside = Path(sys.executable).with_name("kubectl")
        return self._run([str(beside) if beside.exists() else "kubectl", f"--kubeconfig={self.kubeconfig}", *arguments],
                         stdin)  # fmt: skip

    def _run(self, argv: Sequence[str], stdin: str = "") -> str:
        try:
            environment = {**os.environ, "HANSE_HOME": str(self.home)}
            done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, env=environment)
        except FileNotFoundError as fault:
            raise TrialError(f"{argv[0]} is not installed: {fault}") from fault
        if done.returncode != 0:
            raise TrialError(f"`{' '.join(argv)}` ended with {done.returncode}:\n{done.stderr}{done.stdout}")
        return done.stdout


def main(argv: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m federation.trial", description=__doc__)
    parser.add_argument("name", nargs="?", default="demo")
    parser.add_argument("--hosts", type=int, default=0, help="local machines that serve it: 1 or 3; 0: this machine")
    given = parser.parse_args(None if argv is None else list(argv))
    began = time.monotonic()
    trial = Trial(
        name=given.name,
        hosts=given.hosts,
        tell=lambda line: print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True),  # noqa: T201
    )
    try:
        trial.up()
        address, port = trial.name_servers()[0]
        for line in (
            trial.kubectl("get", "clusters").rstrip(), "", trial.kubectl("get", "pods", "-o", "wide").rstrip(), "",
            f"export KUBECONFIG={trial.kubeconfig}", "", f"{trial.service_name} is answered by {address} port {port}.",
            f"`federate board {trial.name}` prints the address of its web page, and a token for it.",
        ):  # fmt: skip
            print(line)  # noqa: T201
    except TrialError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
