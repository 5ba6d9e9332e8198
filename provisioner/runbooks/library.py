"""The runbooks that come with Hanse."""

from pathlib import Path

import playbooks
from provisioner.errors import InventoryError
from provisioner.runbooks.page import Runbook, read_page

FOLDER = Path(playbooks.__path__[0]) / "runbooks"


def runbook_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def runbook(name: str) -> Runbook:
    """Raises InventoryError for one that does not exist. A page that is none is a bug of ours."""
    path = FOLDER / f"{name}.md"
    if name not in runbook_names():
        raise InventoryError(
            f"there is no runbook {name}", why=f"there are {', '.join(runbook_names())}",
            next_step="`provision runbook list` says what each is for.",
        )  # fmt: skip
    return read_page(name, path.read_text())
