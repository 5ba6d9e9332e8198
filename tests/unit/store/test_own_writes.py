"""One entry for a write and its event, whichever comes first."""

from typing import Any

from hypothesis import given, strategies as st

from cluster.store.encoding import Entry, encode_stored
from cluster.store.own_writes import OwnWrites

KEY = b"/registry/things/a"
_TEXT = st.text(max_size=10)
_METADATA = st.fixed_dictionaries(
    {"uid": _TEXT},
    optional={
        "name": _TEXT,
        "namespace": _TEXT,
        "labels": st.dictionaries(_TEXT, _TEXT, max_size=3),
        "annotations": st.dictionaries(_TEXT, _TEXT, max_size=3),
        "resourceVersion": st.just("3"),
        "selfLink": st.just("/x"),
    },
)


def thing(**metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a", "uid": "u", **metadata}}


@given(_METADATA, st.dictionaries(st.sampled_from(["spec", "data", "status"]), st.lists(_TEXT, max_size=2)))
def test_an_entry_made_of_an_object_is_the_one_read_from_its_bytes(
    metadata: dict[str, Any], rest: dict[str, Any]
) -> None:
    obj = {"apiVersion": "v1", "kind": "Thing", "metadata": metadata, **rest}
    value = encode_stored(obj)
    made, read = Entry.of(obj, value, 7), Entry(value, 7)

    for name in ("kind", "api_version", "name", "namespace", "uid", "labels", "revision", "item", "whole"):
        assert getattr(made, name) == getattr(read, name), name
    assert made.decode() == read.decode()


def test_the_event_takes_what_the_answer_made() -> None:
    writes, obj = OwnWrites(), thing()
    value = encode_stored(obj)
    write = writes.begin(KEY, obj, value, value)
    entry = write.at(7)
    writes.answered(KEY, write)

    assert writes.seen(KEY, value, 7) is entry
    assert len(writes) == 0


def test_the_answer_takes_what_the_event_made() -> None:
    writes, obj = OwnWrites(), thing()
    value = encode_stored(obj)
    write = writes.begin(KEY, obj, value, b"sealed")

    entry = writes.seen(KEY, b"sealed", 7)
    assert write.at(7) is entry
    writes.answered(KEY, write)
    assert len(writes) == 0


def test_somebody_elses_event_is_not_taken_for_ones_own() -> None:
    writes, obj = OwnWrites(), thing()
    value = encode_stored(obj)
    write = writes.begin(KEY, obj, value, value)

    assert writes.seen(KEY, encode_stored(thing(uid="other")), 7) is None
    assert writes.seen(b"/registry/things/b", value, 7) is None
    # The same bytes at another revision are another write: what it is shown as says so.
    write.at(8)
    found = writes.seen(KEY, value, 7)
    assert found is not None
    assert found.revision == 7


def test_writes_that_no_event_tells_of_do_not_pile_up() -> None:
    writes = OwnWrites()
    for number in range(5000):
        obj = thing(name=str(number))
        write = writes.begin(b"/%d" % number, obj, b"", b"")
        writes.answered(b"/%d" % number, write)

    assert len(writes) <= 2000
    last = writes.begin(KEY, thing(), b"", b"")
    writes.forget(KEY, last)
    writes.clear()
    assert len(writes) == 0
