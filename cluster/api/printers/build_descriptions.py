"""Build step: collects what the schemas of the `kubernetes-validate` package say of the fields that columns show."""

import importlib.util
import json
import logging
from pathlib import Path

from cluster.api.printers.columns import referenced_fields
from cluster.api.printers.descriptions import GENERATED

VERSION = "v1.36.0-local"
_LOG = logging.getLogger(__name__)


def definitions_path() -> Path:
    """Where the installed package keeps its definitions; the package itself is not imported."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("kubernetes-validate is not installed: `uv pip install -e '.[operator]'` brings it")
    return Path(spec.submodule_search_locations[0]) / "kubernetes-json-schema" / VERSION / "_definitions.json"


def collect(definitions: dict[str, dict[str, dict[str, dict[str, str]]]], fields: set[str]) -> dict[str, str]:
    """`fields` as `Kind.property`, all of v1 of their groups; core wins where two groups share a kind."""
    texts: dict[str, str] = {}
    for name in sorted(definitions, key=lambda name: (".core." not in name, ".v1." not in name, name)):
        kind = name.rpartition(".")[2]
        for key, schema in definitions[name].get("properties", {}).items():
            field = f"{kind}.{key}"
            if field in fields and schema.get("description"):
                texts.setdefault(field, schema["description"])
    return texts


def main() -> None:
    document = json.loads(definitions_path().read_text())
    texts = collect(document["$defs"], referenced_fields())
    missing = referenced_fields() - texts.keys()
    if missing:
        raise KeyError(
            f"the schemas of {VERSION} have no description for {sorted(missing)}: correct tables/columns.json"
        )
    GENERATED.parent.mkdir(exist_ok=True)
    GENERATED.write_text(json.dumps(texts, indent=1, sort_keys=True))
    _LOG.info("wrote %d descriptions to %s", len(texts), GENERATED)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
