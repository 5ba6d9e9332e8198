"""Rows of apps, batch, autoscaling, policy, and of the core group's templates and controllers."""

from datetime import datetime
from typing import Any

from cluster.api.printers.ages import between, human_duration, since
from cluster.api.printers.formats import (
    NONE,
    UNSET,
    and_more,
    boolean_text,
    condition,
    containers_and_images,
    is_true,
    labels_text,
    metadata_of,
    name_of,
    number,
    selector_text,
    spec_of,
    status_of,
    template_cells,
)  # fmt: skip
from cluster.machinery.objects import Object


def _age(obj: Object, now: datetime) -> str:
    return since(metadata_of(obj).get("creationTimestamp"), now)


def pod_template_cells(obj: Object, now: datetime) -> list[Any]:
    template = obj.get("template") or {}
    return [
        name_of(obj),
        *containers_and_images(template.get("spec")),
        labels_text((template.get("metadata") or {}).get("labels")),
    ]


def replication_controller_cells(obj: Object, now: datetime) -> list[Any]:
    return _replicas(obj, now, labels_text(spec_of(obj).get("selector")))


def replica_set_cells(obj: Object, now: datetime) -> list[Any]:
    return _replicas(obj, now, selector_text(spec_of(obj).get("selector")))


def _replicas(obj: Object, now: datetime, selector: str) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    return [
        name_of(obj),
        number(spec, "replicas"),
        number(status, "replicas"),
        number(status, "readyReplicas"),
        _age(obj, now),
        *template_cells(spec),
        selector,
    ]


