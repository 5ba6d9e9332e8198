"""
Hosts that are not as they should be, operators that are cut off, and a cluster on hosts of somebody's own.

Two plain machines stand for hosts that exist already: they were not made for the cluster, and nothing of it may stay
on them.
"""

import asyncio
import contextlib
import dataclasses
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from inventory.model import ClusterSpec
from inventory.sources.nspawn import local_cluster
from provisioner.machines import nspawn
from provisioner.machines.nspawn import NspawnMachines
from provisioner.machines.nspawn_process import inits
from provisioner.machines.subnets import choose_subnet
from provisioner.state import ClusterHome
from tests.machines.conftest import BIN, Done, Operator, run, wait_for

OTHER = "other"
SNAPSHOT = r"""
ip -br link | sed 's/[@ ].*//'; ip -4 -br address show host0 | awk '{print $3, $4}'
awk '$2 !~ "^(/tmp|/var/tmp|/run/cred)" {print "mount", $2}' /proc/mounts
ps -eo args | grep -e '^/opt/hanse' -e '^/pause' -e containerd | grep -v grep
find / -xdev \( -path /proc -o -path /sys -o -path /tmp -o -path /run -o -path /var/log -o -path /var/tmp \) -prune \
  -o -print
find /run /var/lib /var/log -not -path '/run/[cs]*' -not -path '/run/udev*' -not -path '/var/log/journal*'
cut -d: -f1 /etc/passwd /etc/group; ip rule; ip route show table all; find /sys/fs/cgroup -name 'kubepods*'
"""


MANIFEST = r"""
python3 - <<'END'
import hashlib, os, stat
skipped = ("/proc", "/sys", "/dev", "/tmp", "/run", "/var/tmp", "/var/log", "/root/.ssh")
for folder, folders, files in os.walk("/"):
    folders[:] = sorted(one for one in folders if os.path.join(folder, one) not in skipped)
    for name in sorted(files + folders):
        path = os.path.join(folder, name)
        found = os.lstat(path)
        content = ""
        if stat.S_ISLNK(found.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(found.st_mode):
            with open(path, "rb") as file:
                content = hashlib.sha256(file.read()).hexdigest()
        print(f"{path} {found.st_mode:o} {found.st_uid}:{found.st_gid} {content}")
END
"""
KEPT_BY_THE_SYSTEM = (
    "/etc/passwd- ", "/etc/group- ", "/etc/shadow- ", "/etc/gshadow- ",  # useradd's copies of what was before
    "/var/lib/containerd 4",  # a mount of the host's own: containerd closes it to others, and the mount stays
    "/var/lib/systemd/", "/etc/.pwd.lock ", "/var/cache/ldconfig/",
)  # fmt: skip
"""What Debian writes by itself, in its own time, or keeps of a user who came and went."""


@dataclasses.dataclass
class Hosts:
    """Plain machines, and what a person has who owns such: a key and a file that lists them."""

    spec: ClusterSpec
    machines: NspawnMachines
    home: ClusterHome

    def write_inventory(self, path: pathlib.Path, *, key: str = "", more: str = "") -> str:
        lines = [f"  - {{name: {host.name}, address: {host.address}}}" for host in self.spec.hosts]
        path.write_text("\n".join([f"ssh: {{key: {key or self.home.ssh_key}}}", "hosts:", *lines, more, ""]))
        return str(path)

    def sh(self, number: int, script: str) -> str:
        host = self.spec.hosts[number]
        argv = ["ssh", "-i", str(self.home.ssh_key), f"-oUserKnownHostsFile={self.home.known_hosts}"]
        done = run([*argv, f"root@{host.address}", "sh", "-s"], stdin=script, timeout=60)
        assert done.code == 0, done.err
        return done.out

    def root(self, number: int) -> pathlib.Path:
        return self.home.machines / self.spec.hosts[number].name / "root"

    def await_boot(self, number: int) -> None:
        argv = ["ssh", "-i", str(self.home.ssh_key), f"-oUserKnownHostsFile={self.home.known_hosts}"]
        argv += ["-oConnectTimeout=2", f"root@{self.spec.hosts[number].address}", "systemctl is-system-running --wait"]
        wait_for("the machine answers", lambda: "ing" in run(argv).out + "|", 30)
        wait_for("sshd answers", lambda: run([*argv[:-1], "true"]).code == 0, 30)


