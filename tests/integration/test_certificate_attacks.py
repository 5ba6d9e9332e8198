"""Client certificates and proxies' headers that must not get in, over real TLS."""

import datetime as dt
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.integration.conftest import TOKEN, Api, serving

NOW = dt.datetime.now(dt.UTC)
HOUR = dt.timedelta(hours=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Pair:
    certificate: x509.Certificate
    key: Key


def make(
    name: str,
    issuer: Pair | None = None,
    *,
    groups: tuple[str, ...] = (),
    is_authority: bool = False,
    usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
    starts: dt.datetime = NOW - HOUR,
    ends: dt.datetime = NOW + HOUR,
    key: Key | None = None,
    constraints: x509.NameConstraints | None = None,
    names: tuple[str, ...] = (),
) -> Pair:
    own = key or ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
    attributes += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name(attributes)
    builder = x509.CertificateBuilder().subject_name(subject).public_key(own.public_key())
    builder = builder.issuer_name(issuer.certificate.subject if issuer else subject)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(starts).not_valid_after(ends)
    builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    if usage is not None and not is_authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
        builder = builder.add_extension(alternative, critical=False)
    signer = issuer.key if issuer else own
    return Pair(builder.sign(signer, hashes.SHA256()), own)


CLIENTS = make("kubernetes", is_authority=True)
PROXIES = make("front-proxy-ca", is_authority=True)
ETCD = make("etcd-ca", is_authority=True)
NARROW = make(
    "narrow", CLIENTS, is_authority=True, constraints=x509.NameConstraints([x509.DNSName("inside.example")], None)
)
PROXY = make("front-proxy-client", PROXIES)
MASTERS = ("system:masters",)
AS_ADMIN = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}


def foreign(pair: Pair) -> Callable[[], Pair]:
    return lambda: pair


ATTACKS: dict[str, tuple[Callable[[], Pair], dict[str, str]]] = {
    "etcd's authority": (lambda: make("eve", ETCD, groups=MASTERS), {}),
    "the proxies' authority as a user": (lambda: make("eve", PROXIES, groups=MASTERS), {}),
    "an authority of the same name": (lambda: make("eve", make("kubernetes", is_authority=True), groups=MASTERS), {}),
    "signed by itself": (lambda: make("eve", groups=MASTERS), {}),
    "expired": (lambda: make("eve", CLIENTS, groups=MASTERS, ends=NOW - dt.timedelta(minutes=1)), {}),
    "not yet valid": (lambda: make("eve", CLIENTS, groups=MASTERS, starts=NOW + dt.timedelta(minutes=30)), {}),
    "for servers": (lambda: make("eve", CLIENTS, groups=MASTERS, usage=ExtendedKeyUsageOID.SERVER_AUTH), {}),
    "for signing code": (lambda: make("eve", CLIENTS, groups=MASTERS, usage=ExtendedKeyUsageOID.CODE_SIGNING), {}),
    "without a name": (lambda: make("", CLIENTS, groups=MASTERS), {}),
    "signed by a leaf": (lambda: make("eve", make("bob", CLIENTS), groups=MASTERS), {}),
    "signed by an authority below ours": (lambda: make("eve", NARROW, groups=MASTERS, names=("outside.example",)), {}),
    "an RSA key of 1024 bits": (
        lambda: make("eve", CLIENTS, groups=MASTERS, key=rsa.generate_private_key(65537, 1024)),
        {},
    ),
    "headers of a proxy without its certificate": (lambda: make("eve", ETCD), AS_ADMIN),
    "a proxy of another name": (lambda: make("another-proxy", PROXIES), AS_ADMIN),
    "a proxy that is expired": (
        lambda: make("front-proxy-client", PROXIES, ends=NOW - dt.timedelta(minutes=1)),
        AS_ADMIN,
    ),
    "a proxy for servers": (
        lambda: make("front-proxy-client", PROXIES, usage=ExtendedKeyUsageOID.SERVER_AUTH),
        AS_ADMIN,
    ),
    "a proxy of the clients' authority": (lambda: make("front-proxy-client", CLIENTS), AS_ADMIN),
    "a proxy that names nobody": (foreign(PROXY), {"X-Remote-Group": "system:masters"}),
    "a user beside the headers": (lambda: make("eve", CLIENTS), AS_ADMIN),
    "a group in the common name": (lambda: make("system:masters", CLIENTS), {}),
    "a node by its group alone": (lambda: make("eve", CLIENTS, groups=("system:nodes",)), {}),
    "a node by its name alone": (lambda: make("system:node:n1", CLIENTS), {}),
    "two groups in one": (lambda: make("eve", CLIENTS, groups=("dev,system:masters",)), {}),
}


def write(directory: Path, stem: str, *pairs: Pair) -> Path:
    path = directory / f"{stem}.pem"
    pem = b"".join(pair.certificate.public_bytes(serialization.Encoding.PEM) for pair in pairs)
    form = serialization.PrivateFormat.PKCS8
    key = pairs[0].key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    path.write_bytes(pem + key)
    return path


async def status_of(api: Api, directory: Path, pair: Pair | None, headers: dict[str, str]) -> int:
    """HTTP status of reading Secrets; 0 when TLS refuses the certificate."""
    context = ssl.create_default_context(cafile=api.server.serving[0])
    if pair is not None:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # that the client would send it all the same
        context.load_cert_chain(write(directory, "client", pair))
    connector = aiohttp.TCPConnector(ssl=context)
    try:
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"{api.url}/api/v1/secrets", headers=headers) as answer,
        ):
            return answer.status
    except aiohttp.ClientError:
        return 0


async def test_no_false_certificate_gets_in(etcd_url: str, tmp_path: Path) -> None:
    flags = [
        f"--client-ca-file={write(tmp_path, 'clients', CLIENTS)}",
        f"--requestheader-client-ca-file={write(tmp_path, 'proxies', PROXIES)}",
        "--requestheader-allowed-names=front-proxy-client",
    ]
    async with serving(etcd_url, tmp_path, *flags) as api:
        assert await status_of(api, tmp_path, make("alice", CLIENTS, groups=MASTERS), {}) == 200
        assert await status_of(api, tmp_path, PROXY, AS_ADMIN) == 200
        outcomes: dict[str, Any] = {}
        for name, (made, headers) in ATTACKS.items():
            outcomes[name] = await status_of(api, tmp_path, made(), headers)
        assert {name: found for name, found in outcomes.items() if found not in (0, 401, 403)} == {}
        for name, headers in {
            "headers alone": AS_ADMIN,
            "a token in two schemes": {"Authorization": f"Basic {TOKEN}"},
            "an empty token": {"Authorization": "Bearer "},
            "two tokens in one": {"Authorization": f"Bearer x, Bearer {TOKEN}"},
        }.items():
            assert await status_of(api, tmp_path, None, headers) == 401, name
        query = f"/api/v1/secrets?access_token={TOKEN}&token={TOKEN}"
        assert (await api.call("GET", query, Authorization=""))[0] == 401
