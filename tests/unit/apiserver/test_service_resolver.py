"""Where the apiserver dials a Service that a webhook or an aggregated API names."""

from typing import Any

import pytest

from cluster.apiserver.service_resolver import CannotRouteError, ServiceResolver, Target
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError
from tests.fakes.object_store import FakeObjects


def service(**spec: Any) -> Object:
    ports = [{"name": "https", "port": 443, "targetPort": 8443}, {"name": "metrics", "port": 9090}]
    default = {"type": "ClusterIP", "clusterIP": "10.96.0.7", "ports": ports}
    metadata = {"name": "hook", "namespace": "ns"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {**default, **spec}}


def endpoints(name: str, *addresses: tuple[str, bool | None]) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "ns", "labels": {"kubernetes.io/service-name": "hook"}},
        "ports": [{"name": "https", "port": 8443}, {"name": "metrics", "port": 9091}],
        "endpoints": [
            {"addresses": [address], "conditions": {} if ready is None else {"ready": ready}}
            for address, ready in addresses
        ],
    }


def test_a_service_is_dialled_at_its_cluster_ip() -> None:
    assert ServiceResolver(FakeObjects(service())).resolve("ns", "hook", 443) == Target("10.96.0.7", 443)


def test_aggregator_routing_dials_a_ready_endpoint_at_the_target_port() -> None:
    objects = FakeObjects(service(), endpoints("a", ("10.1.0.1", False), ("10.1.0.2", True)))

    assert ServiceResolver(objects, to_endpoints=True).resolve("ns", "hook", 443) == Target("10.1.0.2", 8443)


def test_a_headless_service_is_dialled_at_an_endpoint_and_unknown_readiness_counts_as_ready() -> None:
    objects = FakeObjects(service(clusterIP="None"), endpoints("a", ("10.1.0.3", None)))

    assert ServiceResolver(objects).resolve("ns", "hook", 9090) == Target("10.1.0.3", 9091)


def test_an_external_name_is_dialled_by_its_name() -> None:
    external = service(type="ExternalName", externalName="hook.example.org", clusterIP="", ports=[])

    assert ServiceResolver(FakeObjects(external)).resolve("ns", "hook", 8443) == Target("hook.example.org", 8443)


@pytest.mark.parametrize(
    ("objects", "port", "message"),
    [
        ((), 443, 'service "hook" not found'),
        ((service(),), 444, 'no service port 444 found for service "hook"'),
        ((service(clusterIP="None"),), 443, 'no endpoints available for service "hook"'),
        (
            (service(clusterIP="None"), endpoints("a", ("10.1.0.1", False))),
            443,
            'no endpoints available for service "hook"',
        ),
        ((service(type="Strange"),), 443, 'unsupported service type "Strange"'),
    ],
)
def test_what_cannot_be_dialled_is_said_in_upstreams_words(
    objects: tuple[Object, ...], port: int, message: str
) -> None:
    with pytest.raises((ApiError, CannotRouteError)) as caught:
        ServiceResolver(FakeObjects(*objects)).resolve("ns", "hook", port)

    assert str(caught.value) == message


def test_an_ipv6_target_is_written_with_brackets() -> None:
    assert str(Target("fd00::7", 443)) == "[fd00::7]:443"