@pytest.fixture(scope="module")
def person(operator: Operator) -> Iterator[Operator]:
    """Another operator on this machine, who shares nothing with the story's but the cache."""
    home = operator.home.with_name(f"{operator.home.name}-trouble")
    home.mkdir(parents=True, exist_ok=True)
    (operator.home / "cache").mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (home / "cache").symlink_to(operator.home / "cache")
    other = dataclasses.replace(operator, home=home)
    remove_remains(other)
    yield other
    remove_remains(other)
    shutil.rmtree(home)


def remove_remains(person: Operator) -> None:
    """Also of a run of these tests that was cut off."""
    person.provision("destroy", OTHER, "--forget-unreachable")
    plain = ClusterHome(person.home, "plain")
    asyncio.run(NspawnMachines(plain, "10.89.255.0/24").destroy(print))  # the journal knows; no subnet is looked at
    plain.remove()


@pytest.fixture(scope="module")
def hosts(person: Operator) -> Iterator[Hosts]:
    home = ClusterHome(person.home, "plain")
    subnet = choose_subnet(("10.96.0.0/16", "10.244.0.0/16"))
    spec = local_cluster("plain", 2, subnet, str(home.ssh_key))
    machines = NspawnMachines(home, subnet, share_releases=False)
    try:
        asyncio.run(machines.create(spec.hosts, print))
        made = Hosts(spec, machines, home)
        for number in range(2):
            made.await_boot(number)
        yield made
    finally:
        asyncio.run(machines.destroy(print))


@pytest.fixture
def inventory(hosts: Hosts, tmp_path: pathlib.Path) -> str:
    return hosts.write_inventory(tmp_path / "hosts.yaml")


def static(person: Operator, inventory: str, *more: str) -> Done:
    return person.provision("cluster", OTHER, "--provider", "static", "--inventory", inventory, *more)


def assert_told(done: Done, code: int, *said: str) -> None:
    assert done.code == code, f"exit code {done.code}: {done.err}{done.out}"
    for words in said:
        assert words in done.err, done.err
    assert "Traceback" not in done.err


def test_a_host_that_nobody_vouches_for_is_refused_with_its_fingerprint(person: Operator, inventory: str) -> None:
    done = static(person, inventory)

    assert_told(done, 4, "plain-1: the host's key is not known", "plain-2: ", "SHA256:", "--accept-new-host-keys")
    assert not (person.home / "clusters" / OTHER).exists(), "nothing was made, so nothing is remembered"


def test_a_changed_host_key_ends_it_before_anything_is_sent(person: Operator, hosts: Hosts, inventory: str) -> None:
    home = ClusterHome(person.home, OTHER)
    home.make()
    stranger = nspawn.ensure_key(person.home / "stranger")
    home.known_hosts.write_text("".join(f"{host.address} {stranger}\n" for host in hosts.spec.hosts))
    logins = "journalctl -u ssh -o cat | grep -c -e Accepted -e Failed -e 'authenticating user' || true"
    before = hosts.sh(0, logins)
    try:
        done = static(person, inventory, "--accept-new-host-keys")
    finally:
        home.remove()

    assert_told(done, 4, "the host's key has changed", "pinned is SHA256:", "else do not go on")
    assert int(hosts.sh(0, logins)) == int(before) + 1, "only our own look at the log has logged in"


