"""What plugins are told by their configuration file, and what a wrong one is told."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.api import resources
from cluster.apiserver.admission import configuration
from cluster.apiserver.admission.configuration import Configurations, PluginConfiguration
from cluster.apiserver.admission.event_rate_limit import EventRateLimit
from cluster.apiserver.admission.plugin import Surroundings
from cluster.apiserver.admission.pod_security import PodSecurity
from cluster.apiserver.admission.resource_quota import ResourceQuota
from cluster.apiserver.requests import AdmissionRequest, UserInfo
from cluster.machinery.status_errors import Forbidden, TooManyRequests
from tests.fakes.object_store import FakeObjects

RATE = {"kind": "Configuration", "apiVersion": "eventratelimit.admission.k8s.io/v1alpha1"}
SECURITY = {"kind": "PodSecurityConfiguration", "apiVersion": "pod-security.admission.config.k8s.io/v1"}
QUOTA = {"kind": "Configuration", "apiVersion": "apiserver.config.k8s.io/v1"}


def load(directory: Path, *plugins: dict[str, Any]) -> Configurations:
    path = directory / "admission.yaml"
    head = {"kind": "AdmissionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1"}
    path.write_text(yaml.safe_dump({**head, "plugins": list(plugins)}))
    return configuration.load(str(path))


def around(name: str, fields: dict[str, Any], *objects: dict[str, Any]) -> Surroundings:
    known = FakeObjects(*objects)
    return Surroundings(known, known, None, {name: PluginConfiguration(fields, "admission.yaml")})


def test_a_plugin_is_configured_inline_or_by_a_file_beside(tmp_path: Path) -> None:
    (tmp_path / "rate.yaml").write_text(yaml.safe_dump(RATE))
    found = load(
        tmp_path, {"name": "EventRateLimit", "path": "rate.yaml"}, {"name": "PodSecurity", "configuration": SECURITY}
    )
    assert found["EventRateLimit"].fields == RATE
    assert found["PodSecurity"].fields == SECURITY
    assert configuration.load("") == {}


@pytest.mark.parametrize(
    ("plugins", "told"),
    [
        ([{}], "plugins[0].name: Required value"),
        ([{"name": "A"}, {"name": "A", "x": 1}], 'plugins[1].x: unknown field "x"'),
        ([{"name": "A", "configuration": {}}, {"name": "A"}], 'plugins[1].name: Duplicate value: "A"'),
    ],
)
def test_a_wrong_file_is_told_what_is_wrong(tmp_path: Path, plugins: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        load(tmp_path, *plugins)


def event(user: str = "kubelet", namespace: str = "a", name: str = "p", host: str = "n1") -> AdmissionRequest:
    obj = {
        "kind": "Event", "apiVersion": "v1", "source": {"component": "kubelet", "host": host},
        "involvedObject": {"kind": "Pod", "namespace": namespace, "name": name},
    }  # fmt: skip
    return AdmissionRequest("CREATE", resources.named("events"), "", namespace, "", obj, None, UserInfo(user))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def rate_limit(clock: Clock, *limits: dict[str, Any]) -> EventRateLimit:
    return EventRateLimit(around("EventRateLimit", {**RATE, "limits": list(limits)}), clock)


@pytest.mark.parametrize(
    ("kind", "same", "other", "key"),
    [
        ("Server", event(namespace="b"), None, ""),
        ("Namespace", event(user="x"), event(namespace="b"), "a"),
        ("User", event(namespace="b"), event(user="x"), "kubelet"),
        ("SourceAndObject", event(user="x"), event(name="q"), "kubeletn1Podap"),
        ("SourceAndObject", event(user="x"), event(host="n2"), "kubeletn1Podap"),
    ],
)
async def test_events_beyond_the_limit_are_refused(
    kind: str, same: AdmissionRequest, other: AdmissionRequest | None, key: str
) -> None:
    clock = Clock()
    plugin = rate_limit(clock, {"type": kind, "qps": 1, "burst": 2})
    await plugin.validate(event())
    await plugin.validate(same)
    with pytest.raises(TooManyRequests) as caught:
        await plugin.validate(event())
    assert caught.value.message == f"limit reached on type {kind} for key {key}"
    assert (caught.value.http_code, caught.value.status_reason) == (429, "TooManyRequests")
    if other is not None:
        await plugin.validate(other)
    clock.now += 1.0
    await plugin.validate(event())
    with pytest.raises(TooManyRequests):
        await plugin.validate(event())


async def test_the_key_that_was_used_last_is_kept_longest() -> None:
    plugin = rate_limit(Clock(), {"type": "Namespace", "qps": 1, "burst": 1, "cacheSize": 2})
    for namespace in ("a", "b", "c"):  # c pushes a out
        await plugin.validate(event(namespace=namespace))
    await plugin.validate(event(namespace="a"))
    with pytest.raises(TooManyRequests):
        await plugin.validate(event(namespace="c"))


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ([], "limits: Invalid value: []: must not be empty"),
        ([{"type": "Pod", "qps": 1, "burst": 1}], 'limits[0].type: Unsupported value: "Pod"'),
        ([{"type": "Server", "burst": 1}], "limits[0].qps: Invalid value: 0: must be positive"),
        ([{"type": "Server", "qps": 1}], "limits[0].burst: Invalid value: 0: must be positive"),
        ([{"type": "User", "qps": 1, "burst": 1, "cacheSize": -1}], "must not be negative"),
        ([{"type": "User", "qps": "1", "burst": 1}], "must be a whole number"),
    ],
)
def test_wrong_limits(limits: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        rate_limit(Clock(), *limits)


def pod(namespace: str = "shop", user: str = "alice", runtime_class: str = "") -> AdmissionRequest:
    spec: dict[str, Any] = {"hostNetwork": True, "containers": [{"name": "a", "image": "b"}]}
    if runtime_class:
        spec["runtimeClassName"] = runtime_class
    obj = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "namespace": namespace}, "spec": spec}
    return AdmissionRequest("CREATE", resources.PODS, "", namespace, "p", obj, None, UserInfo(user))


async def test_pod_security_has_defaults_and_exemptions_and_tells_the_audit_log() -> None:
    fields = {
        **SECURITY,
        "defaults": {"enforce": "baseline", "audit": "restricted", "audit-version": "v1.30"},
        "exemptions": {"namespaces": ["system"], "usernames": ["root"], "runtimeClasses": ["vm"]},
    }
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    open_namespace = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "open", "labels": labels}}
    plugin = PodSecurity(around("PodSecurity", fields, open_namespace))
    with pytest.raises(Forbidden, match='violates PodSecurity "baseline:latest": host namespaces'):
        await plugin.validate(pod())
    for request, what in (
        (pod("system"), "namespace"), (pod(user="root"), "user"), (pod(runtime_class="vm"), "runtimeClass"),
    ):  # fmt: skip
        await plugin.validate(request)
        assert request.annotations == {"pod-security.kubernetes.io/exempt": what}
    labelled = pod("open")
    await plugin.validate(labelled)
    assert labelled.annotations["pod-security.kubernetes.io/enforce-policy"] == "privileged:latest"
    violations = labelled.annotations["pod-security.kubernetes.io/audit-violations"]
    assert violations.startswith('would violate PodSecurity "restricted:v1.30": allowPrivilegeEscalation')


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"defaults": {"enforce": "all"}}, "defaults.enforce: Invalid value"),
        ({"defaults": {"enforce-version": "1.2"}}, 'must be "latest" or "v1.x"'),
        ({"exemptions": {"namespaces": ["A"]}}, "exemptions.namespaces[0]: Invalid value"),
        ({"exemptions": {"usernames": ["a", "a"]}}, 'exemptions.usernames[1]: Duplicate value: "a"'),
        ({"kind": "Other"}, 'no kind "Other" is registered'),
    ],
)
def test_wrong_pod_security(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        PodSecurity(around("PodSecurity", SECURITY | change))


async def test_what_is_limited_needs_a_quota() -> None:
    fields = {**QUOTA, "limitedResources": [{"resource": "pods", "matchContains": ["pods"]}]}
    quota = {
        "kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "q", "namespace": "rich"},
        "spec": {"hard": {"pods": "5", "count/pods": "5"}},
        "status": {"hard": {"pods": "5", "count/pods": "5"}, "used": {"pods": "0", "count/pods": "0"}},
    }  # fmt: skip
    plugin = ResourceQuota(around("ResourceQuota", fields, quota))
    with pytest.raises(Forbidden, match="insufficient quota to consume: count/pods,pods"):
        await plugin.validate(pod("poor"))
    await plugin.validate(pod("rich"))
    with pytest.raises(ValueError, match='unknown field "matchScopes"'):
        ResourceQuota(around("ResourceQuota", {**QUOTA, "limitedResources": [{"resource": "pods", "matchScopes": []}]}))
