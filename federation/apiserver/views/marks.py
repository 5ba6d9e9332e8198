"""
Which cluster an object of a view is of: a label on objects, a column in tables. Pure; changes its arguments.
"""

from collections.abc import Sequence
from typing import Any

from cluster.machinery.objects import Object
from federation.apiserver.views.asked import CLUSTER_LABEL

COLUMN: Object = {
    "name": "Cluster",
    "type": "string",
    "format": "",
    "description": "Member cluster that this is of.",
    "priority": 0,
}
_AT = 1
"""Behind the name."""


def mark(obj: Object, cluster: str, name: str = "") -> Object:
    """`name` is what the client calls it, where that differs."""
    metadata = obj.setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), CLUSTER_LABEL: cluster}
    if name:
        metadata["name"] = name
    return obj


class Columns:
    """Of tables that several members make: the first one's count, the cells of others are put below these."""

    def __init__(self) -> None:
        self.definitions: list[Object] = []
        self._names: list[str] = []

    def take(self, table: Object, cluster: str, theirs: Sequence[str], name: str = "") -> list[Object]:
        """
        The rows of a table, marked and in order.

        Args:
            theirs: names of this member's columns; they come with its first table only.
        """
        if not self.definitions and theirs:
            self._names = list(theirs)
            found = table.get("columnDefinitions") or [{"name": one, "type": "string"} for one in theirs]
            self.definitions = [*found[:_AT], COLUMN, *found[_AT:]]
        same = list(theirs) == self._names
        rows: list[Object] = table.get("rows") or []
        for row in rows:
            cells = row.get("cells") or []
            if not same:
                by_name: dict[str, Any] = dict(zip(theirs, cells, strict=False))
                cells = [by_name.get(one) for one in self._names]
            row["cells"] = [*cells[:_AT], cluster, *cells[_AT:]]
            if name and row["cells"]:
                row["cells"][0] = name
            if isinstance(row.get("object"), dict):
                mark(row["object"], cluster, name)
        return rows


def column_names(table: Object) -> list[str]:
    return [str(one.get("name")) for one in table.get("columnDefinitions") or []]
