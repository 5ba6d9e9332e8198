"""What Ansible's events become, without running Ansible."""

from typing import Any

import pytest

from provisioner import ansible_runs
from provisioner.ansible_runs import HostResult
from provisioner.errors import HostUnfitError, HostUnreachableError, ProvisionError

INVENTORY = {"all": {"hosts": {"a": {}}, "children": {"etcd": {"hosts": {"b": {}}}}}}


def collect(*events: dict[str, Any]) -> dict[str, Any]:
    collected: Any = {name: ansible_runs._Collected() for name in ("a", "b")}
    for event in events:
        ansible_runs._collect(event, collected, lambda host, line: None)
    return collected  # type: ignore[no-any-return]


def ended(host: str, kind: str = "runner_on_ok", **res: Any) -> dict[str, Any]:
    return {"event": kind, "event_data": {"host": host, "task": "Lay down", "res": res}}


def test_hosts_of_every_group_are_found() -> None:
    assert ansible_runs._host_names(INVENTORY) == {"a", "b"}


def test_changed_paths_are_kept_a_host() -> None:
    seen = collect(ended("a", changed=True, paths=["/etc/x"]), ended("b", changed=False, paths=[]))

    assert (seen["a"].changed, seen["b"].changed) == (["/etc/x"], [])


def test_a_change_that_no_log_hides_is_counted_all_the_same() -> None:
    stats = {"event": "playbook_on_stats", "event_data": {"changed": {"a": 2}}}

    seen = collect(ended("a", changed=True, paths=["/etc/x"]), ended("a", censored="hidden"), stats)

    assert seen["a"].changed == ["/etc/x", "certificates and keys"]


def test_all_hosts_unreachable_is_told_from_hosts_that_failed() -> None:
    gone = HostResult(failed="Lay down: no route", unreachable=True)
    unfit = HostResult(failed="Lay down: disk full")

    with pytest.raises(HostUnreachableError, match="a: Lay down: no route"):
        ansible_runs._raise_failures("site.yml", {"a": gone, "b": HostResult()}, "failed", "")
    with pytest.raises(HostUnfitError, match=r"2 of 2 hosts.*disk full"):
        ansible_runs._raise_failures("site.yml", {"a": gone, "b": unfit}, "failed", "")


def test_ansible_that_could_not_start_is_an_error_with_its_last_words() -> None:
    with pytest.raises(ProvisionError, match="no such playbook"):
        ansible_runs._raise_failures("site.yml", {"a": HostResult()}, "failed", "x\nno such playbook")
