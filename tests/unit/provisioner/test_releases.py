"""Which release a cluster stays on, and what goes forward and back."""

import json
import pathlib
import shutil

import pytest

from provisioner.bundle.build import Bundle
from provisioner.errors import InventoryError, ProvisionError
from provisioner.releases import (
    begin_upgrade,
    bundle_of,
    earlier_release,
    end_upgrade,
    find_bundle,
    keep_release,
    recorded_bundle,
)
from provisioner.state import ClusterHome


def home_in(folder: pathlib.Path) -> ClusterHome:
    home = ClusterHome(folder / "home", "dev")
    home.make()
    return home


def release(folder: pathlib.Path, digest: str) -> Bundle:
    archive = folder / f"{digest}.tar.zst"
    archive.write_bytes(digest.encode())
    return Bundle(digest, archive, len(digest), "sum", "1.36.2")


def test_a_cluster_stays_on_its_release_when_another_one_is_installed_and_says_so(tmp_path: pathlib.Path) -> None:
    home = home_in(tmp_path)
    first = release(tmp_path, "first")
    keep_release(home, first)
    first.archive.unlink()
    said: list[str] = []

    found = bundle_of(home, said.append)

    assert (found.digest, found.archive.read_bytes()) == ("first", b"first")
    assert "stays on its release first" in said[0]
    assert "provision upgrade dev" in said[0]


def test_a_half_upgraded_cluster_is_not_converged_by_anything_else(tmp_path: pathlib.Path) -> None:
    home = home_in(tmp_path)
    keep_release(home, release(tmp_path, "first"))
    begin_upgrade(home, release(tmp_path, "second"))

    with pytest.raises(ProvisionError, match="half upgraded") as told:
        bundle_of(home, print)

    assert "--to second" in told.value.next_step
    assert "--to first" in told.value.next_step
    assert earlier_release(home) == "first"
    end_upgrade(home)
    assert (recorded_bundle(home) or release(tmp_path, "none")).digest == "first"


def test_two_archives_stay_and_the_earlier_one_can_be_gone_back_to(tmp_path: pathlib.Path) -> None:
    home = home_in(tmp_path)
    with pytest.raises(InventoryError, match="no earlier release"):
        earlier_release(home)
    for digest in ("first", "second", "third", "third"):
        keep_release(home, release(tmp_path, digest))

    assert earlier_release(home) == "second"
    assert sorted(path.name for path in (home.path / "bundle").iterdir()) == ["second.tar.zst", "third.tar.zst"]
    assert find_bundle(home, "second", {}).archive.read_bytes() == b"second"


def test_a_release_that_all_hosts_have_needs_no_archive(tmp_path: pathlib.Path) -> None:
    home = home_in(tmp_path)
    keep_release(home, release(tmp_path, "first"))
    shutil.rmtree(home.path / "bundle")

    assert find_bundle(home, "first", {"first": "1.36.2"}).kubernetes == "1.36.2"
    assert find_bundle(home, "older", {"older": "1.35.0"}).kubernetes == "1.35.0"
    with pytest.raises(InventoryError, match="there is no release first"):
        find_bundle(home, "first", {})


def test_a_note_that_cannot_be_read_is_told(tmp_path: pathlib.Path) -> None:
    home = home_in(tmp_path)
    for content in ("", "[]", json.dumps({"current": {"digest": "x"}})):
        (home.path / "release.json").write_text(content)
        with pytest.raises(ProvisionError, match="cannot read"):
            recorded_bundle(home)
