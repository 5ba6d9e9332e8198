"""
Validation of Jobs and CronJobs.

Source: k8s.io/kubernetes, pkg/apis/batch/validation.
"""

import zoneinfo

from cluster.api.validation.cron import CronError, check_schedule
from cluster.api.validation.pod_spec import validate_template
from cluster.api.validation.rules import Errors, immutable, listed, mapping, not_negative, one_of, text
from cluster.api.validation.selectors import validate_selector
from cluster.api.validation.templates import check_labels
from cluster.machinery import field_errors
from cluster.machinery.objects import Object, copy_object

_NAME_LIMIT = 52
_INDEXED_PARALLELISM = 100_000
_COUNTS = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
           "backoffLimitPerIndex", "maxFailedIndexes")  # fmt: skip
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")


def validate_job(job: Object) -> Errors:
    """The selector is the strategy's work when the client gave none: it is there by now."""
    spec = mapping(job, "spec")
    errors = _check_job_spec("spec", spec)
    selector = spec.get("selector")
    if selector is None:
        return [*errors, field_errors.required("spec.selector")]
    return errors + validate_selector("spec.selector", selector) + check_labels("spec.template", spec)


def _check_job_spec(path: str, spec: Object) -> Errors:
    errors: Errors = []
    for key in _COUNTS:
        errors += not_negative(f"{path}.{key}", spec.get(key))
    mode = spec.get("completionMode")
    if mode is not None:
        errors += _check_mode(path, spec, mode)
    if (policy := spec.get("podFailurePolicy")) is not None:
        errors += _check_failure_policy(f"{path}.podFailurePolicy", policy)
    if replacement := spec.get("podReplacementPolicy"):
        supported = ("Failed",) if policy is not None else ("Failed", "TerminatingOrFailed")
        errors += one_of(f"{path}.podReplacementPolicy", replacement, supported)
    errors += validate_template(f"{path}.template", mapping(spec, "template"))
    return errors + _check_restart_policy(f"{path}.template.spec.restartPolicy", spec)


def _check_mode(path: str, spec: Object, mode: str) -> Errors:
    errors = one_of(f"{path}.completionMode", mode, ("Indexed", "NonIndexed"))
    if mode == "Indexed":
        if spec.get("completions") is None:
            detail = "when completion mode is Indexed"
            errors.append(field_errors.required(f"{path}.completions", detail))
        parallelism = spec.get("parallelism") or 0
        if parallelism > _INDEXED_PARALLELISM:
            detail = f"must be less than or equal to {_INDEXED_PARALLELISM} when completion mode is Indexed"
            errors.append(field_errors.invalid(f"{path}.parallelism", parallelism, detail))
    else:
        for key in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(key) is not None:
                errors.append(field_errors.invalid(f"{path}.{key}", spec[key], "requires indexed completion mode"))
        if spec.get("successPolicy") is not None:
            detail = "requires indexed completion mode"
            errors.append(field_errors.invalid(f"{path}.successPolicy", spec["successPolicy"], detail))
    return errors


def _check_restart_policy(path: str, spec: Object) -> Errors:
    policy = text(mapping(mapping(spec, "template"), "spec"), "restartPolicy")
    if policy in ("", "Always"):
        return [field_errors.required(path, 'valid values: "OnFailure", "Never"')]
    if policy not in ("OnFailure", "Never"):
        return [field_errors.not_supported(path, policy, ("OnFailure", "Never"))]
    if spec.get("podFailurePolicy") is not None and policy != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        return [field_errors.invalid(path, policy, detail)]
    return []


def _check_failure_policy(path: str, policy: Object) -> Errors:
    errors: Errors = []
    for index, rule in enumerate(listed(policy, "rules")):
        where = f"{path}.rules[{index}]"
        action, codes, conditions = text(rule, "action"), rule.get("onExitCodes"), listed(rule, "onPodConditions")
        if not action:
            supported = ", ".join(f'"{name}"' for name in _ACTIONS)
            errors.append(field_errors.required(f"{where}.action", f"valid values: {supported}"))
        else:
            errors += one_of(f"{where}.action", action, _ACTIONS)
        if codes is not None:
            errors += _check_exit_codes(f"{where}.onExitCodes", codes)
        if codes is not None and conditions:
            detail = "specifying both OnExitCodes and OnPodConditions is not supported"
            errors.append(field_errors.invalid(where, "", detail))
        if codes is None and not conditions:
            detail = "specifying one of OnExitCodes and OnPodConditions is required"
            errors.append(field_errors.invalid(where, "", detail))
    return errors


