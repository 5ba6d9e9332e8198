"""What the operator's side keeps: kubeconfig entries, the journal, the lock."""

import pathlib
import stat

import pytest

from provisioner import kubeconfig
from provisioner.errors import ProvisionError
from provisioner.journal import Journal
from provisioner.state import ClusterHome, ClusterRecord, LockedError


def config(name: str, server: str) -> kubeconfig.Config:
    return {
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": {"token": "t"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def test_merging_keeps_other_clusters_and_what_we_do_not_know(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(kubeconfig.to_bytes({**config("work", "https://w"), "preferences": {"colors": True}}))

    changed = kubeconfig.merge_into_file(path, config("hanse-dev", "https://d"))

    merged = kubeconfig.read(path)
    assert changed
    assert [c["name"] for c in merged["clusters"]] == ["work", "hanse-dev"]
    assert merged["preferences"] == {"colors": True}
    assert merged["current-context"] == "hanse-dev"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_merging_twice_writes_once(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "deep" / "config"

    assert kubeconfig.merge_into_file(path, config("hanse-dev", "https://d"))
    assert not kubeconfig.merge_into_file(path, config("hanse-dev", "https://d"))


def test_a_new_server_replaces_our_own_entry() -> None:
    merged = kubeconfig.merge(config("hanse-dev", "https://old"), config("hanse-dev", "https://new"))

    assert merged["clusters"] == [{"name": "hanse-dev", "cluster": {"server": "https://new"}}]


def test_removing_leaves_the_others() -> None:
    both = kubeconfig.merge(config("work", "https://w"), config("hanse-dev", "https://d"))

    rest = kubeconfig.without(both, "hanse-dev")

    assert [c["name"] for c in rest["contexts"]] == ["work"]
    assert rest["current-context"] == ""


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "just words"])
def test_a_file_that_is_no_kubeconfig_is_left_alone(tmp_path: pathlib.Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)

    with pytest.raises(ProvisionError, match="cannot merge into"):
        kubeconfig.merge_into_file(path, config("hanse-dev", "https://d"))

    assert path.read_text() == content


def test_the_journal_remembers_the_value_from_before_the_first_run(tmp_path: pathlib.Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.will_make("sysctl", "ip_forward", before="0")
    journal.will_make("sysctl", "ip_forward", before="1")

    assert [made.before for made in journal.entries()] == ["0"]


def test_a_journal_line_cut_short_by_a_crash_is_left_out(tmp_path: pathlib.Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.will_make("bridge", "br0")
    with (tmp_path / "journal").open("a") as file:
        file.write('{"kind": "mach')

    assert [made.name for made in journal.entries()] == ["br0"]


def test_removed_things_leave_the_journal(tmp_path: pathlib.Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.will_make("bridge", "br0")
    journal.will_make("machine", "dev-1")

    journal.has_removed("machine", "dev-1")

    assert [made.kind for made in journal.entries()] == ["bridge"]


def test_two_runs_on_one_cluster_are_told_of_each_other(tmp_path: pathlib.Path) -> None:
    home = ClusterHome(tmp_path, "dev")

    with home.lock(), pytest.raises(LockedError, match="being changed by another run"), home.lock():
        pass
    with home.lock():
        pass


def test_what_a_killed_run_had_half_written_goes_with_the_next_lock(tmp_path: pathlib.Path) -> None:
    home = ClusterHome(tmp_path, "dev")
    keys = home.pki / "hosts" / "dev-1"
    keys.mkdir(parents=True)
    half, whole = keys / ".scheduler.crt.jyaqvr8w", keys / "scheduler.crt"
    machine = home.machines / "dev-1" / ".profile.abcdefgh"
    machine.parent.mkdir(parents=True)
    for path in (half, whole, machine):
        path.write_text("x")

    with home.lock():
        pass

    assert [path.exists() for path in (half, whole, machine)] == [False, True, True]


def test_a_record_is_read_as_it_was_written(tmp_path: pathlib.Path) -> None:
    home = ClusterHome(tmp_path, "dev")
    record = ClusterRecord(provider="local", nodes=5, subnet="10.89.0.0/24")

    home.write_record(record)

    assert home.read_record() == record
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700


def test_a_cluster_that_was_never_made_has_no_record(tmp_path: pathlib.Path) -> None:
    assert ClusterHome(tmp_path, "dev").read_record() is None
