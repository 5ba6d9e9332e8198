"""
What a control plane needs to be itself, in its data directory: a CA, a serving certificate, the ServiceAccount keys,
tokens of its administrator and of its own parts. Made on the first start, kept on the next.
"""

import csv
import datetime as dt
import io
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.pki.authority import Authority, load_authority, make_authority
from cluster.pki.catalogue import CERTIFICATES, ClusterFacts, HostFacts
from cluster.pki.inspect import needs_renewal
from cluster.pki.issue import CertificateContent, issue_key_pair
from cluster.pki.service_account_key import make_service_account_key

SERVING_LIFETIME = dt.timedelta(days=365)
"""Renewed at a start in its last third; this process is not meant to run for a year."""

ADMIN, CONTROLLER_MANAGER, SCHEDULER, NODES = (
    "admin",
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "nodes",
)
_GROUPS = {ADMIN: "system:masters", CONTROLLER_MANAGER: "", SCHEDULER: "", NODES: "system:masters"}


@dataclass(frozen=True, slots=True)
class Identity:
    """Paths of PEM files and of the token file; tokens by user."""

    ca: Path
    ca_key: Path
    certificate: Path
    key: Path
    service_account_key: Path
    service_account_public: Path
    token_file: Path
    tokens: dict[str, str]

    def __repr__(self) -> str:
        return f"Identity(ca={self.ca})"


def ensure_identity(
    directory: Path, *, addresses: tuple[str, ...], service_address: str, users: Mapping[str, str] = _GROUPS
) -> Identity:
    """
    Make what is missing below `directory`, and the serving certificate when it does not fit any more.

    Args:
        addresses: Under which the apiserver is reached besides loopback; host names too.
        service_address: Of the Service default/kubernetes.
        users: Who gets a token, and in which group each is.

    Raises:
        OSError: The directory cannot be written.
        PkiError: A file in it is no key material.
    """
    pki = directory / "pki"
    pki.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = Identity(
        pki / "ca.crt", pki / "ca.key", pki / "apiserver.crt", pki / "apiserver.key",
        pki / "sa.key", pki / "sa.pub", directory / "tokens.csv", _tokens(directory / "tokens.csv", users),
    )  # fmt: skip
    authority = _authority(identity)
    _serving_certificate(identity, authority, _content(addresses, service_address))
    if not (identity.service_account_key.exists() and identity.service_account_public.exists()):
        private, public = make_service_account_key()
        write_private(identity.service_account_public, public)
        write_private(identity.service_account_key, private)
    return identity


def _authority(identity: Identity) -> Authority:
    if identity.ca.exists() and identity.ca_key.exists():
        return load_authority(identity.ca.read_bytes(), identity.ca_key.read_bytes())
    authority = make_authority("kubernetes", now=dt.datetime.now(dt.UTC))
    write_private(identity.ca_key, authority.key_pem)
    # Last: a pair that is not complete is made anew.
    write_private(identity.ca, authority.certificate_pem)
    return authority


def _content(addresses: tuple[str, ...], service_address: str) -> CertificateContent:
    (entry,) = [entry for entry in CERTIFICATES if entry.name == "apiserver"]
    return entry.content(HostFacts("localhost", addresses), ClusterFacts(service_address=service_address))


def _serving_certificate(identity: Identity, authority: Authority, wanted: CertificateContent) -> None:
    now = dt.datetime.now(dt.UTC)
    if identity.certificate.exists() and identity.key.exists():
        have = identity.certificate.read_bytes()
        if not needs_renewal(have, wanted, authority.certificate_pem, now=now):
            return
    pair = issue_key_pair(authority, wanted, now=now, lifetime=SERVING_LIFETIME)
    identity.certificate.unlink(missing_ok=True)
    write_private(identity.key, pair.key_pem)
    write_private(identity.certificate, pair.certificate_pem)


def _tokens(path: Path, users: Mapping[str, str]) -> dict[str, str]:
    """Of all users that we have; the file may name more, which are left alone."""
    text = path.read_text() if path.exists() else ""
    known = {row[1]: row[0] for row in csv.reader(io.StringIO(text)) if len(row) > 1}
    missing = [user for user in users if user not in known]
    if missing:
        out = io.StringIO(text if not text or text.endswith("\n") else text + "\n")
        out.seek(0, io.SEEK_END)
        writer = csv.writer(out, lineterminator="\n")
        for user in missing:
            known[user] = secrets.token_urlsafe(32)
            writer.writerow([known[user], user, user, users[user]])
        write_private(path, out.getvalue().encode())
    return {user: known[user] for user in users}


def write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, for the owner alone."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