def _check_exit_codes(path: str, codes: Object) -> Errors:
    operator, values = text(codes, "operator"), listed(codes, "values")
    errors = (
        one_of(f"{path}.operator", operator, ("In", "NotIn"))
        if operator
        else [field_errors.required(f"{path}.operator", 'valid values: "In", "NotIn"')]
    )
    if not values:
        errors.append(field_errors.invalid(f"{path}.values", values, "at least one value is required"))
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            detail = "must not be 0 for the In operator"
            errors.append(field_errors.invalid(f"{path}.values[{index}]", value, detail))
        if value in values[:index]:
            errors.append(field_errors.duplicate(f"{path}.values[{index}]", value))
    return errors


def _with_directives(template: Object, wanted: Object) -> Object:
    """`template` with what a queue may still decide about the Pods of a Job that has not begun."""
    made = copy_object(template)
    spec, wanted_spec = made.setdefault("spec", {}), mapping(wanted, "spec")
    for key in ("nodeSelector", "tolerations", "schedulingGates"):
        _take(spec, wanted_spec, key)
    _take(made.setdefault("metadata", {}), mapping(wanted, "metadata"), "labels")
    _take(made["metadata"], mapping(wanted, "metadata"), "annotations")
    affinity = dict(mapping(spec, "affinity"))
    _take(affinity, mapping(wanted_spec, "affinity"), "nodeAffinity")
    _take(spec, {"affinity": affinity} if affinity or "affinity" in wanted_spec else {}, "affinity")
    for key in ("containers", "initContainers"):
        for container, asked in zip(listed(spec, key), listed(wanted_spec, key), strict=False):
            if container.get("name") == asked.get("name"):
                _take(container, asked, "resources")
    if not made["metadata"] and "metadata" not in wanted:
        del made["metadata"]
    return made


def _take(target: Object, source: Object, key: str) -> None:
    if key in source:
        target[key] = source[key]
    else:
        target.pop(key, None)


def validate_job_update(new: Object, old: Object) -> Errors:
    errors = validate_job(new)
    new_spec, old_spec = mapping(new, "spec"), mapping(old, "spec")
    indexed = new_spec.get("completionMode") == "Indexed"
    elastic = indexed and new_spec.get("completions") == new_spec.get("parallelism")
    if not elastic:
        errors += immutable("spec.completions", new_spec.get("completions"), old_spec.get("completions"))
    errors += immutable("spec.selector", new_spec.get("selector"), old_spec.get("selector"))
    after, before = mapping(new_spec, "template"), mapping(old_spec, "template")
    if old_spec.get("suspend") and not mapping(old, "status").get("startTime"):
        before = _with_directives(before, after)
    errors += immutable("spec.template", after, before)
    for key in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        errors += immutable(f"spec.{key}", new_spec.get(key), old_spec.get(key))
    return errors


def validate_cron_job(cron_job: Object) -> Errors:
    spec = mapping(cron_job, "spec")
    schedule = text(spec, "schedule")
    errors = _check_schedule("spec.schedule", schedule) if schedule else [field_errors.required("spec.schedule")]
    errors += not_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    errors += _check_time_zone("spec.timeZone", spec.get("timeZone"))
    policy = text(spec, "concurrencyPolicy")
    errors += (
        one_of("spec.concurrencyPolicy", policy, ("Allow", "Forbid", "Replace"))
        if policy
        else [field_errors.required("spec.concurrencyPolicy")]
    )
    errors += _check_job_spec("spec.jobTemplate.spec", mapping(mapping(spec, "jobTemplate"), "spec"))
    for key in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        errors += not_negative(f"spec.{key}", spec.get(key))
    return errors


def validate_cron_job_create(cron_job: Object) -> Errors:
    """The names of its jobs are the CronJob's and eleven characters more."""
    errors = validate_cron_job(cron_job)
    name = text(mapping(cron_job, "metadata"), "name")
    if len(name) > _NAME_LIMIT:
        detail = f"must be no more than {_NAME_LIMIT} characters"
        errors.append(field_errors.invalid("metadata.name", name, detail))
    return errors


def _check_schedule(path: str, schedule: str) -> Errors:
    errors: Errors = []
    try:
        check_schedule(schedule)
    except CronError as error:
        errors.append(field_errors.invalid(path, schedule, str(error)))
    if "TZ" in schedule:
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.append(field_errors.invalid(path, schedule, detail))
    return errors


def _check_time_zone(path: str, zone: str | None) -> Errors:
    if zone is None:
        return []
    if not zone:
        return [field_errors.invalid(path, zone, "must be nil or non-empty string")]
    if zone.lower() == "local":
        detail = "must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [field_errors.invalid(path, zone, detail)]
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return [field_errors.invalid(path, zone, f"unknown time zone {zone}")]
    return []
