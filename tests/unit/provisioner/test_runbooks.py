"""Runbooks: pages that are whole, and that are carried out as they say."""

import io
import os
import pathlib

import pytest

from provisioner.errors import InventoryError, ProvisionError
from provisioner.progress import PlainProgress
from provisioner.runbooks import carry_out as carrying
from provisioner.runbooks.carry_out import carry_out
from provisioner.runbooks.library import FOLDER, runbook, runbook_names
from provisioner.runbooks.page import PageFault, Purpose, Runbook, read_page

ROOT = pathlib.Path(__file__).parents[3]
PAGE = """# A file is gone

Needs: PLACE (the folder, with or without a slash), NAME

## Meaning
It was there.

## Impact
Readers fail.

## Diagnosis
```sh
ls $PLACE
```

## Mitigation
Nobody else may have made it.

```sh probe
test ! -e $PLACE/$NAME || { echo "$NAME is there" >&2; exit 3; }
```

1. Make it
   anew.

```sh rollback
rm $PLACE/$NAME
```
```sh
echo new > $PLACE/$NAME
```

2. Readers see it.

```sh gate 1
grep -q $WORD $PLACE/$NAME
```

## Rehearsed by
`tests/unit/provisioner/test_runbooks.py::test_nothing`
"""


def page(text: str = PAGE, word: str = "new") -> Runbook:
    return read_page("gone", text.replace("$WORD", word))


def test_a_page_is_read_whole() -> None:
    found = page()
    assert found.title == "A file is gone"
    assert found.needs == {"PLACE": "the folder, with or without a slash", "NAME": ""}
    assert [block.purpose for block in found.mitigation] == [Purpose.PROBE, Purpose.ROLLBACK, Purpose.DO, Purpose.GATE]
    assert found.mitigation[1].about == "Make it anew."
    assert found.mitigation[3].patience == 1
    assert found.rehearsed_by == ("tests/unit/provisioner/test_runbooks.py::test_nothing",)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("# A file is gone", "A file is gone", "no title"),
        ("Needs: PLACE (the folder, with or without a slash), NAME\n", "", "no line `Needs:`"),
        ("NAME\n", "name\n", "'name' is no variable"),
        ("It was there.", "", "nothing stands under ## Meaning"),
        ("## Impact", "## Effect", "nothing stands under ## Impact"),
        ("```sh gate 1", "```sh gates 1", "is of no known purpose"),
        ("```sh\necho", "```text\necho", "does nothing"),
        ("$PLACE/$NAME || {", "$PLACE/$FILE || {", "$FILE, which its line `Needs:` does not name"),
        ("`tests/unit/provisioner/test_runbooks.py::test_nothing`", "nobody", "no test is named"),
        ("grep -q $WORD $PLACE/$NAME\n```", "grep -q $WORD $PLACE/$NAME", "does not end"),
    ],
)
def test_pages_that_are_no_runbooks_are_refused(before: str, after: str, said: str) -> None:
    assert before in PAGE
    with pytest.raises(PageFault) as caught:
        page(PAGE.replace(before, after))
    assert said in str(caught.value)


async def test_a_mitigation_is_carried_out_in_order(tmp_path: pathlib.Path) -> None:
    out = io.StringIO()
    await carry_out(page(), {"PLACE": str(tmp_path), "NAME": "file"}, PlainProgress(out))
    assert (tmp_path / "file").read_text() == "new\n"
    assert "Make it anew" not in out.getvalue()  # that was the rollback's, which nobody needed
    assert "Readers see it" in out.getvalue()


async def test_a_gate_that_does_not_hold_rolls_back(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "ASK_AGAIN", 0.2)
    with pytest.raises(ProvisionError, match="its gate does not hold after 1 s"):
        await carry_out(page(word="old"), {"PLACE": str(tmp_path), "NAME": "file"}, PlainProgress(io.StringIO()))
    assert not (tmp_path / "file").exists()


async def test_a_probe_that_says_no_ends_it_before_the_first_change(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(InventoryError, match="is not about this: file is there"):
        await carry_out(page(), {"PLACE": str(tmp_path), "NAME": "file"}, PlainProgress(io.StringIO()))
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"NAME": "x"}, "needs PLACE: PLACE: the folder, with or without a slash"),
        ({"NAME": "x", "PLACE": "/", "HOST": "y"}, "does not know HOST"),
    ],
)
async def test_variables_have_to_be_those_of_the_page(variables: dict[str, str], said: str) -> None:
    with pytest.raises(InventoryError, match=said):
        await carry_out(page(), variables, PlainProgress(io.StringIO()))


async def test_a_value_is_no_command(tmp_path: pathlib.Path) -> None:
    await carry_out(page(), {"PLACE": str(tmp_path), "NAME": "a;touch${IFS}b"}, PlainProgress(io.StringIO()))
    assert os.listdir(tmp_path) == ["a;touch${IFS}b"]


@pytest.mark.parametrize("name", runbook_names())
def test_every_page_of_ours_is_a_runbook_and_its_tests_exist(name: str) -> None:
    found = runbook(name)
    for test in found.rehearsed_by:
        path, _, function = test.partition("::")
        assert (ROOT / path).exists(), f"{name} is rehearsed by {path}, which does not exist"
        assert not function or f"def {function}(" in (ROOT / path).read_text(), f"{path} has no {function}"
        assert f'"{name}"' in (ROOT / path).read_text(), f"{path} does not carry {name} out"


def test_pages_lie_in_their_folder() -> None:
    assert FOLDER.name == "runbooks"
    with pytest.raises(InventoryError, match="there is no runbook nonsense"):
        runbook("nonsense")
