"""When a finished Job's time to live is over. Pure."""

import datetime as dt

from cluster.machinery.objects import Object
from cluster.machinery.timestamps import parse_time
from federation.placement.conditions import is_true


def expiry_of(job: Object) -> dt.datetime | None:
    """None: it is not finished in all its clusters, does not say when its end is told, or lives for ever."""
    seconds = (job.get("spec") or {}).get("ttlSecondsAfterFinished")
    status = job.get("status") or {}
    if not isinstance(seconds, int) or not (is_true(status, "Complete") or is_true(status, "Failed")):
        return None
    ends = []
    for condition in status.get("conditions") or ():
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            try:
                ends.append(parse_time(condition.get("lastTransitionTime") or ""))
            except ValueError:
                continue  # a member's own word
    return max(ends) + dt.timedelta(seconds=seconds) if ends else None
