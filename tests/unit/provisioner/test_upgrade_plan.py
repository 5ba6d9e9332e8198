"""In which order hosts get a release, and which releases may follow which."""

import dataclasses
import hashlib
import itertools
import json
import pathlib
import subprocess
import tarfile

import pytest

from inventory.sources.nspawn import local_cluster
from provisioner.actions.plan_upgrade import batches, check_skew, plan_upgrade
from provisioner.actions.upgrade import is_upgraded
from provisioner.bundle.build import Bundle
from provisioner.bundle.files import export_bundle, import_bundle, imported
from provisioner.errors import InventoryError
from provisioner.facts.host_facts import HostFacts, UnitFacts, units_of


@pytest.mark.parametrize("percent", [1, 10, 20, 25, 50, 99, 100])
@pytest.mark.parametrize("machines", [1, 2, 3, 5, 8, 15, 100])
def test_everybody_is_upgraded_once_masters_one_by_one_and_one_worker_first(machines: int, percent: int) -> None:
    spec = local_cluster("dev", machines, "10.89.0.0/24", "/key")
    found = batches(spec, percent)
    assert sorted(host.name for batch in found for host in batch) == sorted(host.name for host in spec.hosts)
    workers = [batch for batch in found if not any(role != "node" for host in batch for role in host.roles)]
    assert all(len(batch) == 1 for batch in found if batch not in workers)
    assert found[len(found) - len(workers) :] == workers
    if workers:
        assert len(workers[0]) == 1
        count = sum(len(batch) for batch in workers)
        assert all(1 <= len(batch) <= max(1, -(-count * percent // 100)) for batch in workers)


def test_no_host_restarts_before_all_have_the_release_and_the_one_before_serves() -> None:
    spec = local_cluster("dev", 5, "10.89.0.0/24", "/key")
    plan = plan_upgrade(spec, "old", "new")
    by_id = {action.id: action for action in plan}
    assert set(by_id["dev-1/upgrade"].after) == {f"dev-{n}/release" for n in range(1, 6)}
    for earlier, later in itertools.pairwise(["dev-1", "dev-2", "dev-3", "dev-4", "dev-5"]):
        assert by_id[f"{later}/upgrade"].after == (f"{earlier}/gate",)
    assert str(by_id["dev-1/upgrade"].changes[0]) == "release: old -> new"


@pytest.mark.parametrize(("have", "wanted"), [("1.36", "1.36"), ("1.36", "1.37")])
def test_one_minor_forward_is_allowed(have: str, wanted: str) -> None:
    check_skew(have, wanted)


@pytest.mark.parametrize(("have", "wanted", "said"), [("1.36", "1.35", "go back"), ("1.36", "1.38", "at once")])
def test_going_back_and_leaving_one_out_are_refused(have: str, wanted: str, said: str) -> None:
    with pytest.raises(InventoryError, match=said):
        check_skew(have, wanted)


def test_a_host_whose_units_are_the_old_ones_still_is_not_upgraded() -> None:
    """A run that was killed right after it had changed the link: everything runs, from what its unit says."""
    host = local_cluster("dev", 1, "10.89.0.0/24", "/key").hosts[0]
    units = {unit: UnitFacts(active=True) for unit in units_of(host)}
    facts = HostFacts(release="new", units=units)

    assert is_upgraded(host, facts, "new", complete=True)
    assert not is_upgraded(host, facts, "new", complete=False)
    assert not is_upgraded(host, facts, "newer", complete=True)


def a_bundle(folder: pathlib.Path, digest: str = "0123456789abcdef", kubernetes: str = "1.37.1") -> Bundle:
    archive = folder / f"{digest}.tar.zst"
    (folder / "release.json").write_text(json.dumps({"kubernetes": kubernetes}))
    pack = ["tar", "--zstd", "-C", str(folder), "-cf", str(archive), "./release.json"]
    subprocess.run(pack, check=True)
    content = archive.read_bytes()
    return Bundle(archive.name[:16], archive, len(content), hashlib.sha256(content).hexdigest(), kubernetes)


def test_a_bundle_goes_out_in_one_file_and_in_again(tmp_path: pathlib.Path) -> None:
    bundle = a_bundle(tmp_path)
    export_bundle(bundle, tmp_path / "file")

    found = import_bundle(tmp_path / "file", tmp_path / "cache")

    assert (found.digest, found.archive.read_bytes()) == (bundle.digest, bundle.archive.read_bytes())
    assert found.kubernetes == "1.37.1"
    assert imported(tmp_path / "cache", bundle.digest) == found
    assert imported(tmp_path / "cache", "other") is None


def test_a_bundle_that_changed_on_its_way_is_refused(tmp_path: pathlib.Path) -> None:
    export_bundle(dataclasses.replace(a_bundle(tmp_path), archive_sha256="0" * 64), tmp_path / "file")
    with pytest.raises(InventoryError, match="its sha256 is"):
        import_bundle(tmp_path / "file", tmp_path / "cache")
    assert [path for path in (tmp_path / "cache" / "imported").iterdir() if path.is_file()] == []


@pytest.mark.parametrize(
    "note",
    [
        {},
        {"digest": "../../etc/passwd", "sha256": "x"},
        {"digest": 5, "sha256": "x"},
        [],
        {"digest": "a/b", "sha256": ""},
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path: pathlib.Path, note: object) -> None:
    (tmp_path / "bundle.json").write_text(json.dumps(note))
    (tmp_path / "release.tar.zst").write_text("x")
    with tarfile.open(tmp_path / "file", "w") as tar:
        tar.add(tmp_path / "bundle.json", "bundle.json")
        tar.add(tmp_path / "release.tar.zst", "release.tar.zst")
    with pytest.raises(InventoryError, match="is no bundle"):
        import_bundle(tmp_path / "file", tmp_path / "cache")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InventoryError, match="is no bundle"):
        import_bundle(tmp_path / "text", tmp_path / "cache")
