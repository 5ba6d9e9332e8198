"""A service takes up another certificate and other CAs of its clients while it serves."""

import datetime as dt
import pathlib
import ssl

import pytest

from cluster.client import serving_tls
from cluster.client.health_server import server_context
from cluster.pki.authority import Authority, make_authority
from cluster.pki.issue import CertificateContent, Usage, issue_key_pair

NOW = dt.datetime.now(dt.UTC)
CLIENT = CertificateContent("somebody", usages=(Usage.CLIENT,))
SERVER = CertificateContent("service", dns_names=("service",), usages=(Usage.SERVER,))


@pytest.fixture(autouse=True)
def _look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_tls, "CHECK_INTERVAL", 0.0)


def write(folder: pathlib.Path, stem: str, authority: Authority, content: CertificateContent) -> None:
    pair = issue_key_pair(authority, content, now=NOW, lifetime=dt.timedelta(hours=1))
    # As files are laid down: written beside and put in place at once.
    for suffix, pem in (("crt", pair.certificate_pem), ("key", pair.key_pem)):
        new = folder / f"{stem}.new"
        new.write_bytes(pem)
        new.replace(folder / f"{stem}.{suffix}")


def shakes_hands(server: ssl.SSLContext, folder: pathlib.Path, stem: str, trusted: Authority) -> bool:
    """Whether a client with that certificate, which trusts that CA, gets through."""
    context = ssl.create_default_context(cadata=trusted.certificate_pem.decode())
    context.load_cert_chain(folder / f"{stem}.crt", folder / f"{stem}.key")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="service")
    served = server.wrap_bio(to_server, to_client, server_side=True)
    try:
        for _ in range(4):
            for side in (client, served):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        served.write(b"hello")
        return client.read(5) == b"hello"
    except ssl.SSLError:
        return False


def test_two_generations_of_cas_are_told_apart_and_dropped(tmp_path: pathlib.Path) -> None:
    old, new = (make_authority("kubernetes", now=NOW) for _ in range(2))
    write(tmp_path, "old", old, CLIENT)
    write(tmp_path, "new", new, CLIENT)
    write(tmp_path, "server", old, SERVER)
    (tmp_path / "ca.crt").write_bytes(old.certificate_pem)
    context = server_context(tmp_path / "server.crt", tmp_path / "server.key", tmp_path / "ca.crt")
    assert shakes_hands(context, tmp_path, "old", old)
    assert not shakes_hands(context, tmp_path, "new", old)

    for bundle in (old.certificate_pem + new.certificate_pem, new.certificate_pem + old.certificate_pem):
        (tmp_path / "ca.crt").unlink()
        (tmp_path / "ca.crt").write_bytes(bundle)
        assert shakes_hands(context, tmp_path, "old", old)
        assert shakes_hands(context, tmp_path, "new", old)

    write(tmp_path, "server", new, SERVER)
    assert shakes_hands(context, tmp_path, "old", new)
    (tmp_path / "ca.crt").write_bytes(new.certificate_pem)
    assert not shakes_hands(context, tmp_path, "old", new)
    assert shakes_hands(context, tmp_path, "new", new)


def test_half_replaced_files_leave_the_former_pair_in_use(tmp_path: pathlib.Path) -> None:
    authority = make_authority("kubernetes", now=NOW)
    write(tmp_path, "client", authority, CLIENT)
    write(tmp_path, "server", authority, SERVER)
    (tmp_path / "ca.crt").write_bytes(authority.certificate_pem)
    context = server_context(tmp_path / "server.crt", tmp_path / "server.key", tmp_path / "ca.crt")
    key = (tmp_path / "server.key").read_bytes()
    write(tmp_path, "server", authority, SERVER)
    renewed = (tmp_path / "server.key").read_bytes()

    (tmp_path / "server.key").write_bytes(key)
    assert shakes_hands(context, tmp_path, "client", authority)
    (tmp_path / "server.key").write_bytes(renewed)
    assert shakes_hands(context, tmp_path, "client", authority)
