"""Protobuf bodies mean the same as the JSON that their senders could have sent."""

import pathlib
import random
from typing import Any

import pytest
import yaml

from cluster.api import schema
from cluster.api.resources import ALL, DEPLOYMENTS, PODS
from cluster.machinery import messages, protobuf, timestamps
from cluster.machinery.decode import PROTOBUF, decode_body
from cluster.machinery.shapes import Shape
from cluster.machinery.status_errors import BadRequest
from tests.fakes import protobuf_encoder as encoder

HERE = pathlib.Path(__file__).parent
BODIES = yaml.safe_load((HERE.parents[1] / "scenarios/machinery/kubectl_bodies.yaml").read_text())

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "p",
        "labels": {"a": "b", "empty": ""},
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "deletionGracePeriodSeconds": 0,
        "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "o", "uid": "u", "controller": False}],
        "managedFields": [{"manager": "m", "operation": "Update", "fieldsV1": {"f:spec": {}}}],
    },
    "spec": {
        "automountServiceAccountToken": False,
        "activeDeadlineSeconds": 0,
        "containers": [
            {
                "name": "c",
                "image": "i",
                "env": [
                    {"name": "E", "value": "ü"},
                    {"name": "S", "valueFrom": {"secretKeyRef": {"key": "k", "name": "n"}}},
                ],
                "resources": {"limits": {"cpu": "100m"}},
                "livenessProbe": {"httpGet": {"port": "http"}, "initialDelaySeconds": 3},
                "readinessProbe": {"httpGet": {"port": 80}},
                "securityContext": {"runAsUser": 0, "runAsNonRoot": False},
                "ports": [{"containerPort": 80}],
            }
        ],
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "configMap": {"name": "c", "defaultMode": 420}}],
        "tolerations": [{"key": "t", "tolerationSeconds": -1}],
        "overhead": {"cpu": "1"},
    },
    "status": {},
}


@pytest.mark.parametrize("case", BODIES, ids=[case["command"] for case in BODIES])
def test_what_kubectl_sends_is_understood(case: dict[str, Any]) -> None:
    decoded = decode_body(bytes.fromhex(case["body"]), PROTOBUF)

    assert decoded.obj == case["object"]


@pytest.mark.parametrize("case", BODIES, ids=[case["command"] for case in BODIES])
def test_what_kubectl_sends_fits_its_kind(case: dict[str, Any]) -> None:
    obj = decode_body(bytes.fromhex(case["body"]), PROTOBUF).obj

    assert schema.schemas().normalize(TypeMeta(obj["apiVersion"], obj["kind"]), obj) == []


class TypeMeta:
    def __init__(self, api_version: str, kind: str) -> None:
        self.api_version = api_version
        self.kind = kind


def test_pointers_keep_their_zero_and_others_do_not_invent_one() -> None:
    decoded = protobuf.decode_envelope(encoder.envelope(POD))

    assert schema.schemas().normalize(PODS, decoded) == []
    expected = {**POD}
    schema.schemas().normalize(PODS, expected)
    assert decoded == expected


def test_scale_to_zero_survives() -> None:
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 0}}

    assert protobuf.decode_envelope(encoder.envelope(deployment))["spec"]["replicas"] == 0


def test_micro_times_keep_their_fraction() -> None:
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "l"},
        "spec": {"renewTime": "2026-01-02T03:04:05.678901Z", "leaseDurationSeconds": 40},
    }

    assert protobuf.decode_envelope(encoder.envelope(lease)) == lease


def test_unions_of_json_schema_have_no_wrapper() -> None:
    props = encoder.encode(
        "apiextensions.v1.JSONSchemaProps",
        {
            "type": "object",
            "additionalProperties": {"allows": True},
            "items": {"schema": {"type": "string"}},
            "default": {"a": [1]},
        },
    )

    decoded = protobuf.decode_message("apiextensions.v1.JSONSchemaProps", props)

    assert decoded["additionalProperties"] is True
    assert decoded["items"] == {"type": "string"}
    assert decoded["default"] == {"a": [1]}


def test_delete_options_exist_in_every_group() -> None:
    assert protobuf.message_of("apps/v1", "DeleteOptions") == "meta.v1.DeleteOptions"
    assert protobuf.message_of("policy/v1", "Eviction") == "policy.v1.Eviction"


