"""
Runs that are cut off at any moment, and what such runs could give away.

One cluster of one machine: each run is ended in another phase than the one before, the next goes on, and the last
finds a second operator turned away and leaves a cluster. All that runs and all that is written meanwhile is searched
for private keys.
"""

import base64
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.machines.conftest import BIN, Operator, leftovers, run

NAME = "trouble"


class Listeners:
    """Remembers every argument and environment of every process of this machine and those on it."""

    def __init__(self) -> None:
        self.heard: set[bytes] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> "Listeners":
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._ended.set()
        self._thread.join()

    def _listen(self) -> None:
        while not self._ended.wait(0.1):
            for process in pathlib.Path("/proc").iterdir():
                if process.name.isdigit():
                    with contextlib.suppress(OSError):  # ended meanwhile
                        self.heard.add((process / "cmdline").read_bytes())
                        self.heard.add((process / "environ").read_bytes())


@dataclasses.dataclass
class Story:
    """The runs so far."""

    person: Operator
    said: list[str] = dataclasses.field(default_factory=list)

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(BIN / "provision"), "cluster", NAME, "--nodes", "1"],
            env={**os.environ, **self.person.env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hear(self, process: subprocess.Popen[str], ended_phase: str) -> None:
        """Until the run says that a phase has ended."""
        assert process.stderr is not None
        for line in process.stderr:
            self.said.append(line)
            if re.search(rf"  {ended_phase} \(", line):
                return
        pytest.fail(f"the run ended before {ended_phase}: {''.join(self.said[-8:])}")

    def end(self, process: subprocess.Popen[str]) -> int:
        assert process.stderr is not None
        self.said += process.stderr.readlines()
        process.stderr.close()
        return process.wait(60)


@pytest.fixture(scope="module")
def before_all() -> dict[str, list[str]]:
    return leftovers()


@pytest.fixture(scope="module")
def listeners() -> Iterator[Listeners]:
    with Listeners() as all_ears:
        yield all_ears


@pytest.fixture(scope="module")
def story(operator: Operator, listeners: Listeners, before_all: dict[str, list[str]]) -> Iterator[Story]:
    home = operator.home.with_name(f"{operator.home.name}-cut-off")
    home.mkdir(parents=True, exist_ok=True)
    (operator.home / "cache").mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (home / "cache").symlink_to(operator.home / "cache")
    person = dataclasses.replace(operator, home=home)
    person.provision("destroy", NAME)
    yield Story(person)
    gone = person.provision("destroy", NAME)
    assert gone.code in (0, 2), gone.err  # else the journal says what is left, and stays
    shutil.rmtree(home)


@pytest.mark.parametrize(
    ("phase", "seconds"),
    [
        pytest.param("Issue certificates", 0.1, id="while machines are made"),
        pytest.param("Check the hosts", 1.5, id="while Ansible runs"),
    ],
)
def test_ctrl_c_ends_a_run_with_a_sentence(story: Story, phase: str, seconds: float) -> None:
    process = story.start()
    story.hear(process, phase)
    time.sleep(seconds)

    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    code = story.end(process)

    assert code == 130, "".join(story.said[-10:])
    assert story.said[-1] == "Stopped. The same command goes on where it was.\n"
    assert time.monotonic() - asked < 5


def test_ctrl_c_removed_nothing_that_the_next_run_needs(story: Story) -> None:
    done = story.person.provision("destroy", NAME)

    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("phase", "seconds"),
    [
        pytest.param("Issue certificates", 0.15, id="while machines are made"),
        pytest.param("Issue certificates", 0.4, id="while the release is unpacked"),
        pytest.param("Check the hosts", 1.5, id="while files are laid down"),
        pytest.param("Lay down files", 0.1, id="while etcd starts"),
        pytest.param("Start etcd", 0.2, id="while the control plane starts"),
    ],
)
def test_a_killed_run_is_gone_on_with(story: Story, phase: str, seconds: float) -> None:
    process = story.start()
    story.hear(process, phase)
    time.sleep(seconds)

    process.kill()

    assert story.end(process) == -signal.SIGKILL


def test_the_last_run_makes_the_cluster_and_lets_nobody_in_between(story: Story) -> None:
    process = story.start()
    story.hear(process, "Look at what is there")

    process.send_signal(signal.SIGSTOP)  # so that it cannot be done before the other one has looked
    try:
        second = story.person.provision("cluster", NAME)
    finally:
        process.send_signal(signal.SIGCONT)
    code = story.end(process)

    assert (second.code, "is being changed by another run" in second.err) == (1, True), second.err
    assert "Wait until it ends, then run again." in second.err
    assert code == 0, "".join(story.said[-20:])
    kubeconfig = story.person.home / "clusters" / NAME / "kubeconfig"
    nodes = run([story.person.kubectl_binary, f"--kubeconfig={kubeconfig}", "get", "nodes"])
    assert nodes.out.count(" Ready ") == 1, nodes.out + nodes.err
    again = story.person.provision("cluster", NAME)
    assert (again.code, again.out) == (0, f"Nothing to do: cluster {NAME} is as described.\n"), again.err


