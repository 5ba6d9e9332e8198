"""
Pinned host keys as text: the lines of a cluster's known_hosts. Pure.

Called by   provisioner.transports.ssh, which knows when a key is to be pinned.
"""


def with_pin(known: str, hostname: str, key_type: str, key: str) -> str:
    """
    The file with this key as the only one of that host; other hosts' lines stay as they are.

    Args:
        known: The file's text.
        hostname: As SSH writes it: an address, or `[address]:port` for another port than 22.
        key_type: `ssh-ed25519`, …
        key: base64.
    """
    kept = [line for line in known.splitlines() if not _is_of(line, hostname)]
    return "".join(f"{line}\n" for line in (*kept, f"{hostname} {key_type} {key}"))


def _is_of(line: str, hostname: str) -> bool:
    return hostname in line.partition(" ")[0].split(",")
