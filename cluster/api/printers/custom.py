"""
Tables of custom resources: the columns their definitions add.

Source: k8s.io/apiextensions-apiserver, pkg/registry/customresource/tableconvertor.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cluster.api.custom_resource import CustomResource, as_text
from cluster.api.printers import ages
from cluster.api.printers.descriptions import description
from cluster.api.structural_schema import paths
from cluster.machinery.objects import Object


def columns(resource: CustomResource) -> list[Object]:
    """The name and what the definition adds; the age when it adds nothing."""
    text = description("ObjectMeta.name")
    name: Object = {"name": "Name", "type": "string", "format": "name", "description": text, "priority": 0}
    if not resource.printer_columns:
        text = description("ObjectMeta.creationTimestamp")
        return [name, {"name": "Age", "type": "date", "format": "", "description": text, "priority": 0}]
    return [name, *(_column(column) for column in resource.printer_columns)]


def cells(resource: CustomResource, obj: Object, now: datetime) -> list[Any]:
    name = obj["metadata"].get("name", "")
    if not resource.printer_columns:
        return [name, ages.since(obj["metadata"].get("creationTimestamp"), now)]
    return [name, *(_cell(column, obj, now) for column in resource.printer_columns)]


def _column(column: Mapping[str, Any]) -> Object:
    path = column.get("jsonPath", "")
    text = column.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
    return {
        "name": column.get("name", ""),
        "type": column.get("type", ""),
        "format": column.get("format") or "",
        "description": text,
        "priority": column.get("priority") or 0,
    }


def _cell(column: Mapping[str, Any], obj: Object, now: datetime) -> Any:
    try:
        found = paths.find(column.get("jsonPath", ""), obj)
    except paths.BadPathError:
        return None
    if not found:
        return None
    value = found[0]
    match column.get("type"):
        case "string":
            return as_text(found) if value is not None else ""
        case "integer" if isinstance(value, (int, float)) and not isinstance(value, bool):
            return int(value)
        case "number" if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        case "boolean" if isinstance(value, bool):
            return value
        case "date" if isinstance(value, str):
            try:
                return ages.since(value, now)
            except ValueError:
                return "<invalid>"
        case _:
            return None
