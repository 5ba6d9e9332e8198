"""Another key for Secrets at rest: which files masters see in which order, whatever was cut off before."""

import itertools
import pathlib
import stat

import pytest

from cluster.pki import encryption_config
from cluster.store import encryption_config as served
from inventory.sources.nspawn import local_cluster
from provisioner.actions.plan_key_rotation import plan_key_rotation, target_of
from provisioner.actions.restore_etcd import plan_restore
from provisioner.errors import InventoryError, ProvisionError
from provisioner.phases import encryption_keys as keys_file
from provisioner.phases.encryption_keys import make_key, newer_name, parse_keys, read_keys, write_keys

KEYS = tuple(make_key(name) for name in ("key1", "key2", "key10"))


def ids(keys: list[str], target: str, *, behind: bool = False) -> list[str]:
    return [action.id for action in plan_key_rotation("dev", keys, target, behind=behind)]


def steps(*names: str) -> list[str]:
    return [part for name in names for part in ((f"{name}/key", f"{name}/files", f"{name}/gate"))]


@pytest.mark.parametrize(
    ("keys", "target", "behind", "wanted"),
    [
        (["key1"], "key2", False, [*steps("add", "use"), "rewrite", *steps("drop")]),
        (["key1", "key2"], "key2", False, [*steps("add", "use"), "rewrite", *steps("drop")]),
        (["key2", "key1"], "key2", False, [*steps("use"), "rewrite", *steps("drop")]),
        (["key2"], "key2", True, steps("drop")),
        (["key2", "key1"], "key1", False, [*steps("add", "use"), "rewrite", *steps("drop")]),
        (["key1", "key2"], "key1", False, [*steps("use"), "rewrite", *steps("drop")]),
    ],
)
def test_what_is_left(keys: list[str], target: str, behind: bool, wanted: list[str]) -> None:
    assert ids(keys, target, behind=behind) == wanted


def test_no_master_ever_seals_what_another_cannot_open() -> None:
    """Between two gates masters have the file from before or the one after."""
    plan = plan_key_rotation("dev", ["key1"], "key2", behind=False)
    files = [("key1",)] + [
        tuple(change.after.split(", ")) for action in plan for change in action.changes if action.id.endswith("/key")
    ]
    assert files == [("key1",), ("key1", "key2"), ("key2", "key1"), ("key2",)]
    for before, after in itertools.pairwise(files[:-1]):
        assert before[0] in after
        assert after[0] in before or after[0] == before[0]


@pytest.mark.parametrize(
    ("keys", "back", "target"),
    [
        (["key1"], False, ""),
        (["key1", "key2"], False, "key2"),
        (["key10", "key9"], False, "key10"),
        (["key10", "key9"], True, "key9"),
    ],
)
def test_the_way_forth_is_to_the_youngest_key_and_back_to_the_oldest(keys: list[str], back: bool, target: str) -> None:
    assert target_of(keys, back=back) == target


def test_there_is_nothing_to_take_back_when_there_is_one_key() -> None:
    with pytest.raises(InventoryError, match="no rotation"):
        target_of(["key1"], back=True)


def test_the_file_says_the_same_to_us_and_to_the_apiserver(tmp_path: pathlib.Path) -> None:
    write_keys(tmp_path, KEYS)
    content = (tmp_path / encryption_config.FILE).read_bytes()
    assert read_keys(tmp_path) == KEYS
    assert served.load(content, "file").keys() == {"secrets"}
    assert stat.S_IMODE((tmp_path / encryption_config.FILE).stat().st_mode) == 0o600
    assert parse_keys(encryption_config.make_encryption_config(), "file")[0].name == "key1"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"secretbox", b"aesgcm"),
        (b"[secrets]", b"[secrets, configmaps]"),
        (b"key1", b"mine"),
        (b"key1", b"key2"),
        (b"  - identity: {}\n", b""),
        (b"resources:\n", b"things:\n"),
        (b"kind", b"\tkind"),
    ],
)
def test_a_file_that_somebody_takes_care_of_is_left_alone(old: bytes, new: bytes) -> None:
    content = encryption_config.render([(key.name, key.secret) for key in KEYS]).replace(old, new, 1)
    with pytest.raises(ProvisionError, match="by hand") as told:
        parse_keys(content, "file")
    assert all(key.secret not in str(told.value) for key in KEYS)


def test_names_count_up_over_keys_that_were_dropped(tmp_path: pathlib.Path) -> None:
    keys_file.retire(tmp_path, KEYS[:1])
    keys_file.retire(tmp_path, KEYS[2:])
    assert sorted(keys_file.retired_names(tmp_path)) == ["key1", "key10"]
    assert newer_name(["key2", *keys_file.retired_names(tmp_path)]) == "key11"
    assert KEYS[0].secret not in repr(KEYS[0])
    assert stat.S_IMODE((tmp_path / keys_file.RETIRED).stat().st_mode) == 0o600


def test_a_snapshot_from_before_is_opened_with_what_was_dropped_since(tmp_path: pathlib.Path) -> None:
    keys_file.retire(tmp_path, KEYS[:1])
    assert [key.name for key in keys_file.with_retired(tmp_path, KEYS[1:])] == ["key2", "key10", "key1"]
    spec = local_cluster("dev", 3, "10.89.0.0/24", "/key")
    plan = {action.id: action for action in plan_restore(spec, "a.snap", "r", dropped_keys=["key1"])}
    assert "control-plane/keys" in plan["control-plane/start"].after
    assert "control-plane/keys" not in {action.id for action in plan_restore(spec, "a.snap", "r")}
