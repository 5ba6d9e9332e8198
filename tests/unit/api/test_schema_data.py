"""The generated schema data: complete, and as upstream publishes it."""

import orjson

from cluster.api import build_schema, resources
from cluster.api.schema import schemas


def test_every_served_kind_has_a_shape_with_metadata() -> None:
    for resource in resources.ALL:
        assert resource.shape.kind == "object", resource.qualified
        assert schemas().is_known(resource.api_version, resource.kind)


def test_every_kind_below_a_resource_is_known() -> None:
    for resource in resources.ALL:
        for subresource in resource.subresources:
            version, _, kind = subresource.kind.rpartition("/")
            if not kind.endswith("Options"):  # options of exec and the like come as query parameters
                assert schemas().is_known(version or resource.api_version, kind), subresource


def test_definitions_have_no_traces_of_json_schema() -> None:
    text = (build_schema.GENERATED / "openapi.json").read_text()
    definitions = orjson.loads(text)

    assert "$defs" not in text
    assert '"null"' not in text
    assert definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"] == "int-or-string"
    assert "enum" not in definitions["io.k8s.api.core.v1.Pod"]["properties"]["kind"]


def test_patch_metadata_survives_the_build() -> None:
    spec = resources.PODS.shape.child("spec")
    containers = spec.fields["containers"]

    assert (containers.patch_strategy, containers.merge_key) == ("merge", "name")
    assert containers.shape.keys == ("name",)
    assert spec.fields["volumes"].patch_strategy == "merge,retainKeys"
    assert spec.child("tolerations").atomic


def test_port_keys_have_their_default() -> None:
    ports = resources.PODS.shape.child("spec").child("containers").element.child("ports")

    assert ports.keys == ("containerPort", "protocol")
    assert dict(ports.defaults) == {"protocol": "TCP"}


def test_building_again_makes_the_same_file() -> None:
    definitions = build_schema.openapi_definitions(build_schema.source())

    assert orjson.dumps(build_schema.shapes(definitions)) == (build_schema.GENERATED / "shapes.json").read_bytes()
