"""
How far a Job is: counts, indexes, conditions, and how many Pods it needs next. Pure.

Source: kube-controller-manager, pkg/controller/job.
"""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cluster.controller_manager.pods import condition
from cluster.machinery.objects import Object
from cluster.machinery.timestamps import format_time, parse_time

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FIRST_BACKOFF, LAST_BACKOFF = 10.0, 600.0  # seconds until a failed Pod is replaced; doubles with each failure


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a Job is over: the condition's type, reason and message."""

    kind: str
    reason: str
    message: str


def is_finished(job: Object) -> bool:
    return any((c := condition(job, kind)) is not None and c["status"] == "True" for kind in ("Complete", "Failed"))


def is_indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def parse_indexes(text: str) -> set[int]:
    """`0-2,5` -> {0, 1, 2, 5}."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """Ranges of two stay apart with a comma in upstream's form `1,2`; longer ones are `1-3`."""
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and index == parts[-1][-1] + 1:
            parts[-1].append(index)
        else:
            parts.append([index])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]},{p[1]}" if len(p) == 2 else f"{p[0]}-{p[-1]}" for p in parts)


def index_of(pod: Object) -> int | None:
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(text) if text.isdigit() else None


def ending_of(job: Object, succeeded: int, failed: int, active: int, now: datetime.datetime) -> Ending | None:
    """Whether the Job is over, one way or the other."""
    spec = job["spec"]
    limit = spec.get("backoffLimit")
    if failed > (6 if limit is None else int(limit)):
        return Ending("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if seconds_to_deadline(job, now) == 0.0:
        return Ending("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    completions = spec.get("completions")
    if completions is None:
        done = succeeded > 0 and active == 0
    else:
        done = succeeded >= int(completions) and (active == 0 or int(completions) > 0)
    return Ending("Complete", "CompletionsReached", "Reached expected number of succeeded pods") if done else None


def seconds_to_deadline(job: Object, now: datetime.datetime) -> float | None:
    deadline, started = job["spec"].get("activeDeadlineSeconds"), (job.get("status") or {}).get("startTime")
    if deadline is None or not started or job["spec"].get("suspend"):
        return None
    return max(float(deadline) - (now - parse_time(started)).total_seconds(), 0.0)


def wanted_active(job: Object, succeeded: int, active: int) -> int:
    """How many Pods shall run now."""
    spec = job["spec"]
    if spec.get("suspend"):
        return 0
    parallelism = 1 if spec.get("parallelism") is None else int(spec["parallelism"])
    completions = spec.get("completions")
    if completions is None:
        return active if succeeded > 0 else parallelism  # a work queue: once one has finished, no more are made
    return min(parallelism, max(int(completions) - succeeded, 0))


def next_indexes(job: Object, completed: set[int], active: Sequence[Object], count: int) -> list[int]:
    """The lowest indexes that are neither done nor being worked on."""
    taken = completed | {i for pod in active if (i := index_of(pod)) is not None}
    return [i for i in range(int(job["spec"].get("completions") or 0)) if i not in taken][:count]


def backoff_left(failed_pods: Sequence[Object], now: datetime.datetime) -> float:
    """Seconds until the next Pod may be made after failures."""
    if not failed_pods:
        return 0.0
    last = max(_finished_at(pod) or parse_time(pod["metadata"]["creationTimestamp"]) for pod in failed_pods)
    wait = min(FIRST_BACKOFF * 2.0 ** min(len(failed_pods) - 1, 10), LAST_BACKOFF)
    return max(wait - (now - last).total_seconds(), 0.0)


def _finished_at(pod: Object) -> datetime.datetime | None:
    ends = [
        parse_time(state["finishedAt"])
        for status in (pod.get("status") or {}).get("containerStatuses") or ()
        if (state := (status.get("state") or {}).get("terminated")) and state.get("finishedAt")
    ]
    return max(ends, default=None)


def with_ending(status: Object, ending: Ending, now: datetime.datetime) -> None:
    """Add the conditions of an end: the announcement (SuccessCriteriaMet, FailureTarget), then the end itself."""
    stamp = format_time(now)
    conditions = status.setdefault("conditions", [])
    announced = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[ending.kind]
    for kind in (announced, ending.kind):
        if any(c["type"] == kind for c in conditions):
            continue
        conditions.append(
            {
                "type": kind,
                "status": "True",
                "lastProbeTime": stamp,
                "lastTransitionTime": stamp,
                "reason": ending.reason,
                "message": ending.message,
            }
        )
    if ending.kind == "Complete":
        status["completionTime"] = stamp


def note_suspension(job: Object, status: Object, now: datetime.datetime) -> None:
    """The Suspended condition, and the start time, which a suspended Job does not have."""
    stamp = format_time(now)
    suspended = bool(job["spec"].get("suspend"))
    before = next((c for c in status.get("conditions") or () if c["type"] == "Suspended"), None)
    if suspended != (before is not None and before["status"] == "True") and (suspended or before is not None):
        entry = {
            "type": "Suspended",
            "status": "True" if suspended else "False",
            "lastProbeTime": stamp,
            "lastTransitionTime": stamp,
            "reason": "JobSuspended" if suspended else "JobResumed",
            "message": "Job suspended" if suspended else "Job resumed",
        }
        status["conditions"] = [c for c in status.get("conditions") or () if c["type"] != "Suspended"] + [entry]
        status.pop("startTime", None)
    if not suspended:
        status.setdefault("startTime", stamp)
