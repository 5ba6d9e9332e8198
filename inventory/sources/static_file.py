"""Hosts written down by hand: an inventory file."""

from pathlib import Path

from inventory.faults import DescriptionError, Fault
from inventory.yaml_tree import MAX_BYTES


def read_text(path: Path) -> str:
    """Raises DescriptionError when the file cannot be read; what it says is `inventory.load`'s matter."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1).decode()
    except OSError as error:
        raise DescriptionError(str(path), [Fault((), f"it cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise DescriptionError(str(path), [Fault((), f"it is not UTF-8 text: {error}")]) from error
