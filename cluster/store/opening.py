"""Which store the flag --etcd-servers means."""

from collections.abc import Sequence
from pathlib import Path

from cluster.store.backend import Backend
from cluster.store.embedded.address import SCHEME, parse_address

SERVERS_VARIABLE = "ETCD_SERVERS"


def read_servers_file(path: str) -> tuple[str, ...]:
    """
    etcd's addresses in a file of the form that systemd takes as EnvironmentFile: ETCD_SERVERS=https://HOST:2379,…

    Raises:
        OSError: it cannot be read.
        ValueError: it names none.
    """
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition("=")
        if name.strip() == SERVERS_VARIABLE and (servers := tuple(one for one in value.strip().split(",") if one)):
            return servers
    raise ValueError(f"{path} has no line {SERVERS_VARIABLE}=https://HOST:2379,…")


def open_backend(servers: Sequence[str], *, ca_file: str = "", cert_file: str = "", key_file: str = "") -> Backend:
    """
    The store at `servers`: etcd's addresses, or one of the embedded store. A process uses one kind and its
    libraries alone.

    Args:
        ca_file: With the other two our identity towards etcd; empty ones mean plain text.

    Raises:
        ValueError: There is no server, the address is wrong, or the embedded store's file cannot be used.
    """
    if any(server.startswith(SCHEME) for server in servers):
        if len(servers) > 1:
            raise ValueError(f"--etcd-servers={','.join(servers)}: an embedded store is alone, it has no members")
        from cluster.store.embedded.store import EmbeddedStore

        return EmbeddedStore(parse_address(servers[0]))
    from cluster.store.etcd_client import EtcdClient, EtcdTLS

    return EtcdClient(servers, EtcdTLS(ca_file, cert_file, key_file))
