"""The file of --admission-control-config-file, in a running server."""

from pathlib import Path

import pytest
import yaml

from tests.integration.conftest import serving
from tests.integration.test_audit import events, flags

HEAD = {"kind": "AdmissionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1"}
RATE = {
    "kind": "Configuration", "apiVersion": "eventratelimit.admission.k8s.io/v1alpha1",
    "limits": [{"type": "Namespace", "qps": 1, "burst": 2}],
}  # fmt: skip
SECURITY = {
    "kind": "PodSecurityConfiguration", "apiVersion": "pod-security.admission.config.k8s.io/v1",
    "defaults": {"enforce": "baseline"},
}  # fmt: skip


async def test_events_are_limited_and_pods_held_to_the_default_standard(etcd_url: str, tmp_path: Path) -> None:
    path = tmp_path / "admission.yaml"
    plugins = [{"name": "EventRateLimit", "configuration": RATE}, {"name": "PodSecurity", "configuration": SECURITY}]
    path.write_text(yaml.safe_dump({**HEAD, "plugins": plugins}))
    given = [
        "--enable-admission-plugins=EventRateLimit", f"--admission-control-config-file={path}",
        *flags(tmp_path, "kind: Policy\napiVersion: audit.k8s.io/v1\nrules: [{level: Metadata}]\n"),
    ]  # fmt: skip
    async with serving(etcd_url, tmp_path, *given) as api:
        core = await api.namespace("limited")
        event = {
            "kind": "Event", "apiVersion": "v1", "metadata": {"generateName": "e-"}, "reason": "R",
            "involvedObject": {"kind": "Pod", "namespace": "limited", "name": "p"},
        }  # fmt: skip
        statuses = [await api.call("POST", f"{core}/events", event) for _ in range(6)]
        assert statuses[0][0] == 201
        refused = next(answer for status, answer in statuses if status == 429)
        assert refused["message"] == "limit reached on type Namespace for key limited"
        spec = {"hostNetwork": True, "containers": [{"name": "a", "image": "b"}]}
        pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": spec}
        status, answer = await api.call("POST", f"{core}/pods", pod)
        assert status == 403
        assert 'violates PodSecurity "baseline:latest"' in answer["message"]
        *_, written = events(tmp_path, requestURI=f"{core}/pods")
        assert written["annotations"]["pod-security.kubernetes.io/enforce-policy"] == "baseline:latest"


async def test_a_server_with_a_wrong_file_does_not_start(etcd_url: str, tmp_path: Path) -> None:
    path = tmp_path / "admission.yaml"
    path.write_text(
        yaml.safe_dump({**HEAD, "plugins": [{"name": "EventRateLimit", "configuration": {**RATE, "limits": []}}]})
    )
    given = ["--enable-admission-plugins=EventRateLimit", f"--admission-control-config-file={path}"]
    with pytest.raises(ValueError, match="limits: Invalid value"):
        async with serving(etcd_url, tmp_path, *given):
            raise AssertionError("it started")
