"""How long certificates last, and which are due."""

import datetime as dt
import pathlib

import pytest

from inventory.sources.nspawn import local_cluster
from provisioner.actions.certificates import advice, give_up_leaves, lines, pending_leaves, read_certificates
from provisioner.errors import ProvisionError
from provisioner.phases import rotate_authorities as rotation
from provisioner.phases.issue_certificates import issue_certificates

SPEC = local_cluster("dev", 3, "10.89.0.0/24", "/key")
MADE = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def test_every_certificate_is_told_with_its_days(tmp_path: pathlib.Path) -> None:
    count = issue_certificates(SPEC, tmp_path, MADE)
    found = read_certificates(SPEC, tmp_path, MADE)
    assert len(found) == count + 3
    assert {one.host for one in found} == {"", "dev-1", "dev-2", "dev-3"}
    assert not any(one.due for one in found)
    assert all(89 <= (one.days_left or 0) <= 91 for one in found if one.host)


def test_leaves_are_due_in_the_last_third_of_their_life(tmp_path: pathlib.Path) -> None:
    issue_certificates(SPEC, tmp_path, MADE)
    assert not any(one.due for one in read_certificates(SPEC, tmp_path, MADE + dt.timedelta(days=59)))
    late = read_certificates(SPEC, tmp_path, MADE + dt.timedelta(days=61))
    assert all(one.due for one in late if one.host)
    assert not any(one.due for one in late if one.name.endswith("ca"))


def test_what_is_missing_damaged_or_expired_is_said(tmp_path: pathlib.Path) -> None:
    issue_certificates(SPEC, tmp_path, MADE)
    (tmp_path / "hosts" / "dev-2" / "apiserver-kubelet-client.crt").unlink(missing_ok=True)
    (tmp_path / "hosts" / "dev-1" / "apiserver.crt").write_text("nonsense")
    (tmp_path / "hosts" / "dev-3" / "kubelet-client.crt").unlink()
    text = "\n".join(lines(read_certificates(SPEC, tmp_path, MADE + dt.timedelta(days=120))))
    assert "expired" in text
    assert "there is none" in text
    assert sum(one.days_left is None for one in read_certificates(SPEC, tmp_path, MADE)) == 2


def test_rotation_issues_leaves_anew_and_leaves_cas_alone(tmp_path: pathlib.Path) -> None:
    issue_certificates(SPEC, tmp_path, MADE)
    cas = {path: path.read_bytes() for path in tmp_path.rglob("*ca.*")}
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.crt") if path not in cas}
    count = give_up_leaves(SPEC, tmp_path, MADE)
    assert count == len(before)
    issue_certificates(SPEC, tmp_path, MADE + dt.timedelta(days=1))
    assert all(path.read_bytes() == content for path, content in cas.items())
    assert all(path.read_bytes() != content for path, content in before.items())


def test_what_ends_soon_is_told_with_what_to_do(tmp_path: pathlib.Path) -> None:
    issue_certificates(SPEC, tmp_path, MADE)
    assert advice(read_certificates(SPEC, tmp_path, MADE), "dev") == ""
    assert pending_leaves(SPEC, tmp_path, MADE) == 0
    soon = read_certificates(SPEC, tmp_path, MADE + dt.timedelta(days=80))
    assert all(one.ends_soon for one in soon if one.host)
    assert "ends soon" in "\n".join(lines(soon))
    assert "certs rotate --due dev" in advice(soon, "dev")
    assert pending_leaves(SPEC, tmp_path, MADE + dt.timedelta(days=80)) == sum(bool(one.host) for one in soon) + 1


def test_a_ca_that_ends_before_its_leaves_would_is_to_be_replaced(tmp_path: pathlib.Path) -> None:
    issue_certificates(SPEC, tmp_path, MADE)
    assert "certs rotate-ca dev" in advice(read_certificates(SPEC, tmp_path, MADE + dt.timedelta(days=3600)), "dev")


def test_both_generations_of_cas_are_told_while_they_are_rotated(tmp_path: pathlib.Path) -> None:
    issue_certificates(SPEC, tmp_path, MADE)
    rotation.begin(SPEC, tmp_path, MADE)
    rotation.settle(tmp_path, rotation.Stage.TRUST)
    names = [one.name for one in read_certificates(SPEC, tmp_path, MADE)]
    assert names[:2] == ["ca", "ca, trusted too"]


def test_nothing_is_given_up_that_could_not_be_issued_anew(tmp_path: pathlib.Path) -> None:
    issue_certificates(SPEC, tmp_path, MADE)
    before = sorted(tmp_path.rglob("*.crt"))
    with pytest.raises(ProvisionError, match=r"etcd-ca, front-proxy-ca has expired.*rotate-ca dev"):
        give_up_leaves(SPEC, tmp_path, MADE + dt.timedelta(days=4000))
    assert sorted(tmp_path.rglob("*.crt")) == before
