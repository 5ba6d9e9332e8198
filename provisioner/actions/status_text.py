"""A ClusterStatus as lines of text. Pure."""

from provisioner.actions.show_status import ClusterStatus, HostStatus

_COLUMNS = ("HOST", "ADDRESS", "ROLES", "MACHINE", "ETCD", "APISERVER", "NODE", "RELEASE", "CERTIFICATES")
_SHORT_ROLES = {"control_plane": "master"}


def status_lines(status: ClusterStatus) -> list[str]:
    rows = [_COLUMNS, *(_row(host) for host in status.hosts)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    remarks = [f"{host.name}: {remark}" for host in status.hosts for remark in _remarks(host)]
    verdict = "healthy" if status.healthy else "not healthy"
    members = ", ".join(status.etcd_members) or "no answer"
    keeps = f"etcd members: {members}" if any(host.etcd for host in status.hosts) else "Its host keeps the store."
    return [f"{status.kind.capitalize()} {status.name} ({status.provider}) is {verdict}. {keeps}", *table, *remarks]


def _row(host: HostStatus) -> tuple[str, ...]:
    days = host.certificates_days_left
    return (
        host.name,
        host.address,
        ",".join(_SHORT_ROLES.get(role, role) for role in host.roles),
        "unreachable" if host.reachable else host.machine,
        host.etcd or "-",
        "-" if not host.apiserver else "ready" if host.apiserver == "ready" else "not ready",
        "-" if not host.node else "Ready" if host.node == "Ready" else "NotReady",
        host.release or "-",
        f"{days:.0f} days" if days is not None else "none",
    )


def _remarks(host: HostStatus) -> list[str]:
    remarks = [host.reachable] if host.reachable else []
    if host.idle_units:
        remarks.append(f"not running: {', '.join(host.idle_units)}")
    if host.apiserver not in ("", "ready"):
        remarks.append(f"apiserver: {host.apiserver}")
    if host.node not in ("", "Ready"):
        remarks.append(f"node: {host.node}")
    return remarks
