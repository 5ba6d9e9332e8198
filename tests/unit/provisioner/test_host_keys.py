"""Another key of a host takes the place of its old ones, and touches nobody else's."""

import pytest

from provisioner.transports.host_keys import with_pin

KNOWN = "10.0.0.1 ssh-ed25519 AAA\n10.0.0.1 ssh-rsa BBB\n[10.0.0.1]:2222 ssh-ed25519 CCC\n10.0.0.11 ssh-ed25519 DDD\n"


@pytest.mark.parametrize(
    ("host", "kept"),
    [
        ("10.0.0.1", ["CCC", "DDD"]),
        ("[10.0.0.1]:2222", ["AAA", "BBB", "DDD"]),
        ("10.0.0.2", ["AAA", "BBB", "CCC", "DDD"]),
    ],
)
def test_one_key_a_host(host: str, kept: list[str]) -> None:
    lines = with_pin(KNOWN, host, "ssh-ed25519", "NEW").splitlines()
    assert [line.split()[2] for line in lines] == [*kept, "NEW"]
    assert lines[-1] == f"{host} ssh-ed25519 NEW"


def test_names_that_share_a_line_are_known_by_each() -> None:
    assert with_pin("web,10.0.0.1 ssh-rsa AAA", "10.0.0.1", "ssh-rsa", "NEW") == "10.0.0.1 ssh-rsa NEW\n"
