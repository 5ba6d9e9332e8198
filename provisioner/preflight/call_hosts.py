"""
Runs on a host: listens at ports for a while, or calls other hosts and prints how that went, as JSON. Standard library
alone. Packets go to the hosts that the question names and nowhere else.

    listen   {"ports": [2380], "address": "10.0.0.1", "seconds": 5}
    call     {"targets": [{"address": "10.0.0.2", "ports": [2380], "size": 1500}], "seconds": 3}
"""

import contextlib
import json
import os
import selectors
import socket
import struct
import sys
import threading
import time
from typing import Any


def listen(question: "dict[str, Any]") -> None:
    sockets = []
    for port in question["ports"]:
        family = socket.AF_INET6 if ":" in question["address"] else socket.AF_INET
        one = socket.socket(family, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sockets.append(one)
        with contextlib.suppress(OSError):  # somebody has it, and answers in our place
            one.bind((question["address"], port))
            one.listen(64)
    chosen = selectors.DefaultSelector()
    for one in sockets:
        chosen.register(one, selectors.EVENT_READ)
    end = time.monotonic() + question["seconds"]
    while (left := end - time.monotonic()) > 0:
        for key, _ in chosen.select(left):
            assert isinstance(key.fileobj, socket.socket)  # noqa: S101 - nothing else was registered
            key.fileobj.accept()[0].close()
    for one in sockets:
        one.close()


def reaches(address: str, port: int, end: float) -> bool:
    while True:
        try:
            socket.create_connection((address, port), timeout=max(0.1, min(1.0, end - time.monotonic()))).close()
        except ConnectionRefusedError:  # it may not listen yet
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        except OSError:
            if time.monotonic() > end:
                return False
        else:
            return True


def checksum(data: bytes) -> int:
    """Of an even number of bytes, as RFC 1071 has it."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping(address: str, size: int, tries: int) -> "float | None":
    """Seconds until an echo of a packet of `size` bytes that may not be split comes back; None when none does."""
    six = ":" in address
    family, protocol = (socket.AF_INET6, 58) if six else (socket.AF_INET, 1)
    payload = max(16, size - (48 if six else 28))
    number = (os.getpid() ^ threading.get_ident()) & 0xFFFF
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        # IP_MTU_DISCOVER (10) and IPV6_MTU_DISCOVER (23), value DO (2): Python has no names for them.
        raw.setsockopt(41 if six else 0, 23 if six else 10, 2)
        for sequence in range(tries):
            header = struct.pack("!BBHHH", 128 if six else 8, 0, 0, number, sequence)
            body = b"\0" * (payload - payload % 2)
            if not six:  # the kernel reckons ICMPv6's
                header = struct.pack("!BBHHH", 8, 0, checksum(header + body), number, sequence)
            began = time.monotonic()
            try:
                raw.sendto(header + body, (address, 0))
            except OSError:
                return None  # larger than the interface or the path carries
            end = began + 0.7
            while (left := end - time.monotonic()) > 0:
                raw.settimeout(left)
                try:
                    answer = raw.recv(65536)
                except OSError:
                    break
                echo = answer if six else answer[(answer[0] & 15) * 4 :]
                if echo[:1] == (b"\x81" if six else b"\0") and struct.unpack_from("!HH", echo, 4) == (number, sequence):
                    return time.monotonic() - began
    return None


def call(question: "dict[str, Any]") -> "list[dict[str, Any]]":
    answers: list[dict[str, Any]] = [{} for _ in question["targets"]]

    def one(place: int) -> None:
        target, end = question["targets"][place], time.monotonic() + question["seconds"]
        closed = [port for port in target["ports"] if not reaches(target["address"], port, end)]
        small = ping(target["address"], 84, 3)
        large = ping(target["address"], target["size"], 3)
        answers[place] = {"closed": closed, "seconds": small, "whole": large is not None}

    threads = [threading.Thread(target=one, args=(place,)) for place in range(len(answers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


if __name__ == "__main__":
    asked = json.loads(sys.argv[2])
    if sys.argv[1] == "listen":
        listen(asked)
    else:
        print(json.dumps(call(asked)))  # noqa: T201 - its output is the answer
