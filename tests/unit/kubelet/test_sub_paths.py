"""A subPath never leaves its volume, not even when the volume changes between the check and the mount."""

import os
from pathlib import Path

import pytest

from cluster.kubelet.sub_paths import OutsideVolume, open_below, resolve_below


def test_links_inside_the_volume_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    assert resolve_below(tmp_path, "link/b") == (tmp_path, ("a", "b"))


@pytest.mark.parametrize("sub_path", ["/etc", "..", "a/../../x"])
def test_absolute_and_upward_paths_are_refused(tmp_path: Path, sub_path: str) -> None:
    with pytest.raises(OutsideVolume, match="relative and without"):
        resolve_below(tmp_path, sub_path)


@pytest.mark.parametrize("target", ["/", "../..", "/etc/passwd"])
def test_links_out_of_the_volume_are_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "out").symlink_to(target)
    with pytest.raises(OutsideVolume, match="leads out of its volume"):
        resolve_below(tmp_path, "out")


@pytest.mark.parametrize("swapped", ["a", "a/b"])
def test_a_directory_that_becomes_a_link_after_the_check_is_not_opened(tmp_path: Path, swapped: str) -> None:
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    (volume / "a" / "b").mkdir(parents=True)
    (outside / "b").mkdir(parents=True)
    base, parts = resolve_below(volume, "a/b")
    (volume / swapped).rename(volume / "aside")
    (volume / swapped).symlink_to(outside)
    with pytest.raises(OutsideVolume, match="became a link"):
        open_below(base, parts, None)


def test_nothing_is_made_through_a_link(tmp_path: Path) -> None:
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    volume.mkdir()
    outside.mkdir()
    base, parts = resolve_below(volume, "new/dir")
    (volume / "new").symlink_to(outside)
    with pytest.raises(OutsideVolume):
        open_below(base, parts, None)
    assert not list(outside.iterdir())


def test_a_missing_directory_is_made_for_everybody(tmp_path: Path) -> None:
    descriptor = open_below(tmp_path, ("x", "y"), None)
    try:
        assert os.fstat(descriptor).st_ino == (tmp_path / "x" / "y").stat().st_ino
        assert (tmp_path / "x" / "y").stat().st_mode & 0o777 == 0o777
    finally:
        os.close(descriptor)
