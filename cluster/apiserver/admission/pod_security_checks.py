"""
The Pod Security Standards: what a pod of level baseline or restricted may not ask for. Pure.

Each check looks at one pod (metadata and spec) and returns None or (reason, detail) in upstream's words.
Used by `pod_security.py`. Source: kubernetes, staging/src/k8s.io/pod-security-admission/policy.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cluster.apiserver.pod_references import containers_of
from cluster.machinery.objects import Object


class Violation(NamedTuple):
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


Check = Callable[[Object, Object], Violation | None]
"""(metadata, spec) -> what is wrong."""

BASELINE_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
    }
)  # fmt: skip
SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
RESTRICTED_VOLUMES = frozenset(
    {
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
        "image",
    }
)  # fmt: skip
APPARMOR_PREFIX = "container.apparmor.security.beta.kubernetes.io/"


def violations(level: str, metadata: Object, spec: Object) -> list[Violation]:
    """What a pod violates of `baseline` or `restricted`, by the names of the checks; `privileged` allows all."""
    checks = _CHECKS.get(level, ())
    return [found for check in checks if (found := check(metadata, spec)) is not None]


def _security(holder: Object) -> Object:
    return holder.get("securityContext") or {}


def _quote(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _containers(names: Sequence[str]) -> str:
    return f"{'container' if len(names) == 1 else 'containers'} {_quote(names)}"


def _setters(pod: bool, names: Sequence[str]) -> str:
    """`pod and container "c"`: who sets something bad."""
    return " and ".join([*(["pod"] if pod else []), *([_containers(names)] if names else [])])


def _bad_containers(spec: Object, is_bad: Callable[[Object], bool]) -> list[str]:
    return [str(c.get("name")) for c in containers_of(spec) if is_bad(_security(c))]


def _is_windows(spec: Object) -> bool:
    return (spec.get("os") or {}).get("name") == "windows"


def host_namespaces(metadata: Object, spec: Object) -> Violation | None:
    bad = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return Violation("host namespaces", ", ".join(bad)) if bad else None


def privileged(metadata: Object, spec: Object) -> Violation | None:
    bad = _bad_containers(spec, lambda s: bool(s.get("privileged")))
    return Violation("privileged", f"{_containers(bad)} must not set securityContext.privileged=true") if bad else None


def _added(security: Object) -> list[str]:
    return [str(c) for c in (security.get("capabilities") or {}).get("add") or ()]


def capabilities_baseline(metadata: Object, spec: Object) -> Violation | None:
    bad = _bad_containers(spec, lambda s: not BASELINE_CAPABILITIES.issuperset(_added(s)))
    if not bad:
        return None
    added = {c for container in containers_of(spec) for c in _added(_security(container))} - BASELINE_CAPABILITIES
    detail = f"{_containers(bad)} must not include {_quote(sorted(added))} in securityContext.capabilities.add"
    return Violation("non-default capabilities", detail)


def capabilities_restricted(metadata: Object, spec: Object) -> Violation | None:
    if _is_windows(spec):
        return None
    undropped = _bad_containers(spec, lambda s: "ALL" not in ((s.get("capabilities") or {}).get("drop") or ()))
    allowed = {"NET_BIND_SERVICE"}
    adding = _bad_containers(spec, lambda s: not allowed.issuperset(_added(s)))
    details = []
    if undropped:
        details.append(f'{_containers(undropped)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        added = {c for container in containers_of(spec) for c in _added(_security(container))} - allowed
        details.append(
            f"{_containers(adding)} must not include {_quote(sorted(added))} in securityContext.capabilities.add"
        )
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


def host_path_volumes(metadata: Object, spec: Object) -> Violation | None:
    bad = [str(v.get("name")) for v in spec.get("volumes") or () if "hostPath" in v]
    if not bad:
        return None
    return Violation("hostPath volumes", f"{'volume' if len(bad) == 1 else 'volumes'} {_quote(bad)}")


def restricted_volumes(metadata: Object, spec: Object) -> Violation | None:
    bad: list[str] = []
    types: set[str] = set()
    for volume in spec.get("volumes") or ():
        kinds = {kind for kind in volume if kind != "name"}
        if kinds and not kinds & RESTRICTED_VOLUMES:
            bad.append(str(volume.get("name")))
            types |= kinds
    if not bad:
        return None
    volumes, uses = ("volume", "uses") if len(bad) == 1 else ("volumes", "use")
    kind = "type" if len(types) == 1 else "types"
    detail = f"{volumes} {_quote(bad)} {uses} restricted volume {kind} {_quote(sorted(types))}"
    return Violation("restricted volume types", detail)


def host_ports(metadata: Object, spec: Object) -> Violation | None:
    bad: list[str] = []
    ports: set[str] = set()
    for container in containers_of(spec):
        used = {str(p["hostPort"]) for p in container.get("ports") or () if p.get("hostPort")}
        if used:
            bad.append(str(container.get("name")))
            ports |= used
    if not bad:
        return None
    uses = "uses" if len(bad) == 1 else "use"
    shown = "hostPort" if len(ports) == 1 else "hostPorts"
    return Violation("hostPort", f"{_containers(bad)} {uses} {shown} {', '.join(sorted(ports))}")


def host_probes(metadata: Object, spec: Object) -> Violation | None:
    bad: list[str] = []
    for container in containers_of(spec):
        handlers = [container.get(f) or {} for f in ("livenessProbe", "readinessProbe", "startupProbe")]
        handlers += [(container.get("lifecycle") or {}).get(f) or {} for f in ("postStart", "preStop")]
        if any((h.get(kind) or {}).get("host") for h in handlers for kind in ("httpGet", "tcpSocket")):
            bad.append(str(container.get("name")))
    if not bad:
        return None
    detail = f"{_containers(bad)} {'uses' if len(bad) == 1 else 'use'} probe or lifecycle host"
    return Violation("probe or lifecycle host", detail)


def app_armor(metadata: Object, spec: Object) -> Violation | None:
    def is_bad(security: Object) -> bool:
        kind = (security.get("appArmorProfile") or {}).get("type")
        return kind is not None and kind not in ("RuntimeDefault", "Localhost")

    pod, bad = is_bad(_security(spec)), _bad_containers(spec, is_bad)
    details = []
    if pod or bad:
        details.append(f'{_setters(pod, bad)} must not set AppArmor profile type to "Unconfined"')
    for key, value in sorted((metadata.get("annotations") or {}).items()):
        if (
            key.startswith(APPARMOR_PREFIX)
            and value not in ("", "runtime/default")
            and not value.startswith("localhost/")
        ):
            details.append(f'annotation {key}="{value}"')
    if not details:
        return None
    reason = "forbidden AppArmor profile" if len(details) + len(bad) <= 2 else "forbidden AppArmor profiles"
    return Violation(reason, ", ".join(details))


def se_linux(metadata: Object, spec: Object) -> Violation | None:
    def options(security: Object) -> Object:
        return security.get("seLinuxOptions") or {}

    def is_bad(security: Object) -> bool:
        o = options(security)
        return (o.get("type") or "") not in SELINUX_TYPES or bool(o.get("user")) or bool(o.get("role"))

    pod, bad = is_bad(_security(spec)), _bad_containers(spec, is_bad)
    if not pod and not bad:
        return None
    everywhere = [options(_security(holder)) for holder in (spec, *containers_of(spec))]
    types = sorted({o.get("type") or "" for o in everywhere} - SELINUX_TYPES)
    details = []
    if types:
        details.append(f"{'type' if len(types) == 1 else 'types'} {_quote(types)}")
    details += [f"{field} may not be set" for field in ("user", "role") if any(o.get(field) for o in everywhere)]
    set_ = "set" if pod or len(bad) != 1 else "sets"
    return Violation(
        "seLinuxOptions",
        f"{_setters(pod, bad)} {set_} forbidden securityContext.seLinuxOptions: {'; '.join(details)}",
    )


def proc_mount(metadata: Object, spec: Object) -> Violation | None:
    bad = _bad_containers(spec, lambda s: s.get("procMount") not in (None, "", "Default"))
    if not bad:
        return None
    values = sorted({str(_security(c)["procMount"]) for c in containers_of(spec) if _security(c).get("procMount")})
    shown = _quote(value for value in values if value != "Default")
    return Violation("procMount", f"{_containers(bad)} must not set securityContext.procMount to {shown}")


def _bad_seccomp(security: Object) -> bool:
    kind = (security.get("seccompProfile") or {}).get("type")
    return kind is not None and kind not in ("RuntimeDefault", "Localhost")


def seccomp_baseline(metadata: Object, spec: Object) -> Violation | None:
    pod, bad = _bad_seccomp(_security(spec)), _bad_containers(spec, _bad_seccomp)
    if not pod and not bad:
        return None
    kinds = sorted(
        {
            str(_security(holder)["seccompProfile"].get("type"))
            for holder in (spec, *containers_of(spec))
            if _bad_seccomp(_security(holder))
        }
    )
    detail = f"{_setters(pod, bad)} must not set securityContext.seccompProfile.type to {_quote(kinds)}"
    return Violation("seccompProfile", detail)


def seccomp_restricted(metadata: Object, spec: Object) -> Violation | None:
    if _is_windows(spec):
        return None
    if explicit := seccomp_baseline(metadata, spec):
        return explicit
    if (_security(spec).get("seccompProfile") or {}).get("type"):
        return None
    bad = _bad_containers(spec, lambda s: not (s.get("seccompProfile") or {}).get("type"))
    if not bad:
        return None
    detail = (
        f'pod or {_containers(bad)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    )
    return Violation("seccompProfile", detail)


def sysctls(metadata: Object, spec: Object) -> Violation | None:
    bad = [str(s.get("name")) for s in _security(spec).get("sysctls") or () if s.get("name") not in SAFE_SYSCTLS]
    if not bad:
        return None
    return Violation("forbidden sysctl" if len(bad) == 1 else "forbidden sysctls", ", ".join(bad))


def windows_host_process(metadata: Object, spec: Object) -> Violation | None:
    def is_bad(security: Object) -> bool:
        return bool((security.get("windowsOptions") or {}).get("hostProcess"))

    pod, bad = is_bad(_security(spec)), _bad_containers(spec, is_bad)
    if not pod and not bad:
        return None
    return Violation(
        "hostProcess", f"{_setters(pod, bad)} must not set securityContext.windowsOptions.hostProcess=true"
    )


def privilege_escalation(metadata: Object, spec: Object) -> Violation | None:
    if _is_windows(spec):
        return None
    bad = _bad_containers(spec, lambda s: s.get("allowPrivilegeEscalation") is not False)
    if not bad:
        return None
    return Violation(
        "allowPrivilegeEscalation != false",
        f"{_containers(bad)} must set securityContext.allowPrivilegeEscalation=false",
    )


def run_as_non_root(metadata: Object, spec: Object) -> Violation | None:
    if spec.get("hostUsers") is False:
        return None  # root in a user namespace is nobody outside
    reason = "runAsNonRoot != true"
    of_pod = _security(spec).get("runAsNonRoot")
    explicit = _bad_containers(spec, lambda s: s.get("runAsNonRoot") is False)
    if of_pod is False or explicit:
        setters = _setters(of_pod is False, explicit)
        return Violation(reason, f"{setters} must not set securityContext.runAsNonRoot=false")
    if of_pod:
        return None
    bad = _bad_containers(spec, lambda s: s.get("runAsNonRoot") is None)
    if not bad:
        return None
    return Violation(reason, f"pod or {_containers(bad)} must set securityContext.runAsNonRoot=true")


def run_as_user(metadata: Object, spec: Object) -> Violation | None:
    if spec.get("hostUsers") is False:
        return None
    pod = _security(spec).get("runAsUser") == 0
    bad = _bad_containers(spec, lambda s: s.get("runAsUser") == 0)
    if not pod and not bad:
        return None
    return Violation("runAsUser=0", f"{_setters(pod, bad)} must not set runAsUser=0")


# Sorted by upstream's names of the checks, which is the order in its messages.
_BASELINE: tuple[Check, ...] = (
    app_armor, capabilities_baseline, host_namespaces, host_path_volumes, host_ports, host_probes, privileged,
    proc_mount, se_linux, seccomp_baseline, sysctls, windows_host_process,
)  # fmt: skip
_RESTRICTED: tuple[Check, ...] = (
    privilege_escalation, app_armor, capabilities_restricted, host_namespaces, host_ports, host_probes, privileged,
    proc_mount, restricted_volumes, run_as_non_root, run_as_user, se_linux, seccomp_restricted, sysctls,
    windows_host_process,
)  # fmt: skip
_CHECKS = {"baseline": _BASELINE, "restricted": _RESTRICTED}
