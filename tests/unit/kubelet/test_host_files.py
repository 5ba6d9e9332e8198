"""Files that the kubelet writes and reads on its host."""

import asyncio
import zlib
from pathlib import Path

import pytest

from cluster.kubelet.atomic_writer import FileContent, write_files
from cluster.kubelet.cgroups import cgroup_parent, weight_of_shares
from cluster.kubelet.container_logs import LogOptions, parse_line, read_log
from cluster.kubelet.pod_network import hosts_file, parse_resolv_conf, pod_dns
from cluster.kubelet.spdy import DICTIONARY
from cluster.machinery.objects import Object

POD: Object = {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"containers": []}}


def test_files_are_swapped_as_a_whole(tmp_path: Path) -> None:
    assert write_files(tmp_path, {"a": FileContent(b"1", 0o644), "d/b": FileContent(b"2", 0o600)})
    first = (tmp_path / "..data").readlink()
    assert not write_files(tmp_path, {"a": FileContent(b"1", 0o644), "d/b": FileContent(b"2", 0o600)})
    assert write_files(tmp_path, {"a": FileContent(b"3", 0o644)})
    assert (tmp_path / "a").read_bytes() == b"3"
    assert not (tmp_path / "d").exists()
    assert not (tmp_path / first).exists()


def test_a_file_cannot_leave_its_volume(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leaves its volume"):
        write_files(tmp_path, {"../x": FileContent(b"", 0o644)})


def test_log_lines_are_read_and_others_left_out() -> None:
    line = parse_line(b"2026-01-01T00:00:00.1Z stderr P half")
    assert line is not None
    assert (line.stream, line.text) == ("stderr", b"half")
    assert parse_line(b"rubbish") is None


@pytest.mark.parametrize(
    ("lines", "text"),
    [(0, b""), (1, b"three\n"), (2, b"two\nthree\n"), (9, b"one\ntwo\nthree\n")],
)
async def test_the_tail_of_a_log(tmp_path: Path, lines: int, text: bytes) -> None:
    path = tmp_path / "0.log"
    words = ("one", "two", "three")
    await asyncio.to_thread(path.write_text, "".join(f"2026-01-01T00:00:00.1Z stdout F {w}\n" for w in words))
    found = [block async for block in read_log(path, LogOptions(tail_lines=lines), lambda: False)]
    assert b"".join(found) == text


def test_cgroups_are_where_upstream_has_them() -> None:
    assert cgroup_parent(POD, "", "cgroupfs") == "/kubepods/besteffort/podu"
    assert cgroup_parent(POD, "", "systemd") == "kubepods-besteffort-podu.slice"
    assert (weight_of_shares(2), weight_of_shares(1024), weight_of_shares(262144)) == (1, 39, 10000)


def test_cluster_first_asks_the_clusters_dns() -> None:
    node = parse_resolv_conf("nameserver 192.0.2.1\nsearch example.com.\noptions rotate\n")
    dns = pod_dns(POD, node, ["10.96.0.10"], "cluster.local")
    assert dns.servers == ("10.96.0.10",)
    assert dns.searches == ("ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com")
    assert dns.options == ("ndots:5",)
    assert pod_dns({**POD, "spec": {"dnsPolicy": "Default"}}, node, ["10.96.0.10"], "x").servers == ("192.0.2.1",)


def test_the_hosts_file_names_the_pod() -> None:
    assert "10.0.0.9\tp\n" in hosts_file(POD, ["10.0.0.9"], "cluster.local")


def test_the_spdy_dictionary_is_the_protocols() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


async def test_a_log_that_is_being_rotated_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "0.log"

    async def appear() -> None:
        await asyncio.sleep(0.1)
        # Whole at once, as a rename shows it: a reader between open and write would rightly find nothing.
        fresh = tmp_path / "fresh"
        await asyncio.to_thread(fresh.write_text, "2026-01-01T00:00:00.1Z stdout F here\n")
        await asyncio.to_thread(fresh.rename, path)

    task = asyncio.create_task(appear())
    assert [block async for block in read_log(path, LogOptions(), lambda: False)] == [b"here\n"]
    await task
