"""`provision certs status|rotate`: what was issued, how long it lasts, and a new one for each leaf."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from cluster.pki import catalogue
from cluster.pki.authority import PkiError
from cluster.pki.catalogue import AuthorityEntry
from cluster.pki.inspect import RENEW_AT_REMAINING, CertificateInfo, inspect_certificate
from cluster.pki.issue import LEAF_LIFETIME
from inventory.model import ClusterSpec
from provisioner.errors import ProvisionError
from provisioner.phases.issue_certificates import leaf_files, pending_certificates, signer_pem

SOON = 14.0  # days; whoever has fewer left is told of as a warning
SOON_EXIT_CODE = 5
"""Of `certs status` when something ends within SOON; 1 when something has ended."""


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """One certificate on the operator's side, from where hosts have theirs."""

    name: str
    host: str
    """Empty for CAs and the operator's own."""
    days_left: float | None
    """None when there is none, or it cannot be read."""
    due: bool
    """Less than a third of its life is left, so the next run renews it. Of a CA: it ends before a leaf would."""
    why: str = ""

    @property
    def has_ended(self) -> bool:
        """It is of no use: ended, missing or damaged."""
        return self.days_left is None or self.days_left < 0

    @property
    def ends_soon(self) -> bool:
        return self.days_left is not None and 0 <= self.days_left < SOON


def read_certificates(spec: ClusterSpec, pki: Path, now: dt.datetime) -> list[CertificateStatus]:
    """CAs first, then the operator's, then each host's."""
    found = [one for entry in catalogue.AUTHORITIES for one in _authority(entry, pki, now)]
    leaves = sorted(leaf_files(spec, pki), key=lambda leaf: leaf[1])
    return found + [_status(name, host, path, now) for name, host, path in leaves]


def _authority(entry: AuthorityEntry, pki: Path, now: dt.datetime) -> list[CertificateStatus]:
    """The one that signs first; while CAs are rotated, the other that is trusted too."""
    path = pki / f"{entry.path}.crt"
    try:
        bundle = x509.load_pem_x509_certificates(path.read_bytes())
        signer = inspect_certificate(signer_pem(pki, entry)).serial
    except (OSError, ValueError, ProvisionError):
        return [_status(entry.name, "", path, now, least=LEAF_LIFETIME.days)]
    found = []
    for certificate in sorted(bundle, key=lambda one: one.serial_number != signer):
        signs = certificate.serial_number == signer
        left = (certificate.not_valid_after_utc - now).total_seconds() / 86400
        due = signs and left < LEAF_LIFETIME.days
        found.append(CertificateStatus(entry.name if signs else f"{entry.name}, trusted too", "", left, due))
    return found


def _status(name: str, host: str, path: Path, now: dt.datetime, *, least: float = 0.0) -> CertificateStatus:
    try:
        info = inspect_certificate(path.read_bytes())
    except FileNotFoundError:
        return CertificateStatus(name, host, None, True, "there is none")
    except (PkiError, OSError) as error:
        return CertificateStatus(name, host, None, True, str(error))
    left = info.days_left(now)
    return CertificateStatus(name, host, left, left < (least or _renewal_days(info)))


def _renewal_days(info: CertificateInfo) -> float:
    return (info.not_after - info.not_before).total_seconds() / 86400 * RENEW_AT_REMAINING


def pending_leaves(spec: ClusterSpec, pki: Path, now: dt.datetime) -> int:
    """How many leaves the next run would issue."""
    return sum(text.startswith("issue ") for text in pending_certificates(spec, pki, now))


def give_up_leaves(spec: ClusterSpec, pki: Path, now: dt.datetime) -> int:
    """
    Let every leaf be issued anew by the next run; CAs and keys that others know stay. Returns how many.

    The old ones go on being accepted until they end: nobody is locked out while hosts get theirs one by one.

    Raises ProvisionError, and gives nothing up, when a CA has ended: it could not issue others.
    """
    ended = [
        one.name
        for entry in catalogue.AUTHORITIES
        if (pki / f"{entry.path}.crt").exists()
        for one in _authority(entry, pki, now)[:1]
        if one.has_ended
    ]
    if ended:
        raise ProvisionError(
            "no certificate can be issued", why=f"CA {', '.join(ended)} has expired",
            next_step=f"Replace the CAs with `provision certs rotate-ca {spec.name}`; that needs SSH alone, no API.",
        )  # fmt: skip
    count = 0
    for _, _, path in leaf_files(spec, pki):
        if path.exists():
            path.unlink()
            count += 1
    return count


def advice(found: list[CertificateStatus], cluster: str) -> str:
    """What to do about what has ended or ends soon; empty when nothing does. Pure."""
    if not any(one.has_ended or one.ends_soon or one.due for one in found):
        return ""
    authorities = {entry.name for entry in catalogue.AUTHORITIES}
    if any(one.name in authorities and one.due for one in found):
        return f"Replace the CAs with `provision certs rotate-ca {cluster}`; that needs SSH alone, no API."
    return f"Renew them with `provision certs rotate --due {cluster}`; that needs SSH alone, no API."


def lines(found: list[CertificateStatus]) -> list[str]:
    """For people. Pure."""
    rows = [("CERTIFICATE", "HOST", "DAYS LEFT", "")]
    for one in found:
        left = f"{one.days_left:.0f}" if one.days_left is not None else "-"
        remark = one.why or ("expired" if one.has_ended else "ends soon" if one.ends_soon else "due" if one.due else "")
        rows.append((one.name, one.host or "-", left, remark))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]).rstrip()
        for row in rows
    ]
