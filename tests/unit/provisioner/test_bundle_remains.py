"""Builds that are killed leave nothing for ever."""

import pathlib

from provisioner.bundle.build import remove_remains


def test_what_killed_builds_left_goes_and_nothing_else(tmp_path: pathlib.Path) -> None:
    (tmp_path / "building-x1" / "tree").mkdir(parents=True)
    (tmp_path / "building-x1" / "tree" / "file").write_text("half")
    (tmp_path / "layers").mkdir()

    remove_remains(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["layers"]
