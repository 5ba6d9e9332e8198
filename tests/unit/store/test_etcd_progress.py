"""Watches of etcd servers whose word about progress cannot be trusted."""

import pytest

from cluster.store.etcd_progress import part_of_whole, tells_progress_truly
from cluster.store.generated import etcd_pb2 as pb


@pytest.mark.parametrize(
    ("version", "trusted"),
    [
        ("3.4.23", False), ("3.4.31", True), ("3.5.12", False), ("3.5.16", True), ("3.6.13", True), ("4.0.0", True),
        ("3.6.0-rc.1", True), ("", False), ("unknown", False),
    ],
)  # fmt: skip
def test_versions_that_kube_apiserver_trusts_are_trusted(version: str, trusted: bool) -> None:
    assert tells_progress_truly(version) is trusted


def told(*events: tuple[bytes, int], fragment: bool = False) -> list[tuple[int, list[bytes]]]:
    """The revision each answer stands for, and the keys in it."""
    answer = pb.WatchResponse(header=pb.ResponseHeader(revision=99), fragment=fragment)
    for key, revision in events:
        answer.events.append(pb.Event(kv=pb.KeyValue(key=key, mod_revision=revision)))
    found = []
    for part in part_of_whole(answer, b"/b/", b"/b0"):
        keys = [event.kv.key for event in part.events]
        found.append((part.events[-1].kv.mod_revision if keys else part.header.revision, keys))
    return found


def test_events_of_other_keys_become_progress() -> None:
    assert told((b"/a", 5), (b"/c", 6)) == [(6, [])]
    assert told((b"/b/x", 5), (b"/b/y", 6)) == [(6, [b"/b/x", b"/b/y"])]
    assert told((b"/a", 5), (b"/b/x", 6)) == [(6, [b"/b/x"])]
    assert told((b"/b/x", 5), (b"/c", 6)) == [(5, [b"/b/x"]), (6, [])]


def test_the_servers_own_progress_is_not_passed_on() -> None:
    assert told() == []


def test_half_a_revision_is_no_progress() -> None:
    assert told((b"/b/x", 5), (b"/c", 6), fragment=True) == [(5, [b"/b/x"])]
