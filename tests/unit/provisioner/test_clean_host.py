"""What a removed cluster leaves on a host: the paths are a test's, the rules are the real ones."""

import pathlib

import pytest

from provisioner.operations import clean_host


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    for name in ("FOLDERS", "DATA", "SHARED", "FILES"):
        below = tuple(f"{tmp_path}{path}" for path in getattr(clean_host, name))
        monkeypatch.setattr(clean_host, name, below)
    return tmp_path


def write(path: pathlib.Path) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def test_what_services_wrote_is_removed_and_other_peoples_files_stay(host: pathlib.Path) -> None:
    ours = [
        write(host / name) for name in ("opt/hanse/releases/a/bin/etcd", "var/lib/etcd/member/wal", "var/log/pods/p/0")
    ]
    theirs = write(host / "etc/cni/net.d/99-loopback.conf")

    clean_host.remove_files()

    assert [path for path in ours if path.exists()] == []
    assert not (host / "opt/hanse").exists()
    assert not (host / "var/lib/etcd").exists()
    assert theirs.exists()


def test_it_may_be_repeated_and_finds_nothing(host: pathlib.Path) -> None:
    clean_host.remove_files()
    clean_host.remove_files()

    assert list(host.iterdir()) == []


def test_a_link_in_a_data_folder_is_removed_and_not_followed(host: pathlib.Path) -> None:
    elsewhere = write(host / "home/precious")
    (host / "var/lib/kubelet").mkdir(parents=True)
    (host / "var/lib/kubelet/link").symlink_to(elsewhere.parent)

    clean_host.remove_files()

    assert elsewhere.exists()
