"""The module that lays files down: true diffs, nothing twice, nothing left, nothing of others touched."""

import base64
import importlib.util
import os
import pathlib
from types import ModuleType
from typing import Any

import pytest

MODULE = pathlib.Path(__file__).parents[3] / "playbooks" / "library" / "hanse_files.py"


@pytest.fixture
def module(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with a folder of its own for units and records, and files owned by whoever runs the tests."""
    spec = importlib.util.spec_from_file_location("hanse_files", MODULE)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    monkeypatch.setattr(loaded, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(loaded, "UNIT_DIR", tmp_path / "units")
    monkeypatch.setattr(loaded, "WANTS", tmp_path / "units" / "wants")
    monkeypatch.setattr(loaded, "owner_of", lambda wanted: (os.getuid(), os.getgid()))
    return loaded


def state(**given: Any) -> dict[str, Any]:
    lists: dict[str, Any] = {name: [] for name in ("users", "directories", "files", "secrets", "links", "units")}
    return {"role": "r", "release": "1", **lists, **given}


def lay(module: ModuleType, params: dict[str, Any], check: bool = False) -> Any:
    laying = module.Laying(check)
    module.lay_down(params, laying)
    return laying


def test_second_run_changes_nothing(module: ModuleType, tmp_path: pathlib.Path) -> None:
    wanted = state(
        directories=[{"path": str(tmp_path / "etc"), "mode": "0750"}],
        files=[{"path": str(tmp_path / "etc/a.conf"), "content": "a\n", "mode": "0640"}],
        links=[{"path": str(tmp_path / "current"), "target": "etc"}],
        units=[{"name": "x.service", "content": "[Service]\nExecStart=/bin/true\n"}],
    )

    first, second = lay(module, wanted), lay(module, wanted)

    assert len(first.paths) == 5
    assert second.paths == []
    assert not second.units_changed
    assert (tmp_path / "etc/a.conf").stat().st_mode & 0o777 == 0o640


def test_check_mode_tells_the_difference_and_makes_nothing(module: ModuleType, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("old\n")
    wanted = state(files=[{"path": str(path), "content": "new\n"}])

    laying = lay(module, wanted, check=True)

    assert laying.diffs == [
        {"before_header": str(path), "after_header": str(path), "before": "old\n", "after": "new\n"}
    ]
    assert path.read_text() == "old\n"
    assert not module.RECORDS.exists()


def test_a_secret_is_written_and_shown_by_its_length(module: ModuleType, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.key"
    content = base64.b64encode(b"topsecret").decode()

    laying = lay(module, state(secrets=[{"path": str(path), "content": content, "mode": "0600"}]))

    assert path.read_bytes() == b"topsecret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "topsecret" not in repr(laying.diffs)
    assert laying.diffs[0]["after"] == "9 bytes\n"


def test_what_is_no_longer_wanted_goes_and_strangers_stay(module: ModuleType, tmp_path: pathlib.Path) -> None:
    ours, theirs = tmp_path / "d/ours", tmp_path / "d/theirs"
    lay(module, state(directories=[{"path": str(tmp_path / "d")}], files=[{"path": str(ours), "content": "1"}]))
    theirs.write_text("2")

    lay(module, state())

    assert not ours.exists()
    assert theirs.read_text() == "2"


def test_taking_away_removes_all_that_was_made(module: ModuleType, tmp_path: pathlib.Path) -> None:
    made = tmp_path / "made"
    lay(
        module,
        state(
            directories=[{"path": str(made)}, {"path": str(made / "sub")}],
            files=[{"path": str(made / "sub/f"), "content": "1"}],
            units=[{"name": "x.service", "content": "[Service]\n"}],
        ),
    )
    laying = module.Laying(False)

    module.take_away(state(), laying)

    assert not made.exists()
    assert not (tmp_path / "units/x.service").exists()
    assert list(module.RECORDS.iterdir()) == []


@pytest.mark.parametrize("change", ["release", "content", "input"])
def test_a_unit_knows_what_it_runs_from(module: ModuleType, tmp_path: pathlib.Path, change: str) -> None:
    def laid(release: str, content: str, setting: str) -> str:
        config = str(tmp_path / "x.conf")
        unit = {"name": "x.service", "content": content, "inputs": [config]}
        lay(module, state(release=release, files=[{"path": config, "content": setting}], units=[unit]))
        return (tmp_path / "units/x.service").read_text()

    before = laid("1", "[Service]\nExecStart=/a\n", "s")
    after = laid(
        "2" if change == "release" else "1",
        "[Service]\nExecStart=/b\n" if change == "content" else "[Service]\nExecStart=/a\n",
        "t" if change == "input" else "s",
    )

    def inputs(text: str) -> str:
        return next(line for line in text.splitlines() if "HANSE_INPUTS" in line)

    assert inputs(before) != inputs(after)


def test_a_failed_write_leaves_the_old_file_and_no_scrap(
    module: ModuleType, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "etc" / "a.conf"
    path.parent.mkdir()
    path.write_text("old")

    def full(source: str, target: pathlib.Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        module.Laying(False).file({"path": str(path)}, b"new")

    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.conf"]
