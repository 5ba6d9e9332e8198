"""Snapshots: sealed so that nobody changes them unseen, named, kept; and what restoring one takes."""

import datetime as dt
import pathlib

import pytest

from inventory.sources.nspawn import local_cluster
from provisioner.actions.restore_etcd import BUMP, bump, check_snapshot, plan_restore, without_hosts
from provisioner.actions.restore_on_new_hosts import note_move, planned_move
from provisioner.errors import InventoryError
from provisioner.snapshots.keep import file_name, snapshots_in, surplus
from provisioner.snapshots.seal import PIECE, SealError, SnapshotLabel, ensure_key, label_of, opened, sealed
from provisioner.state import ClusterHome, ClusterRecord

KEY = bytes(range(32))
LABEL = SnapshotLabel("dev", 100, 7, "2026-03-01T12:00:00+00:00")


def write(path: pathlib.Path, content: bytes, step: int = 70_000) -> bytes:
    pieces = [content[at : at + step] for at in range(0, len(content), step)]
    path.write_bytes(b"".join(sealed(pieces, KEY, LABEL)))
    return path.read_bytes()


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 17])
def test_what_is_sealed_opens_as_it_was(tmp_path: pathlib.Path, size: int) -> None:
    content = bytes(at % 251 for at in range(size))
    written = write(tmp_path / "a", content)
    assert size < 16 or content[:1000] not in written
    assert b"".join(opened(tmp_path / "a", KEY)) == content


def test_a_snapshot_says_of_what_it_is(tmp_path: pathlib.Path) -> None:
    write(tmp_path / "a", b"x" * (PIECE + 9))
    assert label_of(tmp_path / "a", KEY) == LABEL


def test_one_of_another_cluster_is_refused_by_its_label(tmp_path: pathlib.Path) -> None:
    for name in ("dev", "prod"):
        home = ClusterHome(tmp_path, name)
        home.pki.mkdir(parents=True)
        (home.pki / "snapshot.key").write_bytes(KEY)
    write(tmp_path / "a", b"content")
    check_snapshot(ClusterHome(tmp_path, "dev"), tmp_path / "a")
    with pytest.raises(InventoryError, match=r"a is of another cluster: it was taken of dev, and this is prod"):
        check_snapshot(ClusterHome(tmp_path, "prod"), tmp_path / "a")


def test_another_key_does_not_open_it(tmp_path: pathlib.Path) -> None:
    write(tmp_path / "a", b"secret")
    with pytest.raises(SealError, match="another key"):
        list(opened(tmp_path / "a", bytes(32)))


def test_a_changed_byte_anywhere_is_noticed(tmp_path: pathlib.Path) -> None:
    whole = write(tmp_path / "a", b"x" * (PIECE + 500))
    for at in [*range(0, 60), len(whole) // 2, len(whole) - 600, len(whole) - 1]:
        changed = bytearray(whole)
        changed[at] ^= 1
        (tmp_path / "b").write_bytes(changed)
        with pytest.raises(SealError):
            list(opened(tmp_path / "b", KEY))


def test_a_part_is_not_taken_for_the_whole(tmp_path: pathlib.Path) -> None:
    whole = write(tmp_path / "a", b"x" * (2 * PIECE + 500))
    first_piece = 17 + 8 + 4 + PIECE + 16
    for length in [0, 10, 25, 27, 400, first_piece, first_piece + 2, len(whole) - 1]:
        (tmp_path / "b").write_bytes(whole[:length])
        with pytest.raises(SealError):
            list(opened(tmp_path / "b", KEY))
    (tmp_path / "b").write_bytes(whole + b"more")
    with pytest.raises(SealError):
        list(opened(tmp_path / "b", KEY))


def test_a_key_is_made_once_and_for_the_owner_alone(tmp_path: pathlib.Path) -> None:
    key = ensure_key(tmp_path / "key")
    assert len(key) == 32
    assert ensure_key(tmp_path / "key") == key
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_snapshots_are_found_oldest_first_and_the_oldest_go(tmp_path: pathlib.Path) -> None:
    start = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)
    for hours in (2, 0, 1):
        (tmp_path / file_name("dev-1", start + dt.timedelta(hours=hours), 100 + hours)).touch()
    (tmp_path / ".dev.snapshot.half").touch()
    (tmp_path / "other.snapshot").touch()

    found = snapshots_in(tmp_path)

    assert [one.revision for one in found] == [100, 101, 102]
    assert found[0].taken == start
    assert [one.revision for one in surplus(found, 2)] == [100]
    assert surplus(found, 9) == []
    assert [one.revision for one in surplus(found, 0)] == [100, 101]
    assert snapshots_in(tmp_path / "none") == []


def test_nothing_is_stopped_before_every_member_has_the_snapshot() -> None:
    spec = local_cluster("dev", 5, "10.89.0.0/24", "/key")
    plan = plan_restore(spec, "dev.snapshot", "one")
    ids = [action.id for action in plan]
    stop = next(action for action in plan if action.id == "control-plane/stop")
    assert set(stop.after) == {"dev-1/send", "dev-2/send", "dev-3/send"}
    assert ids.index("control-plane/stop") < ids.index("etcd/stop") < ids.index("dev-1/restore")
    assert next(action for action in plan if action.id == "etcd/start").after == (
        "dev-1/restore",
        "dev-2/restore",
        "dev-3/restore",
    )
    assert plan.digest != plan_restore(spec, "dev.snapshot", "two").digest


def test_revisions_never_go_back_however_often_the_same_snapshot_is_restored() -> None:
    first = 500 + bump(500, floor=700)
    assert first > 700
    second = 500 + bump(500, floor=first + 40)
    assert second > first + 40
    assert bump(900, floor=0) == BUMP


def test_hosts_that_are_given_up_are_no_part_of_what_is_restored() -> None:
    spec = local_cluster("dev", 3, "10.89.0.0/24", "/key")
    left = without_hosts(spec, ["dev-2", "dev-3"])
    assert {action.host for action in plan_restore(left, "a.snapshot", "one")} == {"", "dev-1"}
    with pytest.raises(InventoryError, match=r"dev-9 is no host"):
        without_hosts(spec, ["dev-9"])
    with pytest.raises(InventoryError, match=r"restore-on-new-hosts"):
        without_hosts(spec, ["dev-1", "dev-2", "dev-3"])


def test_a_move_is_the_same_until_it_has_come_to_its_end(tmp_path: pathlib.Path) -> None:
    home = ClusterHome(tmp_path, "dev")
    record = ClusterRecord(provider="static", inventory="old", roles={"a": ("node",)}, quorum_formed=True)
    (tmp_path / "new.yaml").write_text("hosts: []")
    move = planned_move(home, record, tmp_path / "new.yaml", tmp_path / "one.snapshot")
    assert (move.before, move.begun) == (record, False)
    assert (move.after.inventory, move.after.roles, move.after.quorum_formed) == ("hosts: []", {}, False)

    note_move(home, move, tmp_path / "new.yaml")
    again = planned_move(home, move.after, tmp_path / "new.yaml", tmp_path / "one.snapshot")
    assert (again.before, again.after, again.begun) == (move.before, move.after, True)
    other = planned_move(home, move.after, tmp_path / "new.yaml", tmp_path / "two.snapshot")
    assert not other.begun
    with pytest.raises(InventoryError, match=r"--inventory FILE"):
        planned_move(home, record, None, tmp_path / "one.snapshot")
