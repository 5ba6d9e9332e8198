"""What is counted for a quota, and what is used."""

from typing import Any

import pytest

from cluster.controller_manager.resource_quota import counted_kinds, used_of


@pytest.mark.parametrize(
    ("hard", "kinds"),
    [
        (["pods", "cpu", "limits.memory", "requests.example.com/gpu", "hugepages-2Mi"], {"pods"}),
        (["count/deployments.apps", "count/widgets.example.com"], {"deployments.apps", "widgets.example.com"}),
        (["services", "services.nodeports"], {"services"}),
        (["requests.storage", "gold.storageclass.storage.k8s.io/requests.storage"], {"persistentvolumeclaims"}),
        (["secrets", "configmaps", "replicationcontrollers", "resourcequotas"],
         {"secrets", "configmaps", "replicationcontrollers", "resourcequotas"}),
        ([], set()),
    ],
)  # fmt: skip
def test_names_of_a_quota_say_which_kinds_count(hard: list[str], kinds: set[str]) -> None:
    assert counted_kinds(hard) == kinds


def pod(cpu: str, phase: str = "Running", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "resources": {"requests": {"cpu": cpu}} if cpu else {}}]
    return {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}, "status": {"phase": phase}}


def test_what_runs_is_used_and_what_has_ended_is_only_counted_as_an_object() -> None:
    quota = {"spec": {"hard": {"pods": "10", "requests.cpu": "2", "count/pods": "10", "configmaps": "1"}}}
    found = {"pods": [pod("500m"), pod("0.75"), pod("1", "Succeeded")], "configmaps": [{"metadata": {}}]}
    assert used_of(quota, found) == {"pods": "2", "requests.cpu": "1250m", "count/pods": "3", "configmaps": "1"}


def test_a_scope_leaves_others_out() -> None:
    quota = {"spec": {"hard": {"pods": "10"}, "scopes": ["BestEffort"]}}
    assert used_of(quota, {"pods": [pod("500m"), pod("")]}) == {"pods": "1"}


def test_what_could_not_be_counted_is_not_said() -> None:
    quota = {"spec": {"hard": {"pods": "10", "count/widgets.example.com": "1"}}}
    assert used_of(quota, {"pods": []}) == {"pods": "0"}
