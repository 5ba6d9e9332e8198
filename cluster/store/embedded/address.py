"""
The value of --etcd-servers that means the embedded store: `embedded:///path/to/file.db`, `embedded://:memory:`.

After a `?`: `synchronous=normal` acknowledges writes before the disk has them (they survive this process, not a
power cut), `quota=BYTES` is another size than 2 GiB at which only deletes are taken.
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote

SCHEME = "embedded://"
DEFAULT_QUOTA = 2 * 1024**3
_SYNCHRONOUS = ("full", "normal")
_EXAMPLE = "write it like embedded:///var/lib/hanse/store.db or embedded://:memory:"


@dataclass(frozen=True, slots=True)
class Address:
    path: Path | None
    """None keeps everything in memory."""
    synchronous: str = "full"
    quota: int = DEFAULT_QUOTA
    """Bytes."""


def parse_address(text: str) -> Address:
    """Raises ValueError that says what is wrong with `text`."""
    place, _, query = text.removeprefix(SCHEME).partition("?")
    settings = dict(parse_qsl(query, keep_blank_values=True))
    synchronous = settings.pop("synchronous", "full")
    quota = settings.pop("quota", str(DEFAULT_QUOTA))
    if settings:
        raise ValueError(f"{text}: {', '.join(sorted(settings))} is no setting; there are synchronous and quota")
    if synchronous not in _SYNCHRONOUS:
        raise ValueError(f"{text}: synchronous is {synchronous!r}; use {' or '.join(_SYNCHRONOUS)}")
    if not quota.isdecimal() or int(quota) == 0:
        raise ValueError(f"{text}: quota is {quota!r}; give a number of bytes")
    if place == ":memory:":
        return Address(None, synchronous, int(quota))
    path = Path(unquote(place))
    if not path.is_absolute() or place.endswith("/"):
        raise ValueError(f"{text} names no absolute path of a file; {_EXAMPLE}")
    return Address(path, synchronous, int(quota))
