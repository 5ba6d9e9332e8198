"""
The schema's words about a field, which some table columns are described with.

They are read from the published schemas once, at build time (`python -m cluster.api.printers.build_descriptions`),
so that hosts carry 60 sentences and not 1.6 MB. Without that file columns have no such description.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path

GENERATED = Path(__file__).parent / "generated" / "descriptions.json"


@functools.cache
def _all() -> Mapping[str, str]:
    if not GENERATED.exists():
        return {}
    texts: dict[str, str] = json.loads(GENERATED.read_text())
    return texts


def description(field: str) -> str:
    """What the schemas say of `PodStatus.podIP`."""
    return _all().get(field, "")
