"""Hosts written down by hand: an inventory file."""

from pathlib import Path

from inventory.faults import DescriptionError, Fault
from inventory.load import load_cluster
from inventory.model import ClusterSpec
from inventory.yaml_tree import MAX_BYTES


def read_cluster(
    path: Path, *, name: str = "", masters: int | None = None, etcd_members: int | None = None
) -> ClusterSpec:
    """Read and check an inventory file. Raises DescriptionError, also when the file cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode()
    except OSError as error:
        raise DescriptionError(str(path), [Fault((), f"it cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise DescriptionError(str(path), [Fault((), f"it is not UTF-8 text: {error}")]) from error
    return load_cluster(text, str(path), name=name, masters=masters, etcd_members=etcd_members)
