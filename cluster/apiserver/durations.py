"""Go's durations, as flags and configuration files have them."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str) -> float:
    """Seconds of Go's `1h30m`, `500ms`, `0`. Raises ValueError."""
    total, number, at = 0.0, "", 0
    while at < len(text):
        if text[at].isdigit() or text[at] == ".":
            number += text[at]
            at += 1
            continue
        unit = "ms" if text[at : at + 2] == "ms" else text[at]
        if not number or unit not in _UNITS:
            raise ValueError(f"{text!r} is no duration; write it like 5m or 1h30m")
        total += float(number) * _UNITS[unit]
        number, at = "", at + len(unit)
    if number and float(number) != 0:
        raise ValueError(f"{text!r} has no unit; write it like 5m or 1h30m")
    return total
