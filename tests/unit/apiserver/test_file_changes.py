from pathlib import Path

import pytest

from cluster.apiserver.file_changes import FileChanges


def test_a_changed_file_is_read_again_once(tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text("one")
    files = FileChanges([str(file)])
    read: list[str] = []
    files.on_change("the token file", [str(file), ""], lambda: read.append(file.read_text()))
    files.look()
    assert read == []
    file.write_text("another")
    files.look()
    files.look()
    assert read == ["another"]


def test_a_change_between_the_first_reading_and_the_registration_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    files = FileChanges([str(file)])
    file.write_text("new")
    read: list[str] = []
    files.on_change("the CA", [str(file)], lambda: read.append(file.read_text()))
    files.look()
    assert read == ["new"]


def test_files_that_do_not_fit_together_are_tried_again_until_they_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = tmp_path / "crt", tmp_path / "key"
    certificate.write_text("a")
    key.write_text("a")
    files = FileChanges([str(certificate), str(key)])
    loaded: list[str] = []

    def load() -> None:
        if certificate.read_text() != key.read_text():
            raise ValueError("key and certificate differ")
        loaded.append(key.read_text())

    files.on_change("the certificate", [str(certificate), str(key)], load)
    certificate.write_text("bb")
    files.look()
    files.look()
    assert loaded == []
    assert caplog.text.count("key and certificate differ") == 1
    key.write_text("bb")
    files.look()
    assert loaded == ["bb"]
