"""The Pod Security Standards, field by field and for every kind of container."""

from typing import Any

import pytest

from cluster.apiserver.admission.pod_security_checks import violations

SAFE_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def said(level: str, spec: dict[str, Any], annotations: dict[str, str] | None = None) -> list[str]:
    return [str(v) for v in violations(level, {"annotations": annotations or {}}, spec)]


def spec(security: dict[str, Any] | None = None, kind: str = "containers", **rest: Any) -> dict[str, Any]:
    """A pod that meets `restricted`, but for what the case adds."""
    container = {"name": "c", "securityContext": {**SAFE_CONTAINER, **(security or {})}}
    safe = {"name": "ok", "securityContext": SAFE_CONTAINER}
    return {"containers": [safe], **{kind: [container]}, **rest}


BASELINE = [
    (spec(hostNetwork=True, hostPID=True), "host namespaces (hostNetwork=true, hostPID=true)"),
    (spec(hostIPC=True), "host namespaces (hostIPC=true)"),
    (spec({"privileged": True}), 'privileged (container "c" must not set securityContext.privileged=true)'),
    (
        spec({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}),
        'non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add)',
    ),
    (spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), 'hostPath volumes (volume "v")'),
    (
        spec(volumes=[{"name": "v", "hostPath": {}}, {"name": "w", "hostPath": {}}]),
        'hostPath volumes (volumes "v", "w")',
    ),
    (
        spec({"procMount": "Unmasked"}),
        'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
    ),
    (
        spec({"seccompProfile": {"type": "Unconfined"}}),
        'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
    (
        spec(securityContext={"seccompProfile": {"type": "Unconfined"}}),
        'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
    (
        spec(securityContext={"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_syncookies"}]}),
        "forbidden sysctl (kernel.msgmax)",
    ),
    (
        spec({"seLinuxOptions": {"type": "x", "user": "u"}}),
        'seLinuxOptions (container "c" sets forbidden securityContext.seLinuxOptions: type "x"; user may not be set)',
    ),
    (
        spec({"windowsOptions": {"hostProcess": True}}),
        'hostProcess (container "c" must not set securityContext.windowsOptions.hostProcess=true)',
    ),
    (
        spec({"appArmorProfile": {"type": "Unconfined"}}),
        'forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined")',
    ),
]


@pytest.mark.parametrize(("pod", "message"), BASELINE, ids=[message for _, message in BASELINE])
def test_baseline_refuses(pod: dict[str, Any], message: str) -> None:
    assert said("baseline", pod) == [message]
    assert said("privileged", pod) == []


PER_CONTAINER = [
    ({"privileged": True}, "privileged"),
    ({"capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]}}, "unrestricted capabilities"),
    ({"capabilities": {"drop": ["CHOWN"]}}, "unrestricted capabilities"),
    ({"allowPrivilegeEscalation": True}, "allowPrivilegeEscalation != false"),
    ({"allowPrivilegeEscalation": None}, "allowPrivilegeEscalation != false"),
    ({"runAsNonRoot": False}, "runAsNonRoot != true"),
    ({"runAsNonRoot": None}, "runAsNonRoot != true"),
    ({"runAsUser": 0}, "runAsUser=0"),
    ({"seccompProfile": None}, "seccompProfile"),
    ({"seccompProfile": {"type": "Unconfined"}}, "seccompProfile"),
    ({"procMount": "Unmasked"}, "procMount"),
    ({"seLinuxOptions": {"role": "r"}}, "seLinuxOptions"),
    ({"windowsOptions": {"hostProcess": True}}, "hostProcess"),
    ({"appArmorProfile": {"type": "Unconfined"}}, "forbidden AppArmor profile"),
]


@pytest.mark.parametrize("kind", ["containers", "initContainers", "ephemeralContainers"])
@pytest.mark.parametrize(("security", "reason"), PER_CONTAINER, ids=[str(s) for s, _ in PER_CONTAINER])
def test_restricted_looks_at_every_kind_of_container(kind: str, security: dict[str, Any], reason: str) -> None:
    found = violations("restricted", {}, spec(security, kind))

    assert [v.reason for v in found] == [reason]
    assert 'container "c"' in found[0].detail


@pytest.mark.parametrize("kind", ["containers", "initContainers", "ephemeralContainers"])
def test_host_ports_are_found_in_every_kind_of_container(kind: str) -> None:
    pod = spec(kind=kind)
    pod[kind][0]["ports"] = [{"containerPort": 1, "hostPort": 80}]

    assert said("baseline", pod) == ['hostPort (container "c" uses hostPort 80)']


def test_a_bare_pod_violates_restricted_in_upstreams_words() -> None:
    assert ", ".join(said("restricted", {"containers": [{"name": "c"}]})) == (
        'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false),'
        ' unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]),'
        ' runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true),'
        ' seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault"'
        ' or "Localhost")'
    )


@pytest.mark.parametrize(
    "pod",
    [
        spec(),
        spec({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}),
        spec(
            {"runAsNonRoot": None, "seccompProfile": None},
            securityContext={"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}},
        ),
        spec(volumes=[{"name": k, k: {}} for k in ("configMap", "csi", "emptyDir", "projected", "secret")]),
    ],
)
def test_restricted_lets_in(pod: dict[str, Any]) -> None:
    assert said("restricted", pod) == []


def test_restricted_volume_types_are_named() -> None:
    pod = spec(volumes=[{"name": "a", "hostPath": {}}, {"name": "b", "nfs": {}}])

    assert said("restricted", pod) == [
        'restricted volume types (volumes "a", "b" use restricted volume types "hostPath", "nfs")'
    ]


def test_windows_pods_need_no_linux_settings() -> None:
    bare = {"name": "c", "securityContext": {"runAsNonRoot": True}}

    assert said("restricted", {"os": {"name": "windows"}, "containers": [bare]}) == []
