"""Validation of security contexts of pods and containers."""

import re

from cluster.api.validation.rules import MAX_INT32, Errors, listed, mapping, one_of, text, within
from cluster.machinery import field_errors
from cluster.machinery.objects import Object

_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")


def validate_pod_context(path: str, context: Object | None, spec: Object) -> Errors:
    if not context:
        return []
    errors: Errors = []
    for key in ("fsGroup", "runAsGroup", "runAsUser"):
        errors += within(f"{path}.{key}", context.get(key), 0, MAX_INT32)
    for index, group in enumerate(listed(context, "supplementalGroups")):
        errors += within(f"{path}.supplementalGroups[{index}]", group, 0, MAX_INT32)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(field_errors.invalid(f"{path}.shareProcessNamespace", True, detail))
    errors += _check_sysctls(path, context, spec)
    if policy := context.get("fsGroupChangePolicy"):
        errors += one_of(f"{path}.fsGroupChangePolicy", policy, ("Always", "OnRootMismatch"))
    if policy := context.get("supplementalGroupsPolicy"):
        errors += one_of(f"{path}.supplementalGroupsPolicy", policy, ("Merge", "Strict"))
    return errors + _check_profiles(path, context)


_SYSCTL_LIMIT = 253
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL_NAME = rf"({_SYSCTL_SEGMENT}[\./])*{_SYSCTL_SEGMENT}"


def _check_sysctls(path: str, context: Object, spec: Object) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, sysctl in enumerate(listed(context, "sysctls")):
        where, name = f"{path}.sysctls[{index}]", text(sysctl, "name").replace("/", ".")
        if not name:
            errors.append(field_errors.required(f"{where}.name"))
        elif len(name) > _SYSCTL_LIMIT or not re.fullmatch(_SYSCTL_NAME, text(sysctl, "name")):
            detail = f"must have at most {_SYSCTL_LIMIT} characters and match regex ^{_SYSCTL_NAME}$"
            errors.append(field_errors.invalid(f"{where}.name", text(sysctl, "name"), detail))
        elif name in seen:
            errors.append(field_errors.duplicate(f"{where}.name", text(sysctl, "name")))
        seen.add(name)
        if spec.get("hostNetwork") and name.startswith("net."):
            errors.append(
                field_errors.invalid(f"{where}.name", name, "may not be specified when 'hostNetwork' is true")
            )
        if spec.get("hostIPC") and (name.startswith("kernel.shm") or name.startswith("fs.mqueue.")):
            errors.append(field_errors.invalid(f"{where}.name", name, "may not be specified when 'hostIPC' is true"))
    return errors


def validate_container_context(path: str, context: Object | None) -> Errors:
    if not context:
        return []
    errors: Errors = []
    for key in ("runAsUser", "runAsGroup"):
        errors += within(f"{path}.{key}", context.get(key), 0, MAX_INT32)
    if mount := context.get("procMount"):
        errors += one_of(f"{path}.procMount", mount, ("Default", "Unmasked"))
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(field_errors.invalid(path, context, detail))
        if "CAP_SYS_ADMIN" in listed(mapping(context, "capabilities"), "add"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(field_errors.invalid(path, context, detail))
    return errors + _check_profiles(path, context)


def _check_profiles(path: str, context: Object) -> Errors:
    errors: Errors = []
    for key, kind in (("seccompProfile", "seccomp"), ("appArmorProfile", "appArmor")):
        if context.get(key) is not None:
            errors += _check_profile(f"{path}.{key}", context[key], kind)
    return errors


def _check_profile(path: str, profile: Object, kind: str) -> Errors:
    errors: Errors = []
    chosen, local = text(profile, "type"), profile.get("localhostProfile")
    if kind == "seccomp":
        errors += (
            one_of(f"{path}.type", chosen, _PROFILES)
            if chosen
            else [field_errors.required(f"{path}.type", "type is required when seccompProfile is set")]
        )
    else:
        errors += (
            one_of(f"{path}.type", chosen, _PROFILES)
            if chosen
            else [field_errors.required(f"{path}.type", "type is required when appArmorProfile is set")]
        )
    if chosen == "Localhost":
        if local is None:
            word = "seccomp" if kind == "seccomp" else "AppArmor"
            detail = f"must be set when {word} type is Localhost"
            errors.append(field_errors.required(f"{path}.localhostProfile", detail))
        elif kind == "seccomp" and (local.startswith("/") or ".." in local.split("/")):
            detail = "must be a relative path" if local.startswith("/") else "must not contain '..'"
            errors.append(field_errors.invalid(f"{path}.localhostProfile", local, detail))
    elif local is not None:
        word = "seccomp" if kind == "seccomp" else "AppArmor"
        detail = f"can only be set when {word} type is Localhost"
        errors.append(field_errors.invalid(f"{path}.localhostProfile", local, detail))
    return errors
