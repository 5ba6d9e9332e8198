"""Snapshots of etcd on the operator's side: sealed, named, kept and thrown away."""
