"""Subnets of local machines: no two clusters get the same, also when they are made at the same time."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from provisioner.machines import subnets
from provisioner.machines.subnets import choose_subnet
from provisioner.state import FEDERATION, ClusterHome, ClusterRecord


@pytest.fixture(autouse=True)
def no_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subnets, "_routed", lambda: ["10.89.0.0/24"])


def test_two_runs_at_once_get_two_subnets(tmp_path: pathlib.Path) -> None:
    chosen = tmp_path / "chosen"
    assert choose_subnet((), chosen) == "10.89.1.0/24"
    assert choose_subnet(("10.89.2.0/23",), chosen) == "10.89.4.0/24"
    assert json.loads(chosen.read_text()).keys() == {"10.89.1.0/24", "10.89.4.0/24"}


def test_what_a_dead_run_chose_is_free(tmp_path: pathlib.Path) -> None:
    chosen = tmp_path / "chosen"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    chosen.write_text(json.dumps({"10.89.1.0/24": [ended.pid, 1.0], "10.89.2.0/24": [os.getpid(), 1.0]}))
    assert choose_subnet((), chosen) == "10.89.1.0/24"
    assert list(json.loads(chosen.read_text())) == ["10.89.1.0/24"]


@pytest.mark.parametrize("scrap", ["{", "[]", '{"10.89.1.0/24": 3}'])
def test_a_file_that_was_cut_short_hinders_nobody(tmp_path: pathlib.Path, scrap: str) -> None:
    chosen = tmp_path / "chosen"
    chosen.write_text(scrap)
    assert choose_subnet((), chosen) == "10.89.1.0/24"


def test_clusters_that_do_not_run_keep_theirs(tmp_path: pathlib.Path) -> None:
    ClusterHome(tmp_path, "one").write_record(ClusterRecord(provider="local", nodes=1, subnet="10.89.1.0/24"))
    ClusterHome(tmp_path, "one", kind=FEDERATION).write_record(ClusterRecord(provider="local", subnet="10.89.2.0/24"))
    ClusterHome(tmp_path, "far").write_record(ClusterRecord(provider="static", inventory="x", inventory_name="f"))
    assert ClusterHome(tmp_path, "two").subnets_of_others() == ["10.89.1.0/24", "10.89.2.0/24"]
    assert ClusterHome(tmp_path, "one").subnets_of_others() == ["10.89.2.0/24"]