def test_a_wrong_key_and_a_host_that_is_away_are_told_together(
    person: Operator, hosts: Hosts, tmp_path: pathlib.Path
) -> None:
    nspawn.ensure_key(tmp_path / "wrong")
    away = hosts.spec.hosts[0].address.rpartition(".")[0] + ".77"
    file = hosts.write_inventory(
        tmp_path / "h.yaml", key=str(tmp_path / "wrong"), more=f"  - {{name: away, address: {away}}}"
    )

    done = static(person, file, "--accept-new-host-keys")

    assert_told(done, 4, "plain-1: the host does not let us in", "Check `ssh.user` and `ssh.key`", "plain-2: ",
                f"away: no answer: {away}:22", "TCP 22 is open")  # fmt: skip


def test_all_that_is_wrong_with_all_hosts_is_told_before_the_first_change(
    person: Operator, hosts: Hosts, inventory: str
) -> None:
    hosts.sh(0, "mkdir -p /opt/hanse/releases && mount -t tmpfs -o size=8m none /opt/hanse/releases")
    hosts.sh(1, "nohup python3 -m http.server 10250 >/dev/null 2>&1 & echo $! > /run/stranger; sleep 1")
    try:
        done = static(person, inventory, "--accept-new-host-keys")
        planned = static(person, inventory, "--accept-new-host-keys", "--dry-run")
    finally:
        hosts.sh(0, "umount /opt/hanse/releases && rm -r /opt/hanse")
        hosts.sh(1, "kill $(cat /run/stranger); rm /run/stranger")

    for told in (done, planned):
        assert_told(told, 3, "plain-1: the host is unfit: /opt/hanse/releases has 8 MB free", "Make 1024 MB free",
                    "plain-2: the host is unfit: port 10250 of kubelet is taken by python3")  # fmt: skip
    assert not (person.home / "clusters" / OTHER / "pki").exists()
    assert "/etc/kubernetes" not in hosts.sh(0, "find /etc -name 'kube*'")


def test_a_host_without_python_is_told_with_the_unfit_others(person: Operator, hosts: Hosts, inventory: str) -> None:
    hosts.sh(0, "cd /usr/bin && for f in python3*; do mv $f hidden-$f; done")
    hosts.sh(1, "mv /usr/bin/zstd /usr/bin/hidden-zstd")
    try:
        done = static(person, inventory, "--accept-new-host-keys")
    finally:
        hosts.sh(0, "cd /usr/bin && for f in hidden-*; do mv $f ${f#hidden-}; done")
        hosts.sh(1, "mv /usr/bin/hidden-zstd /usr/bin/zstd")

    assert_told(done, 3, "plain-1: the host cannot run our helper", "apt-get install python3",
                "plain-2: the host is unfit: it lacks zstd", "apt-get install zstd")  # fmt: skip


@pytest.fixture(scope="module")
def bare(hosts: Hosts) -> list[list[str]]:
    """What is on the hosts before a cluster came."""
    return [sorted(set(hosts.sh(number, SNAPSHOT).splitlines())) for number in range(2)]


@pytest.fixture(scope="module")
def manifests(hosts: Hosts) -> list[set[str]]:
    """Path, mode, owner and content of every file before a cluster came."""
    return [manifest(hosts, number) for number in range(2)]


def manifest(hosts: Hosts, number: int) -> set[str]:
    found = hosts.sh(number, MANIFEST).splitlines()
    assert len(found) > 1000
    return {line for line in found if not line.startswith(KEPT_BY_THE_SYSTEM)}


def test_a_run_is_killed_while_the_bundle_is_sent(
    person: Operator, hosts: Hosts, bare: list[list[str]], manifests: list[set[str]], inventory: str
) -> None:
    """The next test goes on from what this one leaves."""
    argv = [str(BIN / "provision"), "cluster", OTHER, "--inventory", inventory, "--accept-new-host-keys"]
    environment = {**os.environ, **person.env}
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as cut:
        assert cut.stderr is not None
        assert any("Check the hosts (" in line for line in cut.stderr)
        time.sleep(0.5)
        cut.kill()

    left = wait_for("the stream has ended there", lambda: hosts.sh(0, "ls /opt/hanse/releases"), 10)
    assert left.endswith(".partial\n"), left