def planned(text: str) -> list[str]:
    """What is said about the first host's files and units, without the time in front."""
    return sorted(
        f"change {path}" if path else f"restart {unit}"
        for path, units in re.findall(rf"{NAME}-1: (?:change (.*)|restart (.*))", text)
        for unit in units.split(", ")
    )


def test_a_dry_run_says_what_the_run_then_does_and_touches_nothing(story: Story) -> None:
    root = story.person.home / "clusters" / NAME / "machines" / f"{NAME}-1" / "root"
    edited, unit = root / "etc/kubernetes/scheduler.conf", root / "etc/systemd/system/kube-proxy.service"
    wanted = unit.read_text()
    edited.write_text(edited.read_text() + "# by hand\n")
    unit.write_text(wanted.replace("HANSE_INPUTS=", "HANSE_INPUTS=0"))
    command = ("cluster", NAME, "--nodes", "2")  # with a worker beside it, the master gets a taint

    plan = story.person.provision(*command, "--dry-run")

    assert plan.code == 0, plan.err
    assert {
        "change /etc/kubernetes/scheduler.conf",
        "change /etc/systemd/system/kube-proxy.service",
        "change /etc/systemd/system/kubelet.service",
        "restart kubelet",
    } <= set(planned(plan.out))
    assert "restart kube-proxy" not in planned(plan.out), "it runs from what the mended file says"
    assert edited.read_text().endswith("# by hand\n")
    assert unit.read_text() != wanted
    done = story.person.provision(*command)
    assert done.code == 0, done.err
    assert unit.read_text() == wanted
    assert planned(done.err) == planned(plan.out)


def canaries(folder: pathlib.Path) -> list[str]:
    """Lines of every private key's body, and of the whole file as it is sent in JSON or a kubeconfig."""
    found = []
    for path in (*folder.glob("pki/**/*.key"), folder / "ssh" / "id_ed25519"):
        body = [line for line in path.read_text().splitlines() if len(line) > 40 and "PRIVATE" not in line]
        # OpenSSH's form starts with what all keys have in common and the public half.
        found += body[2:3] if path.name == "id_ed25519" else body[:2]
        found.append(base64.b64encode(path.read_bytes()).decode()[60:130])
    assert len(found) > 20
    return found


def test_no_key_is_in_any_file_output_or_argument(story: Story, listeners: Listeners, tmp_path: pathlib.Path) -> None:
    folder = story.person.home / "clusters" / NAME
    secrets = canaries(folder)
    (tmp_path / "canaries").write_text("\n".join(secrets) + "\n")

    # Keys belong in pki/, ssh/ and kubeconfigs; a machine's disk is its host's, whose keys lie in pki/ as well.
    skipped = ["pki", "root", "proc", "sys", "releases"]
    names = ["kubeconfig", "admin.conf", "merged-kubeconfig", "id_ed25519"]
    found = run(
        ["grep", "-rlFf", str(tmp_path / "canaries"), *(f"--exclude-dir={name}" for name in skipped),
         *(f"--exclude={name}" for name in names), str(story.person.home)]
    )  # fmt: skip

    assert (found.out, found.code) == ("", 1), found.err
    said = "".join(story.said)
    assert [secret for secret in secrets if secret in said] == []
    heard = b"\n".join(listeners.heard)
    assert b"ansible-playbook" in heard, "the runs were overheard"
    assert [secret for secret in secrets if secret.encode() in heard] == []


def test_nothing_of_the_runs_is_left_beside_the_cluster(story: Story) -> None:
    assert list(pathlib.Path("/dev/shm").glob("hanse-ansible-*")) == []
    assert "hanse-ansible-" not in run(["ps", "-eo", "args"]).out


def test_a_cluster_of_so_many_runs_is_taken_away_whole(story: Story, before_all: dict[str, list[str]]) -> None:
    done = story.person.provision("destroy", NAME)

    assert done.code == 0, done.err
    after = leftovers()
    for kind, was in before_all.items():
        left = [entry for entry in after[kind] if entry not in was]
        assert [entry for entry in left if NAME in entry or "cut-off" in entry] == [], f"{kind} are left"
