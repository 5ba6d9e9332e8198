"""`provision certs status|rotate`: what was issued, how long it lasts, and a new one for each leaf."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from cluster.pki import catalogue
from cluster.pki.authority import PkiError
from cluster.pki.inspect import RENEW_AT_REMAINING, CertificateInfo, inspect_certificate
from cluster.pki.issue import LEAF_LIFETIME
from inventory.model import ClusterSpec
from provisioner.phases.issue_certificates import leaf_files

SOON = 14.0  # days; whoever has fewer left is told of as a warning


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


def read_certificates(spec: ClusterSpec, pki: Path, now: dt.datetime) -> list[CertificateStatus]:
    """CAs first, then the operator's, then each host's."""
    found = [
        _status(entry.name, "", pki / f"{entry.path}.crt", now, least=LEAF_LIFETIME.days)
        for entry in catalogue.AUTHORITIES
    ]
    leaves = sorted(leaf_files(spec, pki), key=lambda leaf: leaf[1])
    return found + [_status(name, host, path, now) for name, host, path in leaves]


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


def give_up_leaves(spec: ClusterSpec, pki: Path) -> int:
    """
    Let every leaf be issued anew by the next run; CAs and keys that others know stay. Returns how many.

    The old ones go on being accepted until they end: nobody is locked out while hosts get theirs one by one.
    """
    count = 0
    for _, _, path in leaf_files(spec, pki):
        if path.exists():
            path.unlink()
            count += 1
    return count


def lines(found: list[CertificateStatus]) -> list[str]:
    """For people. Pure."""
    rows = [("CERTIFICATE", "HOST", "DAYS LEFT", "")]
    for one in found:
        left = f"{one.days_left:.0f}" if one.days_left is not None else "-"
        remark = one.why or ("expired" if one.days_left is not None and one.days_left < 0 else "due" if one.due else "")
        rows.append((one.name, one.host or "-", left, remark))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]).rstrip()
        for row in rows
    ]
