"""
The apiserver's TLS: its certificate, made when none is given, and the optional one of the client.
"""

import datetime as dt
import ipaddress
import os
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.apiserver.options import Options


def serving_files(options: Options, service_address: str) -> tuple[str, str]:
    """Paths of certificate and key; apiserver.crt and .key in cert-dir are made when they are not there."""
    if options.tls_cert_file:
        return options.tls_cert_file, options.tls_private_key_file
    directory = Path(options.cert_dir)
    certificate, key = directory / "apiserver.crt", directory / "apiserver.key"
    if not (certificate.exists() and key.exists()):
        directory.mkdir(parents=True, exist_ok=True)
        _make(certificate, key, [options.advertise_address, options.bind_address, service_address])
    return str(certificate), str(key)


def _make(certificate_path: Path, key_path: Path, addresses: list[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    host = socket.gethostname()
    names: list[x509.GeneralName] = [
        x509.DNSName(name)
        for name in ("localhost", host, "kubernetes", "kubernetes.default", "kubernetes.default.svc",
                     "kubernetes.default.svc.cluster.local")
    ]  # fmt: skip
    concrete = [a for a in dict.fromkeys(["127.0.0.1", *addresses]) if a not in ("", "0.0.0.0", "::")]  # noqa: S104
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in concrete]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{host}@self-signed")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    handle = os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(private)
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def server_context(options: Options, certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 or newer; a client may show a certificate of the cluster's or the front proxy's CA, and need not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    for authority in (options.client_ca_file, options.requestheader_client_ca_file):
        if authority:
            context.load_verify_locations(authority)
            context.verify_mode = ssl.CERT_OPTIONAL
    return context


class ServingContext(ssl.SSLContext):
    """
    What the listener holds; new connections take `current`, which is made anew when a file changed.

    A context that is in use cannot forget an authority, and finds the wrong one of two of the same name.
    """

    current: ssl.SSLContext

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return self.current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def serving_context(options: Options, certificate: str, key: str) -> ServingContext:
    context = ServingContext(ssl.PROTOCOL_TLS_SERVER)
    context.current = server_context(options, certificate, key)
    return context
