"""
What a container left as its last words: the termination message file, or the end of its log.
"""

from pathlib import Path

from cluster.kubelet.runtime import TERMINATION_PATH_ANNOTATION, TERMINATION_POLICY_ANNOTATION, Container

MAX_BYTES = 4096
LOG_LINES, LOG_BYTES = 80, 2048


def read_termination_message(run: Container) -> str:
    """Blocking. An unreadable file is no message."""
    path = run.annotations.get(TERMINATION_PATH_ANNOTATION)
    policy = run.annotations.get(TERMINATION_POLICY_ANNOTATION)
    text = ""
    for mount in run.mounts:
        if path and mount.container_path == path:
            text = _head(Path(mount.host_path))
    if not text and policy == "FallbackToLogsOnError" and run.exit_code != 0 and run.log_path:
        text = log_tail(Path(run.log_path))
    return text


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode(errors="replace")
    except OSError:
        return ""


def log_tail(path: Path) -> str:
    """The end of a CRI log, without its time stamps."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 64 * 1024))
            lines = file.read().splitlines()[-LOG_LINES:]
    except OSError:
        return ""
    text = b"".join(line.split(b" ", 3)[3] + b"\n" for line in lines if line.count(b" ") >= 3)
    return text[-LOG_BYTES:].decode(errors="replace")
