"""
Issue what is missing, ends soon or says something else than the catalogue wants; keep the rest.

State lies below the cluster's `pki/`: CAs and the operator's certificate at the top, each host's in `hosts/NAME/`. Keys
are 0600 in a 0700 folder and leave this machine as files that Ansible copies, never as variables.
"""

import datetime as dt
from pathlib import Path

from cluster.pki import catalogue, encryption_config, service_account_key
from cluster.pki.authority import Authority, PkiError, load_authority, make_authority
from cluster.pki.catalogue import AuthorityEntry, CertificateEntry, ClusterFacts
from cluster.pki.inspect import needs_renewal
from cluster.pki.issue import issue_key_pair
from inventory.model import ClusterSpec, HostSpec, Role
from provisioner.errors import ProvisionError
from provisioner.phases.revoke_certificates import LIST, ensure_revocations, revocations_pending
from provisioner.state import write_atomically


def pending_certificates(spec: ClusterSpec, pki: Path, now: dt.datetime) -> list[str]:
    """A sentence for each file that `issue_certificates` would write. Reads only."""
    missing = [entry for entry in catalogue.AUTHORITIES if not (pki / f"{entry.path}.key").exists()]
    found = [f"make CA {authority_name(entry, spec)}" for entry in missing]
    if not (pki / service_account_key.PRIVATE_FILE).exists():
        found.append("make the key of ServiceAccount tokens")
    if not (pki / encryption_config.FILE).exists():
        found.append("make the key that Secrets are sealed with")
    if revocations_pending(pki):
        found.append("make etcd's list of certificates that count no longer")
    for entry, host, stem in _leaves(spec, pki):
        reason = _reason(spec, entry, host, stem, pki, now)
        if reason:
            found.append(f"issue {entry.name} for {host.name if host else 'the operator'}: {reason}")
    return found


def hosts_with_certificates(spec: ClusterSpec, pki: Path, now: dt.datetime) -> set[str]:
    """Names of the hosts for which nothing is pending."""
    shared = [*(f"{entry.path}.key" for entry in catalogue.AUTHORITIES), encryption_config.FILE, LIST]
    if any(not (pki / name).exists() for name in shared):
        return set()
    lacking = set()
    for entry, host, stem in _leaves(spec, pki):
        if host and _reason(spec, entry, host, stem, pki, now):
            lacking.add(host.name)
    return {host.name for host in spec.hosts} - lacking


def issue_certificates(spec: ClusterSpec, pki: Path, now: dt.datetime) -> int:
    """Write all that is pending; returns how many leaves. Blocks for about a millisecond each."""
    pki.mkdir(parents=True, exist_ok=True)
    pki.chmod(0o700)
    authorities = {entry.name: _ensure_authority(entry, spec, pki, now) for entry in catalogue.AUTHORITIES}
    _ensure_service_account_key(pki)
    ensure_revocations(pki, now)
    if not (pki / encryption_config.FILE).exists():
        write_atomically(pki / encryption_config.FILE, encryption_config.make_encryption_config(), mode=0o600)
    issued = 0
    for entry, host, stem in _leaves(spec, pki):
        if not _reason(spec, entry, host, stem, pki, now):
            continue
        content = entry.content(_facts(host), _cluster_facts(spec))
        try:
            pair = issue_key_pair(authorities[entry.authority], content, now=now, lifetime=entry.lifetime)
        except PkiError as error:
            raise ProvisionError(
                f"cannot issue {entry.name} for {host.name if host else 'the operator'}", why=str(error),
                next_step=f"Replace the CAs with `provision certs rotate-ca {spec.name}`; it needs no API.",
            ) from error  # fmt: skip
        # The certificate last: it is the one that is looked at to see whether the pair is whole.
        stem.with_name(f"{stem.name}.crt").unlink(missing_ok=True)
        write_atomically(stem.with_name(f"{stem.name}.key"), pair.key_pem, mode=0o600)
        write_atomically(stem.with_name(f"{stem.name}.crt"), pair.certificate_pem, mode=0o644)
        issued += 1
    return issued


def leaf_files(spec: ClusterSpec, pki: Path) -> list[tuple[str, str, Path]]:
    """(name in the catalogue, host or empty, certificate file) for every leaf, whether it exists or not."""
    return [
        (entry.name, host.name if host else "", stem.with_name(f"{stem.name}.crt"))
        for entry, host, stem in _leaves(spec, pki)
    ]


