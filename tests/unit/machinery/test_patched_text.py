"""How an object is printed that a patch has made invalid."""

from cluster.api import resources
from cluster.machinery import patched_text


def test_untouched_parts_have_the_order_of_gos_fields_and_touched_ones_are_sorted() -> None:
    obj = {
        "kind": "Pod",
        "apiVersion": "v1",
        "spec": {"hostname": "h", "containers": [{"image": "i", "name": "c"}, {"image": "<", "name": "d"}]},
        "metadata": {"uid": "u", "labels": {"b": "", "a": ""}, "namespace": "n", "name": "p"},
    }

    text = patched_text.as_json(
        resources.PODS.shape, obj, [{"op": "replace", "path": "/spec/containers/0/image", "value": "i"}]
    )

    assert text == (
        '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"n","uid":"u","labels":{"a":"","b":""}},'
        '"spec":{"containers":[{"image":"i","name":"c"},{"name":"d","image":"\\u003c"}],"hostname":"h"}}'
    )


def test_merge_patch_touches_the_maps_it_has() -> None:
    assert patched_text.touched_by({"a": {"b": {"c": 1}, "d": [{}]}, "e": None}) == {"a": {"b": {}}}
