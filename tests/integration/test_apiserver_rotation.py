"""Rotated certificates, CAs and tokens are in force without a restart."""

import asyncio
import datetime as dt
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cluster.api.resources import CONFIG_MAPS
from cluster.apiserver import serving_certificate
from cluster.apiserver.app import Apiserver
from tests.integration.conftest import TOKEN, Api, server_options

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

Pair = tuple[x509.Certificate, "EllipticCurvePrivateKey"]


def issue(name: str, group: str, issuer: Pair | None) -> Pair:
    """A CA when there is no issuer, else a client's certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    names += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    subject = x509.Name(names)
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer[0].subject if issuer else subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(hours=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def write(directory: Path, stem: str, pair: Pair) -> None:
    (directory / f"{stem}.crt").write_bytes(pair[0].public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    pem = pair[1].private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (directory / f"{stem}.key").write_bytes(pem)


def rewrite_tokens(api: Api, text: str) -> None:
    Path(api.server.options.token_auth_file).write_text(text)


async def who(server: Apiserver, directory: Path, stem: str) -> int:
    """HTTP status of a request with that client certificate, on a new connection; 0 when TLS refuses it."""
    context = ssl.create_default_context(cafile=server.serving[0])
    context.load_cert_chain(directory / f"{stem}.crt", directory / f"{stem}.key")
    url = f"https://127.0.0.1:{server.port}/api/v1/nodes"
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.get(url) as answer,
        ):
            return answer.status
    except aiohttp.ClientError:
        return 0


async def test_a_new_client_ca_replaces_the_former(etcd_url: str, tmp_path: Path) -> None:
    old_ca, new_ca = issue("ca", "", None), issue("ca", "", None)
    write(tmp_path, "ca", old_ca)
    write(tmp_path, "old", issue("alice", "system:masters", old_ca))
    write(tmp_path, "new", issue("alice", "system:masters", new_ca))
    server = Apiserver(server_options(etcd_url, tmp_path, f"--client-ca-file={tmp_path / 'ca.crt'}"))
    async with server.run():
        assert (await who(server, tmp_path, "old"), await who(server, tmp_path, "new")) == (200, 0)
        write(tmp_path, "ca", new_ca)
        server.files.look()
        assert (await who(server, tmp_path, "old"), await who(server, tmp_path, "new")) == (0, 200)
        published, wanted = "", (tmp_path / "ca.crt").read_text()
        async with asyncio.timeout(5):  # extension apiservers trust whom we trust
            while published != wanted:
                await asyncio.sleep(0.02)
                found = server.registry.get(CONFIG_MAPS, "kube-system", "extension-apiserver-authentication")
                published = found["data"]["client-ca-file"] if found else ""


async def test_new_connections_see_the_new_serving_certificate(api: Api) -> None:
    assert (await api.call("GET", "/version"))[0] == 200
    directory = Path(api.server.serving[0]).parent
    (directory / "apiserver.crt").unlink()
    serving_certificate.serving_files(api.server.options, "10.96.0.1")
    api.server.files.look()
    context = ssl.create_default_context(cafile=api.server.serving[0])
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), headers=headers) as session,
        session.get(f"{api.url}/version") as answer,
    ):
        assert answer.status == 200
    assert (await api.call("GET", "/version"))[0] == 200  # the open connection goes on


async def test_a_token_that_was_taken_out_of_the_file_is_no_longer_good(api: Api) -> None:
    rewrite_tokens(api, 'other,bob,2,"system:masters"\n')
    api.server.files.look()
    assert (await api.call("GET", "/version"))[0] == 401
    assert (await api.call("GET", "/version", Authorization="Bearer other"))[0] == 200
