"""What `federate` refuses before it touches anything, and how it tells processes of its own from others'."""

import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from federation.__main__ import federate
from federation.errors import FederateError
from federation.host.control_plane import check_alive
from federation.host.home import Description, Home, checked_zone
from federation.host.processes import Processes, Service

SLEEP = Service("sleeper", (sys.executable, "-c", "import time; time.sleep(60)"))


@pytest.fixture(autouse=True)
def hanse_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HANSE_HOME", str(tmp_path / "hanse"))
    return tmp_path / "hanse"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("init", "prod"), "needs a DNS zone"),
        (("init", "Prod", "--dns-zone=a.b"), "is no name for a federation"),
        (("init", "../up", "--dns-zone=a.b"), "is no name for a federation"),
        (("init", "prod", "--dns-zone=a..b"), "is no DNS zone"),
        (("init", "prod", "--dns-zone=a.b", "--bind-address=here"), "is no address"),
        (("init", "prod", "--dns-zone=a.b", "--secure-port=0"), "0 is not in the range"),
        (
            ("init", "prod", "--dns-zone=a.b", "--dns-provider=post"),
            "'post' is not one of 'embedded', 'rfc2136'",
        ),
        (("init", "prod", "--dns-zone=a.b", "--dns-provider=rfc2136"), "needs --dns-server and --dns-key-file"),
        (("init", "prod", "--dns-zone=a.b", "--dns-server=192.0.2.1"), "belong to the DNS provider rfc2136"),
        (("status",), "there is no federation"),
        (("stop", "prod"), "there is no federation prod"),
        (("destroy", "prod"), "there is no federation prod"),
        (("destroy", ".."), "is no name for a federation"),
        (("kubeconfig", "prod"), "there is no federation prod"),
        (("cordon", "east"), "there is no federation"),
        (("taint", "east", "gpu"), "'gpu' is neither"),
        (("taint", "east", "gpu:Never"), "'gpu:Never' is neither"),
        (("taint", "east", "gpu=a b:NoSchedule"), "that is no taint"),
    ],
)
def test_wrong_input_is_told_and_makes_nothing(arguments: tuple[str, ...], said: str, hanse_home: Path) -> None:
    refused = CliRunner().invoke(federate, arguments)
    assert refused.exit_code == 2
    assert said in refused.output
    assert not list(hanse_home.glob("federations/[!.]*"))


def test_errors_are_json_for_scripts() -> None:
    refused = CliRunner().invoke(federate, ("status", "prod", "--json"))
    said = json.loads(refused.output)
    assert (said["exit_code"], said["what"]) == (2, "there is no federation prod")


def test_of_several_federations_one_has_to_be_named() -> None:
    for name in ("one", "two"):
        Home(name).write(Description(name, "a.b"))
    refused = CliRunner().invoke(federate, ("kubeconfig",))
    assert refused.exit_code == 2
    assert "one, two" in refused.output


def test_a_cluster_joins_by_a_kubeconfig_unless_an_agent_of_it_comes() -> None:
    Home("here").write(Description("here", "a.b"))
    refused = CliRunner().invoke(federate, ("join", "east"))
    assert (refused.exit_code, "there is no --kubeconfig" in refused.output) == (2, True)


def test_zones_are_written_in_one_way() -> None:
    assert checked_zone("Fed.Example.com.") == "fed.example.com"


def test_a_process_is_started_once_and_stopped(tmp_path: Path) -> None:
    processes = Processes(tmp_path / "run")
    assert processes.start(SLEEP)
    try:
        first = processes.running("sleeper")
        assert first is not None
        assert not processes.start(SLEEP)
        # Other arguments are another process.
        assert processes.start(Service("sleeper", (*SLEEP.argv, "more")))
        second = processes.running("sleeper")
        assert second is not None
        assert second.pid != first.pid
    finally:
        assert processes.stop("sleeper")
    assert processes.running("sleeper") is None
    assert not processes.stop("sleeper")


def test_a_pid_that_became_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "sleeper.pid").write_text(json.dumps({"pid": os.getpid(), "started": 1.0, "argv": []}))
    processes = Processes(tmp_path)
    assert processes.running("sleeper") is None
    assert not processes.stop("sleeper")
    for damaged in ("", "{}", '{"pid": "x", "started": 1}', "[]"):
        (tmp_path / "sleeper.pid").write_text(damaged)
        assert processes.running("sleeper") is None


async def test_a_service_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    processes = Processes(tmp_path / "run")
    processes.start(Service("short", (sys.executable, "-c", "raise SystemExit('--zone is wrong')")))
    processes.start(SLEEP)
    try:
        with pytest.raises(FederateError, match="short ended right after its start: --zone is wrong"):
            await check_alive(processes, ["sleeper", "short"])
        await check_alive(processes, [])
    finally:
        processes.stop("sleeper")
