"""Variables of a container."""

import base64

import pytest

from cluster.kubelet.environment import (
    MissingReference,
    PodFacts,
    container_environment,
    expand,
    field_value,
    resource_value,
    service_variables,
)
from cluster.machinery.objects import Object

FACTS = PodFacts(("192.0.2.1",), ("10.0.0.9",), "n1", {"cpu": 2000, "memory": 1 << 30})
POD: Object = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"b": "2", "a": 'x"y'}},
    "spec": {"serviceAccountName": "sa", "containers": [{"name": "c"}]},
}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$(B)", "$(B)"),
        ("a$", "a$"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$(A)$(A)", "11"),
    ],
)
def test_references_are_expanded_as_upstream_does(text: str, result: str) -> None:
    assert expand(text, {"A": "1"}) == result


def test_the_downward_api_tells_about_the_pod() -> None:
    assert field_value(POD, "metadata.labels['a']", FACTS) == 'x"y'
    assert field_value(POD, "metadata.labels", FACTS) == 'a="x\\"y"\nb="2"'
    assert field_value(POD, "status.podIP", FACTS) == "10.0.0.9"
    assert field_value(POD, "spec.nodeName", FACTS) == "n1"
    with pytest.raises(MissingReference):
        field_value(POD, "spec.dnsPolicy", FACTS)


def test_resources_are_divided_and_rounded_up() -> None:
    container: Object = {"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "100Mi"}}}
    assert resource_value(POD, {"resource": "limits.cpu"}, container, FACTS) == "2"
    assert resource_value(POD, {"resource": "limits.cpu", "divisor": "1m"}, container, FACTS) == "1500"
    assert resource_value(POD, {"resource": "limits.memory", "divisor": "1Mi"}, container, FACTS) == "100"


def test_a_limit_that_is_not_set_is_the_whole_node() -> None:
    assert resource_value(POD, {"resource": "limits.cpu"}, {"name": "c"}, FACTS) == "2"


def environment(container: Object, config: Object | None = None, secret: Object | None = None) -> dict[str, str]:
    return container_environment(
        POD, container, FACTS, services={"S": "svc"}, config_maps=lambda _: config, secrets=lambda _: secret
    )


def test_env_wins_over_env_from_and_both_over_services() -> None:
    container: Object = {
        "name": "c",
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}],
        "env": [{"name": "P_A", "value": "mine"}, {"name": "X", "value": "$(P_B)-$(S)"}],
    }
    found = environment(container, {"data": {"A": "theirs", "B": "b", "bad key": "x"}})
    assert found == {"S": "svc", "P_A": "mine", "P_B": "b", "X": "b-svc"}


def test_a_secret_is_decoded() -> None:
    container: Object = {"name": "c", "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}
    secret = {"data": {"k": base64.b64encode(b"word").decode()}}
    assert environment(container, secret=secret)["P"] == "word"


def test_what_is_missing_is_named_unless_it_is_optional() -> None:
    reference: Object = {"name": "s", "key": "k"}
    container: Object = {"name": "c", "env": [{"name": "P", "valueFrom": {"secretKeyRef": reference}}]}
    with pytest.raises(MissingReference, match='secret "s" not found'):
        environment(container)
    with pytest.raises(MissingReference, match="couldn't find key k in Secret ns/s"):
        environment(container, secret={"data": {}})
    reference["optional"] = True
    assert environment(container) == {"S": "svc"}


def service(name: str, namespace: str = "ns", address: str = "10.96.0.7") -> Object:
    ports = [{"port": 80, "name": "web"}, {"port": 53, "protocol": "UDP", "name": "dns-udp"}]
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": address, "ports": ports}}


def test_services_are_told_in_dockers_form() -> None:
    found = service_variables([service("my-redis")], "ns", links=True)
    assert found["MY_REDIS_SERVICE_HOST"] == "10.96.0.7"
    assert found["MY_REDIS_SERVICE_PORT_DNS_UDP"] == "53"
    assert found["MY_REDIS_PORT_53_UDP"] == "udp://10.96.0.7:53"
    assert found["MY_REDIS_PORT"] == "tcp://10.96.0.7:80"


def test_without_links_only_the_api_is_told() -> None:
    services = [service("a"), service("kubernetes", "default", "10.96.0.1"), service("h", address="None")]
    found = service_variables(services, "ns", links=False)
    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert not any(name.startswith(("A_", "H_")) for name in found)
