"""The map in README.md is true: every place it names exists."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SYMBOLS = re.findall(r"`([\w/]+\.py)::(\w+)`", README)
FILES = sorted(set(re.findall(r"`((?:inventory|provisioner|playbooks|cluster|federation|tests)/[\w./*-]*)`", README)))


def test_the_map_names_places() -> None:
    assert len(SYMBOLS) >= 3
    assert len(FILES) >= 10


@pytest.mark.parametrize(("path", "symbol"), SYMBOLS, ids=[f"{path}::{symbol}" for path, symbol in SYMBOLS])
def test_symbol_exists(path: str, symbol: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    defined = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    assert symbol in defined, f"README.md points to {path}::{symbol}; {path} defines {sorted(defined)}"


@pytest.mark.parametrize("path", FILES)
def test_place_exists(path: str) -> None:
    assert list(ROOT.glob(path.rstrip("/"))), f"README.md names {path}, which does not exist"
