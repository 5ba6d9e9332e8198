"""Operations and add-ons, on a fake host."""

import pytest

from inventory.sources.nspawn import local_cluster
from provisioner.errors import ProvisionError
from provisioner.operations import etcd
from provisioner.operations.pod_exec import exit_code_of
from provisioner.operations.units import end_unit, start_units
from provisioner.phases.apply_addons import addons, contains
from provisioner.phases.join_nodes import not_ready
from provisioner.transports.base import CommandResult
from tests.fakes.fake_transport import FakeTransport


async def test_a_unit_that_does_not_start_is_reported_with_its_own_words() -> None:
    transport = FakeTransport("dev-1")
    transport.answers["systemctl"] = lambda argv, given: (
        CommandResult(1, "", "Job failed")
        if argv[1] == "start"
        else CommandResult(0, "etcd.service loaded failed\n", "")
    )
    transport.answers["journalctl"] = lambda argv, given: CommandResult(
        0, "etcd.service: Failed\nbind: address already in use\n", ""
    )

    with pytest.raises(ProvisionError, match=r"dev-1: cannot start etcd.service: bind: address already in use"):
        await start_units(transport, ["etcd"])


async def test_units_that_start_take_one_command() -> None:
    transport = FakeTransport()
    transport.answers["systemctl"] = lambda argv, given: CommandResult(0, "", "")

    await start_units(transport, ["kubelet", "kube-proxy"])

    assert transport.commands == [["systemctl", "start", "kubelet.service", "kube-proxy.service"]]


async def test_etcd_members_are_read_and_a_dead_etcd_has_none() -> None:
    transport = FakeTransport()
    assert await etcd.members(transport) == []
    answer = '{"members": [{"ID": 255, "name": "a", "peerURLs": ["https://x:2380"], "isLearner": true}]}'
    transport.answers["/opt/hanse/current/bin/etcdctl"] = lambda argv, given: CommandResult(0, answer, "")

    assert await etcd.members(transport) == [etcd.EtcdMember("a", "ff", ("https://x:2380",), True)]


def test_what_the_server_adds_is_no_difference() -> None:
    have = {"metadata": {"name": "x", "uid": "1"}, "ports": [{"port": 53, "nodePort": 0}]}

    assert contains(have, {"metadata": {"name": "x"}, "ports": [{"port": 53}]})
    assert not contains(have, {"ports": [{"port": 54}]})
    assert not contains(have, {"ports": []})


def test_the_dns_service_has_the_tenth_address_and_is_not_the_proxys() -> None:
    spec = local_cluster("dev", 1, "10.89.0.0/24", "/key")

    service = next(wanted for _, wanted in addons(spec) if wanted["kind"] == "Service")

    assert service["spec"]["clusterIP"] == "10.96.0.10"
    assert service["metadata"]["labels"]["service.kubernetes.io/service-proxy-name"] == "cluster-dns"


def test_nodes_that_are_missing_or_not_ready_are_named_with_their_reason() -> None:
    spec = local_cluster("dev", 3, "10.89.0.0/24", "/key")
    ready = {"type": "Ready", "status": "True"}
    sick = {"type": "Ready", "status": "False", "message": "no network"}
    nodes = [
        {"metadata": {"name": name}, "status": {"conditions": [condition]}}
        for name, condition in (("dev-1", ready), ("dev-2", sick))
    ]

    assert not_ready(spec, nodes) == {"dev-2": "no network", "dev-3": "no Node object"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (b"", 1),
        (b'{"status":"Success"}', 0),
        (b'{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}', 7),
        (b'{"status":"Failure"}', 1),
    ],
)
def test_exit_codes_come_from_the_status_channel(status: bytes, code: int) -> None:
    assert exit_code_of(status) == code


async def test_a_unit_that_is_ended_is_not_started_again_meanwhile() -> None:
    transport = FakeTransport()
    await end_unit(transport, "etcd")
    assert [command[1] for command in transport.commands] == ["stop", "kill", "stop", "reset-failed"]
