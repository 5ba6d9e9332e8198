"""Certificates that a fake member shows: a good one, one that has expired, one of another authority."""

import datetime as dt
import ssl
from pathlib import Path

from cluster.pki.authority import Authority, make_authority
from cluster.pki.issue import CertificateContent, Usage, issue_key_pair

LONG_AGO = dt.timedelta(days=365)


class MemberCertificates:
    """`context` is the server's; `use_…` changes what new connections are shown."""

    def __init__(self, directory: Path, address: str = "127.0.0.1") -> None:
        self._directory = directory
        self._content = CertificateContent("member", ip_addresses=(address,), usages=(Usage.SERVER,))
        born = dt.datetime.now(dt.UTC) - 2 * LONG_AGO
        self._authority = make_authority("member-ca", now=born, lifetime=4 * LONG_AGO)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.use_good()

    @property
    def authority_pem(self) -> bytes:
        return self._authority.certificate_pem

    def use_good(self) -> None:
        self._load(self._authority, dt.datetime.now(dt.UTC))

    def use_expired(self) -> None:
        self._load(self._authority, dt.datetime.now(dt.UTC) - LONG_AGO)

    def use_foreign(self) -> None:
        now = dt.datetime.now(dt.UTC)
        self._load(make_authority("another-ca", now=now), now)

    def _load(self, authority: Authority, issued: dt.datetime) -> None:
        pair = issue_key_pair(authority, self._content, now=issued)
        certificate, key = self._directory / "member.crt", self._directory / "member.key"
        certificate.write_bytes(pair.certificate_pem)
        key.write_bytes(pair.key_pem)
        self.context.load_cert_chain(certificate, key)
