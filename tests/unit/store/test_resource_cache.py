import pytest

from cluster.store.encoding import Entry
from cluster.store.resource_cache import Change, ResourceCache, TooOldError

VALUE = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"%s","namespace":"n","uid":"u"}}'


def filled() -> ResourceCache:
    cache = ResourceCache("configmaps")
    cache.load({}, 1)
    for revision, name in enumerate((b"b", b"a", b"c"), start=2):
        cache.put(f"n/{name.decode()}", Entry(VALUE % name, revision))
    return cache


def test_objects_are_listed_in_the_order_of_their_keys() -> None:
    cache = filled()
    assert [entry.name for entry in cache.entries("n")] == ["a", "b", "c"]
    assert [entry.name for entry in cache.entries("n", after="n/a")] == ["b", "c"]
    assert list(cache.entries("m")) == []
    assert [cache.count(*asked) for asked in [("",), ("n",), ("n", "n/a"), ("n", "n/c"), ("m",), ("m", "m/a")]] == [
        3, 3, 2, 0, 0, 0,
    ]  # fmt: skip


def test_changes_after_a_version_come_in_order_and_each_once() -> None:
    cache = filled()
    cache.remove("n/b", 5)
    assert [(c.type, c.revision) for c in cache.changes_since(3)] == [("ADDED", 4), ("DELETED", 5)]


def test_a_version_from_before_the_cache_was_loaded_is_too_old() -> None:
    with pytest.raises(TooOldError):
        filled().changes_since(0)


def test_a_watcher_is_told_until_it_stops() -> None:
    cache = filled()
    seen: list[Change] = []
    stop = cache.subscribe(seen.append, lambda: None)
    cache.put("n/a", Entry(VALUE % b"a", 5))
    stop()
    cache.put("n/a", Entry(VALUE % b"a", 6))
    assert [(c.type, c.revision) for c in seen] == [("MODIFIED", 5)]


def test_objects_alike_share_what_they_have_in_common() -> None:
    value = b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"%s","namespace":"n","labels":{"app":"web"}}}'
    one, other = Entry(value % b"a", 2), Entry(value % b"b", 3)
    assert one.labels is other.labels
    assert one.labels == {"app": "web"}
    assert one.kind is other.kind