def deployment_cells(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    return [
        name_of(obj),
        f"{number(status, 'readyReplicas')}/{number(spec, 'replicas')}",
        number(status, "updatedReplicas"),
        number(status, "availableReplicas"),
        _age(obj, now),
        *template_cells(spec),
        selector_text(spec.get("selector")),
    ]


def stateful_set_cells(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    ready = f"{number(status, 'readyReplicas')}/{number(spec, 'replicas')}"
    return [name_of(obj), ready, _age(obj, now), *template_cells(spec)]


def daemon_set_cells(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    pod_spec = (spec.get("template") or {}).get("spec") or {}
    return [
        name_of(obj),
        number(status, "desiredNumberScheduled"),
        number(status, "currentNumberScheduled"),
        number(status, "numberReady"),
        number(status, "updatedNumberScheduled"),
        number(status, "numberAvailable"),
        labels_text(pod_spec.get("nodeSelector")),
        _age(obj, now),
        *containers_and_images(pod_spec),
        selector_text(spec.get("selector")),
    ]


def controller_revision_cells(obj: Object, now: datetime) -> list[Any]:
    owner = next((o for o in metadata_of(obj).get("ownerReferences") or () if o.get("controller")), None)
    controller = NONE
    if owner is not None:
        group = (owner.get("apiVersion") or "").rpartition("/")[0]
        kind = f"{owner.get('kind') or ''}.{group}" if group else owner.get("kind") or ""
        controller = f"{kind.lower()}/{owner.get('name') or ''}"
    return [name_of(obj), controller, number(obj, "revision"), _age(obj, now)]


_JOB_STATES = (("Complete", "Complete"), ("Failed", "Failed"), ("", "Terminating"), ("Suspended", "Suspended"),
               ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet"))  # fmt: skip


def job_cells(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    succeeded, parallelism = number(status, "succeeded"), number(spec, "parallelism")
    if spec.get("completions") is not None:
        completions = f"{succeeded}/{spec['completions']}"
    else:
        completions = f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"
    start, end = status.get("startTime"), status.get("completionTime")
    duration = (between(start, end) if end else since(start, now)) if start else ""
    return [
        name_of(obj),
        _job_state(obj),
        completions,
        duration,
        _age(obj, now),
        *template_cells(spec),
        selector_text(spec.get("selector")),
    ]


def _job_state(job: Object) -> str:
    status = status_of(job)
    for kind, state in _JOB_STATES:
        if is_true(condition(status, kind)) if kind else metadata_of(job).get("deletionTimestamp"):
            return state
    return "Running"


def cron_job_cells(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    job_spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    last = status.get("lastScheduleTime")
    return [
        name_of(obj),
        spec.get("schedule") or "",
        NONE if spec.get("timeZone") is None else spec["timeZone"],
        boolean_text(spec.get("suspend")),
        len(status.get("active") or ()),
        since(last, now) if last else NONE,
        _age(obj, now),
        *template_cells(job_spec),
        selector_text(job_spec.get("selector")),
    ]


def disruption_budget_cells(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    bounds = ["N/A" if spec.get(key) is None else str(spec[key]) for key in ("minAvailable", "maxUnavailable")]
    return [name_of(obj), *bounds, number(status_of(obj), "disruptionsAllowed"), _age(obj, now)]


def autoscaler_v1_cells(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    wanted, seen = spec.get("targetCPUUtilizationPercentage"), status.get("currentCPUUtilizationPercentage")
    target = NONE if wanted is None else f"cpu: {'<unknown>' if seen is None else f'{seen}%'}/{wanted}%"
    return _autoscaler(obj, now, target)


def autoscaler_v2_cells(obj: Object, now: datetime) -> list[Any]:
    specs, seen = spec_of(obj).get("metrics") or [], status_of(obj).get("currentMetrics") or []
    texts = [_metric(spec, seen[index] if index < len(seen) else {}) for index, spec in enumerate(specs)]
    return _autoscaler(obj, now, and_more(texts, 2, joint=", ") if texts else NONE)


def _autoscaler(obj: Object, now: datetime, target: str) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    reference = spec.get("scaleTargetRef") or {}
    return [
        name_of(obj),
        f"{reference.get('kind') or ''}/{reference.get('name') or ''}",
        target,
        UNSET if spec.get("minReplicas") is None else str(spec["minReplicas"]),
        number(spec, "maxReplicas"),
        number(status, "currentReplicas"),
        _age(obj, now),
    ]


_METRIC_SOURCES = {"Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods",
                   "Object": "object", "External": "external"}  # fmt: skip


def _metric(spec: Object, seen: Object) -> str:
    """One metric as `seen/wanted`; resources with their name in front."""
    key = _METRIC_SOURCES.get(spec.get("type") or "")
    if key is None:
        return "<unknown type>"
    source = spec.get(key) or {}
    target, current = source.get("target") or {}, (seen.get(key) or {}).get("current") or {}
    if key in ("resource", "containerResource"):
        return f"{source.get('name') or ''}: {_resource_metric(target, current)}"
    if target.get("averageValue") is not None:
        average = current.get("averageValue")
        text = f"{'<unknown>' if average is None else average}/{target['averageValue']}"
        return text if key == "pods" else f"{text} (avg)"
    value = current.get("value")
    return f"{'<unknown>' if value is None else value}/{target.get('value')}"


def _resource_metric(target: Object, current: Object) -> str:
    if target.get("averageValue") is not None:
        average = current.get("averageValue")
        return f"{'<unknown>' if average is None else average}/{target['averageValue']}"
    wanted, used = target.get("averageUtilization"), current.get("averageUtilization")
    return f"{'<unknown>' if used is None else f'{used}%'}/{'<auto>' if wanted is None else f'{wanted}%'}"


def signing_request_cells(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    seconds = spec.get("expirationSeconds")
    kinds = {c.get("type") for c in status.get("conditions") or ()}
    state = "Denied" if "Denied" in kinds else "Approved" if "Approved" in kinds else "Pending"
    state += ",Failed" if "Failed" in kinds else ""
    state += ",Issued" if status.get("certificate") else ""
    return [
        name_of(obj),
        _age(obj, now),
        spec.get("signerName") or NONE,
        spec.get("username") or "",
        NONE if seconds is None else human_duration(seconds),
        state,
    ]
