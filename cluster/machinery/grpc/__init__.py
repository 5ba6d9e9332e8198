"""
gRPC over HTTP/2 as a client, for the store (etcd) and the container runtime (CRI).

Bytes in, bytes out: who calls knows the messages. `channel` is what others use; `connection` is one HTTP/2 connection,
`frames` and `headers` are its wire format without I/O.
"""
