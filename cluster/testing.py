"""
A control plane for your tests: a pytest plugin that is there once Hanse is installed.

    def test_it(hanse_control_plane):
        client = connect(hanse_control_plane.kubeconfig)

`hanse_control_plane` is one for the whole run, `fresh_hanse_control_plane` an empty one for one test. Both are a
process beside the tests, `python -m cluster` in memory, which ends with them. `hanse_nodes = 2` in pytest's ini file,
or `--hanse-nodes=2`, gives them Ready Nodes without machines, so that Pods are bound and said to run.

Without pytest, `with control_plane() as plane:` does the same.
"""

import base64
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

START_SECONDS = 60.0
"""Patience with a start; it takes about one second."""
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """One that runs, and its administrator's credentials."""

    kubeconfig: Path
    url: str
    """https://127.0.0.1:PORT"""
    ca_file: Path
    """PEM of the CA that signed the server's certificate."""
    token: str = field(repr=False)
    """Bearer token of a user in the group system:masters."""


class StartError(Exception):
    """The control plane did not come up; the message ends with what it said."""


@contextlib.contextmanager
def control_plane(*, hollow_nodes: int = 0) -> Iterator[ControlPlane]:
    """An empty one, ready to serve, for the length of the block. Raises StartError."""
    with tempfile.TemporaryDirectory(prefix="hanse-test-") as folder, contextlib.ExitStack() as stack:
        kubeconfig, log = Path(folder, "kubeconfig"), Path(folder, "log")
        process = subprocess.Popen(
            [
                # -P: the tests' folder may hold a package `cluster` of its own.
                sys.executable, "-P", "-m", "cluster", "--secure-port=0", "--stop-on-eof",
                f"--kubeconfig-out={kubeconfig}", f"--hollow-nodes={hollow_nodes}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stack.enter_context(log.open("wb")),
        )  # fmt: skip
        try:
            _wait_ready(process, kubeconfig, log)
            yield _described(kubeconfig)
        finally:
            _stop(process)


def _wait_ready(process: "subprocess.Popen[bytes]", kubeconfig: Path, log: Path) -> None:
    """The kubeconfig is written, whole, when the server is ready."""
    deadline = time.monotonic() + START_SECONDS
    while not kubeconfig.exists():
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            what = f"ended with {process.returncode}" if ended else f"was not ready within {START_SECONDS:.0f} s"
            raise StartError(f"the control plane {what}: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.01)


def _described(kubeconfig: Path) -> ControlPlane:
    config = json.loads(kubeconfig.read_bytes())  # ours is JSON
    server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    ca_file = kubeconfig.with_name("ca.crt")
    ca_file.write_bytes(base64.b64decode(server["certificate-authority-data"]))
    return ControlPlane(kubeconfig, server["server"], ca_file, user["token"])


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "Ready Nodes without machines in the control planes of the fixtures hanse_control_plane"
    parser.addini("hanse_nodes", text, default="0")
    parser.getgroup("hanse").addoption("--hanse-nodes", type=int, default=None, help=text)


def _nodes(config: pytest.Config) -> int:
    given = config.getoption("--hanse-nodes")
    text = config.getini("hanse_nodes") if given is None else str(given)
    if not text.isdecimal():
        raise pytest.UsageError(f"hanse_nodes is {text!r}; give the number of nodes")
    return int(text)


@pytest.fixture(scope="session")
def hanse_control_plane(pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    """A control plane that all tests share."""
    with control_plane(hollow_nodes=_nodes(pytestconfig)) as plane:
        yield plane


@pytest.fixture
def fresh_hanse_control_plane(pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    """An empty control plane of the test's own; costs its start."""
    with control_plane(hollow_nodes=_nodes(pytestconfig)) as plane:
        yield plane
