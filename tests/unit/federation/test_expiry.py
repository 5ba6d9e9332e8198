"""Finished Jobs of a federation live for as long as they say."""

from typing import Any

import pytest

from cluster.machinery.timestamps import format_time
from federation.placement.expiry import expiry_of


def ended(kind: str, minute: int, status: str = "True") -> dict[str, Any]:
    return {"type": kind, "status": status, "lastTransitionTime": f"2026-11-28T12:{minute:02}:00Z"}


@pytest.mark.parametrize(
    ("seconds", "conditions", "wanted"),
    [
        (60, [ended("Complete", 5)], "2026-11-28T12:06:00Z"),
        (0, [ended("Failed", 5)], "2026-11-28T12:05:00Z"),
        (60, [ended("SuccessCriteriaMet", 1), ended("Complete", 5)], "2026-11-28T12:06:00Z"),
        (None, [ended("Complete", 5)], ""),
        (60, [], ""),
        (60, [ended("FailureTarget", 5)], ""),
        (60, [ended("Complete", 5, "False")], ""),
        (60, [{"type": "Complete", "status": "True"}], ""),
        (60, [{"type": "Complete", "status": "True", "lastTransitionTime": "soon"}], ""),
    ],
)
def test_a_job_ends_so_long_after_it_finished_everywhere(
    seconds: int | None, conditions: list[dict[str, Any]], wanted: str
) -> None:
    found = expiry_of({"spec": {"ttlSecondsAfterFinished": seconds}, "status": {"conditions": conditions}})
    assert (format_time(found) if found else "") == wanted
