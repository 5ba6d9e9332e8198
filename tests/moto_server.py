"""
Moto's server, which answers as AWS does, from an environment of its own: what it needs does not go together with ours.

The environment is made once from pinned packages and kept in the tests' cache.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests.ports import free_port

PACKAGES = ("moto[server]==5.2.5", "boto3==1.44.8")
START_SECONDS = 40.0
STRICT = pathlib.Path(__file__).with_name("moto_strict.py")


def _environment() -> pathlib.Path:
    """Its python. Skips the test when no package index can be reached."""
    home = pathlib.Path(os.environ.get("HANSE_HOME", "~/.hanse")).expanduser()
    version = "-".join(one.partition("==")[2] for one in PACKAGES)
    folder = home / "cache" / "tests" / f"moto-{version}-py{sys.version_info.major}.{sys.version_info.minor}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    uv = str(pathlib.Path(sys.executable).with_name("uv"))
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once make it once
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            python = str(folder / "bin" / "python")
            for argv in (
                [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
                [uv, "pip", "install", "--quiet", "--python", python, *PACKAGES],
            ):
                done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
                if done.returncode != 0:
                    pytest.skip(f"moto cannot be installed: {done.stderr.strip()[-300:]}")
            (folder / "complete").touch()
    return folder / "bin" / "python"


@contextlib.contextmanager
def moto_server(log: pathlib.Path) -> Iterator[str]:
    """The URL of an AWS with nothing in it."""
    python, port = _environment(), free_port()
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as out:
        argv = [str(python), str(STRICT), "-H", "127.0.0.1", "-p", str(port)]
        running = subprocess.Popen(argv, stdout=out, stderr=out)
    try:
        _wait_ready(f"{url}/moto-api/data.json", running, log)
        yield url
    finally:
        running.terminate()
        running.wait(20)


def _wait_ready(url: str, running: "subprocess.Popen[bytes]", log: pathlib.Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            ended = running.poll() is not None
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"moto did not start: {log.read_text(errors='replace')[-2000:]}") from None
            time.sleep(0.1)
