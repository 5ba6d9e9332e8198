"""What the operator's side holds at each stage of a rotation, and what every leaf is signed by."""

import contextlib
import datetime as dt
import json
import pathlib
import ssl

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from cluster.apiserver.service_account_keys import load_verification_keys
from cluster.pki import catalogue
from cluster.pki.authority import load_authority
from cluster.pki.service_account_key import key_ids
from inventory.sources.nspawn import local_cluster
from provisioner.errors import ProvisionError
from provisioner.operations.pod_credentials import PodCredentials, behind, signed_by
from provisioner.phases import rotate_authorities as rotation
from provisioner.phases.issue_certificates import issue_certificates, leaf_files, pending_certificates
from provisioner.phases.rotate_authorities import Progress, Stage

SPEC = local_cluster("dev", 3, "10.89.0.0/24", "/key")
NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
FORTH = (Stage.TRUST, Stage.SIGN, Stage.DROP, Stage.RETIRE)


@pytest.fixture
def pki(tmp_path: pathlib.Path) -> pathlib.Path:
    issue_certificates(SPEC, tmp_path, NOW)
    rotation.begin(SPEC, tmp_path, NOW)
    return tmp_path


def signer(pki: pathlib.Path, which: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(rotation.generation(pki, which, "ca.crt"))


def signed(pki: pathlib.Path) -> set[str]:
    """Which generations of the cluster's CA have signed a leaf."""
    found = set()
    for name, _, path in leaf_files(SPEC, pki):
        entry = next(e for e in (*catalogue.CERTIFICATES, catalogue.ADMIN) if e.name == name)
        if entry.authority != "ca":
            continue
        leaf = x509.load_pem_x509_certificate(path.read_bytes())
        for which in ("old", "new"):
            with contextlib.suppress(InvalidSignature):
                leaf.verify_directly_issued_by(signer(pki, which))
                found.add(which)
    return found


@pytest.mark.parametrize(
    ("stage", "cas", "keys", "signs"),
    [
        (Stage.START, 1, 1, "old"),
        (Stage.TRUST, 2, 1 + 1, "old"),
        (Stage.SIGN, 2, 2, "new"),
        (Stage.DROP, 1, 2, "new"),
        (Stage.RETIRE, 1, 1, "new"),
    ],
)
def test_what_is_in_force_at_a_stage(pki: pathlib.Path, stage: Stage, cas: int, keys: int, signs: str) -> None:
    rotation.settle(pki, stage)
    issue_certificates(SPEC, pki, NOW)

    assert rotation.is_settled(pki, stage)
    for entry in catalogue.AUTHORITIES:
        bundle = (pki / f"{entry.path}.crt").read_bytes()
        assert len(x509.load_pem_x509_certificates(bundle)) == cas
        load_authority(bundle, (pki / f"{entry.path}.key").read_bytes())
    assert len(load_verification_keys((pki / "sa.pub").read_bytes())) == keys
    assert signed(pki) == {signs}
    assert pending_certificates(SPEC, pki, NOW) == []


def test_there_and_back_again_is_what_it_was(pki: pathlib.Path) -> None:
    before = {
        path: path.read_bytes()
        for path in pki.glob("**/*ca.[ck]*")
        if path.suffix != ".crl" and rotation.FOLDER not in path.parts
    }
    for stage in (Stage.TRUST, Stage.SIGN, Stage.DROP, Stage.SIGN, Stage.TRUST, Stage.START):
        rotation.settle(pki, stage)
        issue_certificates(SPEC, pki, NOW)
        load_authority((pki / "ca.crt").read_bytes(), (pki / "ca.key").read_bytes())

    assert {path: path.read_bytes() for path in before} == before
    assert signed(pki) == {"old"}


def test_a_leaf_of_the_new_generation_is_trusted_by_the_bundle(pki: pathlib.Path) -> None:
    rotation.settle(pki, Stage.SIGN)
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    assert len(context.get_ca_certs()) == 2


def test_a_second_beginning_keeps_the_generation_that_was_made(pki: pathlib.Path) -> None:
    made = rotation.generation(pki, "new", "ca.key")
    rotation.begin(SPEC, pki, NOW)
    assert rotation.generation(pki, "new", "ca.key") == made


def test_progress_is_kept_and_damage_is_told(pki: pathlib.Path) -> None:
    assert rotation.read_progress(pki) == Progress(Stage.START, whole=False)
    rotation.write_progress(pki, Progress(Stage.SIGN, whole=False, back=True))
    assert rotation.read_progress(pki) == Progress(Stage.SIGN, whole=False, back=True)
    (pki / rotation.FOLDER / "stage.json").write_text(json.dumps({"stage": "later"}))
    with pytest.raises(ProvisionError, match=r"stage\.json"):
        rotation.read_progress(pki)
    rotation.end(pki)
    assert rotation.read_progress(pki) == Progress()


def test_nothing_of_a_generation_is_readable_by_others(pki: pathlib.Path) -> None:
    keys = [*(pki / rotation.FOLDER).rglob("*.key"), pki / rotation.FOLDER / "stage.json"]
    assert len(keys) == 9
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}


def test_pods_that_are_behind_are_those_that_run() -> None:
    found = [PodCredentials("a", "old", "k1"), PodCredentials("b", "new", "k2"), PodCredentials("gone", "old", "k1")]
    assert behind(found, {"a", "b"}, "new") == ["a"]
    assert signed_by(found, {"a", "b"}, ["k1"]) == ["a"]


def test_tokens_name_their_key_as_the_apiserver_does(pki: pathlib.Path) -> None:
    rotation.settle(pki, Stage.TRUST)
    public = (pki / "sa.pub").read_bytes()
    assert tuple(key.key_id for key in load_verification_keys(public)) == key_ids(public)
    assert len(key_ids(public)) == 2


def test_another_rotation_goes_on_from_what_the_last_one_left(pki: pathlib.Path) -> None:
    rotation.settle(pki, Stage.DROP)
    in_force = {name: (pki / name).read_bytes() for name in ("ca.crt", "ca.key", "sa.key", "sa.pub")}

    rotation.begin(SPEC, pki, NOW, anew=True)

    assert {name: (pki / name).read_bytes() for name in in_force} == in_force
    assert rotation.is_settled(pki, Stage.START)
    assert len(key_ids(rotation.generation(pki, "old", "sa.pub"))) == 2
    assert not list(pki.glob(".rotation*"))