def host_files(host: HostSpec, pki: Path) -> dict[str, str]:
    """Path below /etc/kubernetes/pki -> file here, for everything that belongs on the host."""
    facts = _facts(host)
    files: dict[str, Path] = {}
    for authority in catalogue.AUTHORITIES:
        if authority.name == "ca" or facts.is_etcd or host.serves_api:
            files[f"{authority.path}.crt"] = pki / f"{authority.path}.crt"
        if authority.key_hosts(facts):
            files[f"{authority.path}.key"] = pki / f"{authority.path}.key"
    for entry in catalogue.certificates_for(facts):
        for suffix in ("crt", "key"):
            files[f"{entry.path}.{suffix}"] = _host_folder(pki, host) / f"{entry.path}.{suffix}"
    if facts.is_etcd:
        files[LIST] = pki / LIST
    if host.serves_api:
        for name in (service_account_key.PRIVATE_FILE, service_account_key.PUBLIC_FILE, encryption_config.FILE):
            files[name] = pki / name
    return {path: str(source) for path, source in files.items()}


def _leaves(spec: ClusterSpec, pki: Path) -> list[tuple[CertificateEntry, HostSpec | None, Path]]:
    leaves: list[tuple[CertificateEntry, HostSpec | None, Path]] = [
        (entry, host, _host_folder(pki, host) / entry.path)
        for host in spec.hosts
        for entry in catalogue.certificates_for(_facts(host))
    ]
    return [*leaves, (catalogue.ADMIN, None, pki / "admin")]


def _reason(
    spec: ClusterSpec, entry: CertificateEntry, host: HostSpec | None, stem: Path, pki: Path, now: dt.datetime
) -> str:
    certificate, authority = stem.with_name(f"{stem.name}.crt"), catalogue.authority_named(entry.authority)
    if not certificate.exists() or not stem.with_name(f"{stem.name}.key").exists():
        return "there is none"
    signer = signer_pem(pki, authority)
    if not signer:
        return "there is none"
    wanted = entry.content(_facts(host), _cluster_facts(spec))
    return needs_renewal(certificate.read_bytes(), wanted, signer, now=now)


def signer_pem(pki: Path, entry: AuthorityEntry) -> bytes:
    """The CA's certificate, of a bundle the one that signs; empty when there is none."""
    certificate, key = pki / f"{entry.path}.crt", pki / f"{entry.path}.key"
    if not certificate.exists():
        return b""
    # A CA's key may be kept elsewhere until something is to be signed.
    return _load(certificate, key).certificate_pem if key.exists() else certificate.read_bytes()


def _load(certificate: Path, key: Path) -> Authority:
    try:
        return load_authority(certificate.read_bytes(), key.read_bytes())
    except PkiError as error:
        raise ProvisionError(
            f"cannot use the CA {certificate}", why=str(error),
            next_step="Restore certificate and key from a backup of the cluster's folder.",
        ) from error  # fmt: skip


def authority_name(entry: AuthorityEntry, spec: ClusterSpec) -> str:
    """A federation's CA goes into the same clients' stores as those of its members."""
    return f"federation {spec.name} {entry.name}" if spec.federation else entry.common_name


def _ensure_authority(entry: AuthorityEntry, spec: ClusterSpec, pki: Path, now: dt.datetime) -> Authority:
    certificate, key = pki / f"{entry.path}.crt", pki / f"{entry.path}.key"
    if certificate.exists() and key.exists():
        return _load(certificate, key)
    authority = make_authority(authority_name(entry, spec), now=now)
    write_atomically(certificate, authority.certificate_pem, mode=0o644)
    write_atomically(key, authority.key_pem, mode=0o600)
    return authority


def _ensure_service_account_key(pki: Path) -> None:
    private, public = pki / service_account_key.PRIVATE_FILE, pki / service_account_key.PUBLIC_FILE
    if private.exists() and public.exists():
        return
    private_pem, public_pem = service_account_key.make_service_account_key()
    write_atomically(public, public_pem, mode=0o644)
    write_atomically(private, private_pem, mode=0o600)


def _host_folder(pki: Path, host: HostSpec) -> Path:
    return pki / "hosts" / host.name


def _facts(host: HostSpec | None) -> catalogue.HostFacts:
    if host is None:
        return catalogue.HostFacts("operator")
    return catalogue.HostFacts(
        host.name,
        (host.address,),
        is_control_plane=host.has(Role.CONTROL_PLANE),
        is_etcd=host.has(Role.ETCD),
        is_federation=host.has(Role.FEDERATION),
    )


def _cluster_facts(spec: ClusterSpec) -> ClusterFacts:
    virtual = spec.control_plane.virtual_address
    return ClusterFacts(
        service_address=spec.network.api_service_address,
        domain=spec.network.domain,
        extra_names=(*((virtual,) if virtual else ()), *spec.control_plane.extra_names),
    )
