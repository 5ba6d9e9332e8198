"""Which store the flag --etcd-servers means."""

from collections.abc import Sequence

from cluster.store.backend import Backend


def open_backend(servers: Sequence[str], *, ca_file: str = "", cert_file: str = "", key_file: str = "") -> Backend:
    """
    The store at `servers`. Files are those of our identity towards etcd; empty ones mean plain text.

    Raises ValueError when there is no server.
    """
    # A process uses one kind of store, and its libraries alone.
    from cluster.store.etcd_client import EtcdClient, EtcdTLS

    return EtcdClient(servers, EtcdTLS(ca_file, cert_file, key_file))
