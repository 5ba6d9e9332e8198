"""The columns of each resource's table, from `cluster/api/tables/columns.json`."""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.api.printers.descriptions import description
from cluster.api.resources import Resource
from cluster.machinery.objects import Object

_TABLE = Path(__file__).parent.parent / "tables" / "columns.json"
_DEFAULT: Sequence[Object] = (
    {"name": "Name", "type": "string", "format": "name", "doc": "ObjectMeta.name"},
    {"name": "Created At", "type": "date", "doc": "ObjectMeta.creationTimestamp"},
)


@functools.cache
def _table() -> Mapping[str, Sequence[Object]]:
    rows: dict[str, list[Object]] = json.loads(_TABLE.read_text())
    return rows


@functools.cache
def _definitions(api_version: str, plural: str) -> tuple[Object, ...]:
    return tuple(
        {
            "name": row["name"],
            "type": row["type"],
            "format": row.get("format", ""),
            "description": row["text"] if "text" in row else description(row["doc"]),
            "priority": row.get("priority", 0),
        }
        for row in _table().get(f"{api_version}/{plural}", _DEFAULT)
    )


def columns(resource: Resource) -> list[Object]:
    """
    TableColumnDefinitions: name, type, format, description, priority (1 is shown with `-o wide` alone).

    A resource without a row in the table has name and time of creation. The mappings are shared: do not change them.
    """
    return list(_definitions(resource.api_version, resource.plural))


def referenced_fields() -> set[str]:
    """The schema fields that columns are described by."""
    return {row["doc"] for rows in (*_table().values(), _DEFAULT) for row in rows if "doc" in row}