def test_every_served_kind_has_a_message_with_the_same_fields() -> None:
    for resource in ALL:
        message = protobuf.message_of(resource.api_version, resource.kind)

        assert set(messages.flattened(message)) <= set(resource.shape.fields), message


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{}", "does not appear to be a protobuf message, expected prefix [107 56 115 0]"),
        (b"k8s\x00\x0a\xff", "unexpected EOF"),
        (b"k8s\x00\x0f", "proto: illegal wireType 7"),
        (b"k8s\x00\x00\x00", "proto: illegal tag 0"),
        (b"k8s\x00" + b"\xff" * 12, "proto: integer overflow"),
        (b"k8s\x00\x0a\x07\x0a\x02v1\x12\x01X", 'no kind "X" is registered'),
    ],
)
def test_broken_body_is_a_bad_request(body: bytes, why: str) -> None:
    with pytest.raises(BadRequest) as refused:
        decode_body(body, PROTOBUF, "Pod")

    assert why in refused.value.message


def test_flipped_bits_never_do_worse_than_a_bad_request() -> None:
    dice = random.Random(3)
    body = encoder.envelope(POD)
    for _ in range(1500):
        broken = bytearray(body)
        for _ in range(dice.randrange(1, 4)):
            broken[dice.randrange(4, len(broken))] = dice.randrange(256)
        try:
            decode_body(bytes(broken[: dice.randrange(4, len(broken))]), PROTOBUF)
        except BadRequest:
            continue


def test_recursion_is_limited() -> None:
    assert protobuf.decode_message("apiextensions.v1.JSONSchemaProps", _nested_not(5))
    with pytest.raises(ValueError, match="exceeded max depth"):
        protobuf.decode_message("apiextensions.v1.JSONSchemaProps", _nested_not(400))


def _nested_not(depth: int) -> bytes:
    number = next(f.number for f in messages.fields_of("apiextensions.v1.JSONSchemaProps") if f.name == "not")
    content = b""
    for _ in range(depth):
        content = encoder.block(number, content)
    return content


def test_random_objects_of_the_table_survive_the_way_there_and_back() -> None:
    dice = random.Random(11)
    for message in ("core.v1.PodSpec", "apps.v1.DeploymentSpec", "core.v1.NodeStatus", "rbac.v1.ClusterRole"):
        shape = schema.schemas().type_shape(message)
        for _ in range(20):
            obj = _random_object(dice, message, shape, 0)

            assert protobuf.decode_message(message, encoder.encode(message, obj)) == _without_zeros(message, obj)


def _random_object(dice: random.Random, message: str, shape: Shape, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in messages.flattened(message).items():
        if dice.random() < 0.4 or name not in shape.fields:
            continue
        make = _maker(dice, field.type, depth)
        if make is None:
            continue
        if field.many == "list":
            found[name] = [make() for _ in range(dice.randrange(1, 3))]
        elif field.many == "map":
            found[name] = {f"k{n}": make() for n in range(dice.randrange(1, 3))}
        else:
            found[name] = make()
    return found


def _maker(dice: random.Random, kind: str, depth: int) -> Any:
    scalars = {
        "string": lambda: dice.choice(["", "a", "ß"]),
        "bool": lambda: dice.random() < 0.5,
        "int32": lambda: dice.choice([0, 1, -1, 2**31 - 1]),
        "int64": lambda: dice.choice([0, 7, -(2**63)]),
        "Quantity": lambda: dice.choice(["0", "1500m"]),
        "IntOrString": lambda: dice.choice([0, -1, "", "50%"]),
        "meta.v1.Time": lambda: timestamps.format_time(timestamps.from_unix(dice.randrange(2**31))),
    }
    if kind in scalars:
        return scalars[kind]
    if depth > 3 or not messages.is_known(kind) or kind.startswith("meta.v1.Fields"):
        return None
    return lambda: _random_object(dice, kind, schema.schemas().type_shape(kind), depth + 1)


def _without_zeros(message: str, obj: dict[str, Any]) -> dict[str, Any]:
    """What Go would write in JSON, and structs, which it writes always."""
    found: dict[str, Any] = {}
    for name, field in messages.flattened(message).items():
        is_struct = messages.is_known(field.type) and field.type not in ("Quantity", "IntOrString", "meta.v1.Time")
        value = obj.get(name)
        if value is None:
            if is_struct and not field.many and not field.pointer:
                found[name] = _without_zeros(field.type, {})
            elif field.type == "Quantity" and not field.many and not field.pointer:
                found[name] = "0"
            continue
        if is_struct and field.many == "list":
            found[name] = [_without_zeros(field.type, item) for item in value]
        elif is_struct and field.many == "map":
            found[name] = {key: _without_zeros(field.type, item) for key, item in value.items()}
        elif is_struct:
            found[name] = _without_zeros(field.type, value)
        elif field.many or field.pointer or value not in ("", 0, False):
            found[name] = value
    return found


def test_deployment_of_a_typed_client_equals_its_json() -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
        },
    }
    decoded = protobuf.decode_envelope(encoder.envelope(deployment))
    schema.schemas().normalize(DEPLOYMENTS, decoded)
    schema.schemas().normalize(DEPLOYMENTS, deployment)

    assert decoded == deployment
