"""What is no proper request is refused by its own connection, quickly, and harms no other."""

import gzip
import json
import pathlib

import yaml

from tests.integration.badinput.conftest import UnderFire, check_refusal
from tests.integration.badinput.raw_http import HEAD, connect, exchange, expand

CASES = yaml.safe_load(pathlib.Path(__file__).with_name("http_requests.yaml").read_text())


def test_every_odd_request_gets_its_answer(fire: UnderFire) -> None:
    wrong = []
    with fire.unharmed():
        for case in CASES:
            answer = exchange(fire.plane, expand(case["send"]))
            check_refusal(answer, case["name"])
            if answer.status not in case["want"]:
                wrong.append(f"{case['name']}: {answer.status}, not {case['want']}: {answer.body[:200]!r}")

    assert wrong == []
    assert len(CASES) >= 150


def test_an_odd_request_sent_byte_by_byte_gets_the_same_answer(fire: UnderFire) -> None:
    with fire.unharmed(), connect(fire.plane) as channel:
        for byte in expand("GET /api/v1/namespaces/%c0%ae HTTP/1.1\r\n{head}\r\n"):
            channel.sendall(bytes([byte]))
        assert channel.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_a_thousand_requests_in_one_breath_are_answered_in_order(fire: UnderFire) -> None:
    paths = [f"/api/v1/namespaces/no-{number}" for number in range(1000)]
    with fire.unharmed(), connect(fire.plane, timeout=20) as channel:
        channel.sendall("".join(f"GET {path} HTTP/1.1\r\n{HEAD}\r\n" for path in paths).encode())
        received = b""
        while received.count(b'"code":404}') < len(paths):
            more = channel.recv(1 << 20)
            assert more, received[-500:]
            received += more

    found = [part.split(b'"')[0].decode() for part in received.split(b'"details":{"name":"')[1:]]
    assert found == [f"no-{number}" for number in range(1000)]


def test_a_body_that_unpacks_to_a_hundred_times_its_size_is_not_unpacked(fire: UnderFire) -> None:
    bomb = gzip.compress(b'{"kind":"' + b"a" * (200 << 20) + b'"}', 1)
    assert len(bomb) < 2 << 20
    head = f"{HEAD}Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    with fire.unharmed():
        answer = exchange(fire.plane, f"POST /api/v1/namespaces HTTP/1.1\r\n{head}".encode() + bomb)

    check_refusal(answer, "gzip bomb")
    assert answer.status == 400


def test_a_body_beyond_the_limit_is_refused_while_it_comes(fire: UnderFire) -> None:
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    head = f"POST /api/v1/namespaces HTTP/1.1\r\n{HEAD}Content-Type: application/json\r\n".encode()
    with fire.unharmed():
        answers = [
            exchange(fire.plane, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 60),
            exchange(fire.plane, head + b"Content-Length: 3145729\r\n\r\n" + b" " * 3145729),
        ]

    assert [answer.status for answer in answers] == [413, 413]


def test_a_head_as_large_as_upstream_takes_is_taken(fire: UnderFire) -> None:
    names = ",".join(f"n{number}" for number in range(9000))
    selector = f"GET /api/v1/namespaces?labelSelector=a%20in%20({names}) HTTP/1.1\r\n{HEAD}\r\n"
    groups = "".join(f"Impersonate-Group: g{number}\r\n" for number in range(500))
    with fire.unharmed():
        listed = exchange(fire.plane, selector.encode())
        many = exchange(
            fire.plane, f"GET /api/v1/namespaces HTTP/1.1\r\n{HEAD}Impersonate-User: u\r\n{groups}\r\n".encode()
        )

    assert (listed.status, json.loads(listed.body)["items"]) == (200, [])
    assert many.status == 403  # u may not list; the groups were all read


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(fire: UnderFire) -> None:
    body = b'{"metadata":{"name":"asked"}}'
    head = f"{HEAD}Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    with fire.unharmed(), connect(fire.plane) as channel:
        channel.sendall(f"POST /api/v1/namespaces?dryRun=All HTTP/1.1\r\n{head}".encode())
        assert channel.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        channel.sendall(body)
        assert channel.recv(65536).startswith(b"HTTP/1.1 201 ")


def test_a_head_that_does_not_end_is_given_up(fire: UnderFire) -> None:
    with fire.unharmed():
        answer = exchange(fire.plane, b"GET /version HTTP/1.1\r\nX-A: " + b"a" * (3 << 20))

    assert answer.status in (431, 0)
