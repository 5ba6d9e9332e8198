"""An operator's machine and one small cluster: commands, and what is asked of the world after them."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.state import ClusterHome
from tests.kill_points.blows import Blow, Ended, run_until

ROOT = Path(__file__).parents[2]
_LEFT_ON_HOSTS = r"""
find /opt/hanse /etc/kubernetes /etc/systemd/system /var/lib/hanse /etc/cni /etc/containerd -xdev \
  \( -name '*.partial' -o -name '*.part' -o -name '*.new' -o -name '*.tmp' -o -name '.ansible*' -o -name '.hanse*' \
  -o -name 'taking.db' -o -name 'restoring.db' -o -name '*.hanse-*' \) 2>/dev/null
find /var/lib/etcd -maxdepth 1 \( -name restoring -o -name '*.part' \) 2>/dev/null
find /root/.ansible /tmp /var/tmp -mindepth 1 -path '*ansible*' 2>/dev/null
flock -n /run/hanse-provision.lock true || echo /run/hanse-provision.lock is held
ps -eo args | grep -e 'ansible' -e 'hanse_agent' | grep -v grep
true
"""


@dataclass(frozen=True, slots=True)
class Site:
    """Where it lies, and what it is called."""

    home: Path
    name: str

    @property
    def state(self) -> ClusterHome:
        return ClusterHome(self.home, self.name)

    @property
    def env(self) -> dict[str, str]:
        programs = Path(sys.executable).parent
        return {
            "HANSE_HOME": str(self.home),
            "KUBECONFIG": str(self.home / "merged-kubeconfig"),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        }

    def provision(self, *arguments: str, blow: Blow | None = None, trace: Path | None = None) -> Ended:
        env = {**self.env, **({"PROVISION_FAILPOINT": f"trace={trace}"} if trace else {})}
        return run_until([sys.executable, "-m", "provisioner", *arguments], env, blow, self.home)

    def must(self, *arguments: str) -> Ended:
        done = self.provision(*arguments)
        assert done.code == 0, f"provision {' '.join(arguments)} ended with {done.code}: {done.err}{done.out}"
        return done

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        argv = [str(Path(sys.executable).parent / "kubectl"), f"--kubeconfig={self.state.kubeconfig}", *arguments]
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=120, check=False, env={"HOME": str(self.home)}
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def objects(self, *arguments: str) -> list[dict[str, Any]]:
        return list(json.loads(self.kubectl("get", *arguments, "-o", "json"))["items"])

    def status(self) -> dict[str, Any]:
        done = self.provision("status", self.name, "--json")
        return dict(json.loads(done.out.splitlines()[-1])) if done.out else {"healthy": False, "why": done.err}

    def on_host(self, address: str, script: str) -> str:
        home = self.state
        argv = ["ssh", "-i", str(home.ssh_key), f"-oUserKnownHostsFile={home.known_hosts}", "-oConnectTimeout=5"]
        done = subprocess.run(
            [*argv, f"root@{address}", "sh", "-s"],
            input=script,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{address}: {done.stderr}"
        return done.stdout

    def left_on_hosts(self) -> list[str]:
        return [
            f"{host['name']}: {line}"
            for host in self.status()["hosts"]
            for line in self.on_host(host["address"], _LEFT_ON_HOSTS).splitlines()
        ]

    def left_here(self) -> list[str]:
        """Half-written files, and processes and folders of runs that are over."""
        folders = [self.state.path, self.home / "cache"]
        skipped = ("machines", "releases", "layers") if self.state.path.exists() else ("layers",)
        found = [
            str(path.relative_to(self.home))
            for folder in folders
            if folder.exists()
            for path in _below(folder, skipped)
            if _is_half(path)
        ]
        return found + [str(path) for path in Path("/dev/shm").glob("hanse-ansible-*") if self._left_by_ours(path)]

    def _left_by_ours(self, folder: Path) -> bool:
        """A folder of Ansible's whose run is over. Other clusters may be worked on meanwhile."""
        hosts = folder / "hosts.json"
        try:
            ours = f'"{self.name}-1"' in hosts.read_text()
        except OSError:
            return False
        return ours and not Path("/proc", folder.name.split("-")[2]).exists()

    def members(self) -> list[tuple[str, bool]]:
        """Name of each member of etcd, and whether it is a learner."""
        host = next(host for host in self.status()["hosts"] if "etcd" in host["roles"])
        pki = "/etc/kubernetes/pki/etcd"
        said = self.on_host(
            host["address"],
            f"/opt/hanse/current/bin/etcdctl --endpoints=https://127.0.0.1:2379 --cacert={pki}/ca.crt "
            f"--cert={pki}/healthcheck-client.crt --key={pki}/healthcheck-client.key member list -w json",
        )
        return sorted((one.get("name", ""), one.get("isLearner", False)) for one in json.loads(said)["members"])


def _below(folder: Path, skipped: tuple[str, ...]) -> list[Path]:
    found = []
    for path in folder.iterdir():
        if path.name in skipped or path.name.startswith("machine-"):
            continue
        found.append(path)
        if path.is_dir() and not path.is_symlink():
            found += _below(path, skipped)
    return found


def _is_half(path: Path) -> bool:
    endings = (".part", ".partial", ".new", ".tmp")
    begun = path.name.startswith(".") or path.name.startswith("building-")
    return path.name.endswith(endings) or begun or path.name in ("restoring.json", "joining.json", "changing.json")
