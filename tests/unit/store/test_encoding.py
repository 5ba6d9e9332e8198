import orjson

from cluster.store.encoding import Entry, encode_stored

OBJECT = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": {"x": "1"}, "resourceVersion": "7"},
    "data": {"k": "v"},
}


def test_the_stored_bytes_have_no_resource_version() -> None:
    assert "resourceVersion" not in orjson.loads(encode_stored(OBJECT))["metadata"]


def test_an_entry_answers_with_the_revision_it_was_read_at() -> None:
    entry = Entry(encode_stored(OBJECT), 42)
    expected = {**OBJECT, "metadata": {**OBJECT["metadata"], "resourceVersion": "42"}}  # type: ignore[dict-item]
    assert orjson.loads(entry.whole) == expected == entry.decode()
    assert (entry.namespace, entry.name, entry.labels) == ("n", "a", {"x": "1"})


def test_a_deleted_object_gets_the_revision_of_its_delete() -> None:
    assert Entry(encode_stored(OBJECT), 42).at_revision(43).decode()["metadata"]["resourceVersion"] == "43"


def test_what_another_server_wrote_in_another_order_reads_the_same() -> None:
    foreign = orjson.dumps(
        {"data": {"k": "v"}, "metadata": OBJECT["metadata"], "kind": "ConfigMap", "apiVersion": "v1"}
    )
    assert Entry(foreign, 42).decode() == Entry(encode_stored(OBJECT), 42).decode()


def test_a_dry_run_shows_no_version() -> None:
    assert "resourceVersion" not in Entry(encode_stored(OBJECT), 0).decode()["metadata"]
