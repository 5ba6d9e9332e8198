"""What the federation makes of `provision`'s output: progress as sentences, errors as its own, its last word."""

import json
import pathlib
import sys

import pytest

from federation.errors import FederateError, UnfitHostError, UnreachableError, WrongInputError
from federation.host import hosts
from federation.host.home import Description, Home
from federation.host.hosts import HostOptions
from federation.host.provisioning import as_error, listen, provision


def lines(*events: object) -> list[str]:
    return [event if isinstance(event, str) else json.dumps(event) for event in events]


def test_progress_is_told_and_the_last_other_event_is_returned() -> None:
    told: list[str] = []
    last = listen(
        lines(
            {"event": "phase-started", "at": 0.1, "phase": "Start etcd"},
            {"event": "line", "at": 1.0, "text": "restart etcd", "host": "m1"},
            {"event": "phase-ended", "at": 2.0, "phase": "Start etcd", "seconds": 1.9},
            "no JSON at all",
            {"event": "done", "changes": 3},
        ),
        told.append,
    )
    assert told == ["   1.0 s  m1: restart etcd", "   2.0 s  Start etcd (1.9 s)", "no JSON at all"]
    assert last == {"event": "done", "changes": 3}


@pytest.mark.parametrize(
    ("code", "kind"), [(1, FederateError), (2, WrongInputError), (3, UnfitHostError), (4, UnreachableError)]
)
def test_an_error_keeps_its_words_and_its_exit_code(code: int, kind: type[FederateError]) -> None:
    said = {"what": "the host is unfit", "why": "it swaps", "next_step": "Run swapoff.", "host": "m1"}
    error = as_error({"event": "error", "exit_code": code, **said})
    assert type(error) is kind
    assert error.exit_code == code
    assert str(error) == "m1: the host is unfit: it swaps. Run swapoff."


def test_every_fault_of_a_description_is_named_with_its_place() -> None:
    faults = [
        {"path": ["hosts", 1, "address"], "message": '"x" is not an IP address', "line": 3, "column": 7},
        {"path": [], "message": "the file is empty", "line": 0, "column": 0},
    ]
    error = as_error({"event": "error", "exit_code": 2, "source": "hosts.yaml", "faults": faults})
    assert error.what == "hosts.yaml is wrong"
    assert error.why == 'line 3: hosts[1].address: "x" is not an IP address; the file is empty'


def test_options_become_the_flags_of_the_same_name() -> None:
    assert HostOptions().arguments() == []
    assert HostOptions(nodes=3).arguments() == ["--provider=local", "--nodes=3"]
    told = HostOptions(hosts="192.0.2.1,192.0.2.2", accept_new_host_keys=True).arguments()
    assert told == ["--provider=static", "--hosts=192.0.2.1,192.0.2.2", "--accept-new-host-keys"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (HostOptions(nodes=4), "4 etcd members are an even number"),
        (HostOptions(hosts="192.0.2.1,192.0.2.1,192.0.2.3"), '"192.0.2.1" is already the address of hosts'),
        (HostOptions(inventory=pathlib.Path("/nowhere.yaml")), "it cannot be read: No such file"),
    ],
)
def test_what_the_provisioner_refuses_leaves_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, options: HostOptions, why: str
) -> None:
    monkeypatch.setenv("HANSE_HOME", str(tmp_path))
    home = Home("prod")
    with pytest.raises(WrongInputError) as caught:
        hosts.init(home, Description("prod", "fed.example.com", provider="local"), options, lambda _: None)
    assert why in caught.value.why
    assert not home.path.exists()
    assert not (tmp_path / "federation-hosts").exists()


def test_a_federation_that_was_never_laid_down_can_be_destroyed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANSE_HOME", str(tmp_path))
    home = Home("prod")
    home.write(Description("prod", "fed.example.com", provider="local"))
    told: list[str] = []
    hosts.destroy(home, told.append)
    assert told == ["no host was ever laid down for it"]
    assert not home.path.exists()


def test_a_federation_of_this_host_does_not_move(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSE_HOME", str(tmp_path))
    home = Home("prod")
    home.write(Description("prod", "fed.example.com"))
    with pytest.raises(WrongInputError, match="runs on this host"):
        hosts.init(home, Description("prod", "fed.example.com", provider="local"), HostOptions(nodes=1), print)
    assert home.read() == Description("prod", "fed.example.com")


def test_a_provisioner_that_says_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(FederateError, match="said nothing"):
        provision(["status", "x"], print)