def test_hosts_of_ones_own_become_a_cluster_once(
    person: Operator, hosts: Hosts, bare: list[list[str]], inventory: str
) -> None:
    made = static(person, inventory, "--accept-new-host-keys")
    assert made.code == 0, made.err
    kubectl = [person.kubectl_binary, f"--kubeconfig={person.home}/clusters/{OTHER}/kubeconfig"]
    assert run([*kubectl, "get", "nodes"]).out.count(" Ready ") == 2

    again = person.provision("cluster", OTHER, "--provider", "static")
    assert (again.code, again.out) == (0, f"Nothing to do: cluster {OTHER} is as described.\n"), again.err

    # Something that lives on the hosts when the cluster is taken away.
    run([*kubectl, "create", "deployment", "web", "--image=hanse.local/web:1", "--replicas=2"])
    ready = "jsonpath={.status.readyReplicas}"
    wait_for("pods run", lambda: run([*kubectl, "get", "deployment", "web", "-o", ready]).out == "2", 30)


def test_a_second_operator_is_told_while_the_first_changes_hosts(
    person: Operator, hosts: Hosts, inventory: str
) -> None:
    """The first one's lock is held on a host by what they run there; ours notices, whoever they are."""
    holder = (
        "import fcntl,time; f=open('/run/hanse-provision.lock','w'); fcntl.flock(f,2); f.write('eve@desk'); f.flush()"
    )
    hosts.sh(1, f'nohup python3 -c "{holder}; time.sleep(60)" >/dev/null 2>&1 & echo $! > /run/holder; sleep 0.5')
    hosts.sh(1, "systemctl stop cluster-dns")
    try:
        done = person.provision("cluster", OTHER, "--provider", "static")
    finally:
        hosts.sh(1, "kill $(cat /run/holder); rm /run/holder")
    assert_told(done, 1, "plain-2: another operator changes this host", "eve@desk", "Wait until that run ends")

    healed = person.provision("cluster", OTHER, "--provider", "static")
    assert healed.code == 0, healed.err


def test_destroy_cleans_the_living_and_names_the_dead(person: Operator, hosts: Hosts, bare: list[list[str]]) -> None:
    hosts.machines.kill("plain-1")

    done = person.provision("destroy", OTHER)

    assert_told(done, 4, "1 of 2 hosts are not cleaned", "plain-1: no answer", "--forget-unreachable")
    assert "plain-2" not in done.err.rpartition("Error:")[2]
    assert left_on(hosts, 1, bare) == []


def test_a_host_that_was_let_go_is_byte_for_byte_as_it_was(hosts: Hosts, manifests: list[set[str]]) -> None:
    assert sorted(manifests[1] ^ manifest(hosts, 1)) == []


def test_the_dead_host_is_cleaned_when_it_is_back(person: Operator, hosts: Hosts, bare: list[list[str]]) -> None:
    refused = person.provision("cluster", OTHER, "--provider", "static")
    assert_told(refused, 1, f"cluster {OTHER} is half removed", f"provision destroy {OTHER}")
    hosts.machines.start("plain-1")
    hosts.await_boot(0)

    done = person.provision("destroy", OTHER)

    assert done.code == 0, done.err
    assert left_on(hosts, 0, bare) == []
    assert not (person.home / "clusters" / OTHER).exists()
    mine = [line for line in run(["ps", "-eo", "args"]).out.splitlines() if "hanse-ansible" in line]
    assert mine == []


def left_on(hosts: Hosts, number: int, bare: list[list[str]]) -> list[str]:
    """Hosts need no `nft`, so it is asked from here."""
    (process,) = inits(hosts.root(number))
    tables = run(["nsenter", f"--target={process}", "--net", "nft", "list", "tables"])
    assert tables.code == 0, tables.err
    found = hosts.sh(number, SNAPSHOT).splitlines()
    assert found
    return [line for line in found if line not in bare[number]] + tables.out.splitlines()
