"""
What runs on a host while `provision` is connected: takes commands over its standard input, answers on its output.

Sent over the connection and run by the host's own Python (3.9 or newer); nothing is written to the host. Frames are a
4-byte big-endian length and JSON. It imports the standard library alone, and ends, with all that it started, when the
connection does.
"""

import base64
import contextlib
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from typing import Any

_writing = threading.Lock()
_running: "dict[int, subprocess.Popen[bytes]]" = {}
_locks: "dict[str, Any]" = {}


def answer(message: "dict[str, Any]") -> None:
    data = json.dumps(message).encode()
    with _writing:
        sys.stdout.buffer.write(struct.pack(">I", len(data)) + data)
        sys.stdout.buffer.flush()


def run(request: "dict[str, Any]") -> None:
    number = request["id"]
    given = base64.b64decode(request["stdin"])
    try:
        process = subprocess.Popen(
            request["argv"],
            stdin=subprocess.PIPE if given else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        answer({"id": number, "exit": 127, "out": "", "err": str(error)})
        return
    _running[number] = process
    out, err = process.communicate(given or None)
    _running.pop(number, None)
    answer(
        {
            "id": number,
            "exit": process.returncode,
            "out": out.decode(errors="replace"),
            "err": err.decode(errors="replace"),
        }
    )


def end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
        os.killpg(process.pid, signal.SIGKILL)


def lock(request: "dict[str, Any]") -> None:
    """Answers exit 0, or 1 with what the holder wrote."""
    file = open(request["path"], "a+")  # noqa: SIM115 - open as long as it is locked
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        answer({"id": request["id"], "exit": 1, "out": file.read(), "err": ""})
        file.close()
        return
    file.truncate(0)
    file.write(request["holder"])
    file.flush()
    _locks[request["path"]] = file
    answer({"id": request["id"], "exit": 0, "out": "", "err": ""})


def unlock(request: "dict[str, Any]") -> None:
    file = _locks.pop(request["path"], None)
    if file is not None:
        file.close()
    answer({"id": request["id"], "exit": 0, "out": "", "err": ""})


def serve() -> None:
    source = sys.stdin.buffer
    answer({"id": 0, "exit": 0, "out": "ready", "err": ""})
    while True:
        header = source.read(4)
        if len(header) < 4:
            break
        request = json.loads(source.read(struct.unpack(">I", header)[0]))
        if request["op"] == "run":
            threading.Thread(target=run, args=(request,), daemon=True).start()
        elif request["op"] == "cancel" and request["id"] in _running:
            end(_running[request["id"]])
        elif request["op"] == "lock":
            lock(request)
        elif request["op"] == "unlock":
            unlock(request)
    for process in list(_running.values()):
        end(process)
    os._exit(0)


if __name__ == "__main__":
    serve()
