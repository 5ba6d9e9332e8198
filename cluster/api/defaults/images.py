"""Which pull policy an image reference asks for: `latest` may change, everything else is taken to stay."""

import re

_TAG = re.compile(r":(?P<tag>[\w][\w.-]{0,127})$")


def pull_policy_for(image: str) -> str:
    """`Always` for the tag latest, written or implied, else (also for what is no reference) `IfNotPresent`."""
    return "Always" if _tag_of(image) == "latest" else "IfNotPresent"


def _tag_of(image: str) -> str:
    name, _, digest = image.partition("@")
    if not name or name != name.strip():
        return ""
    path = name.rpartition("/")[2]
    if ":" in path:
        match = _TAG.search(path)
        return match["tag"] if match else ""
    return "" if digest or name != name.lower() else "latest"
