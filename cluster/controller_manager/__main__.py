"""
kube-controller-manager: `python -m cluster.controller_manager --kubeconfig=F [--leader-elect=false]`.

Starts every controller under one leader election.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.client.component import add_bool, add_component_flags, go_duration, parse_flags, run_component
from cluster.client.rest import ApiClient
from cluster.controller_manager.context import ManagerSettings
from cluster.settings import CONTROLLER_MANAGER_PORT, NODE_CIDR_MASK_SIZE, SERVICE_CIDR


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="kube-controller-manager",
        description="Brings the cluster to the state that is wished.",
        allow_abbrev=False,
    )
    add_component_flags(parser, lease="kube-controller-manager", port=CONTROLLER_MANAGER_PORT)
    parser.add_argument(
        "--controllers",
        default="*",
        help="comma-separated: * for all that are on by default, x for one, -x for not one",
    )
    add_bool(parser, "--allocate-node-cidrs", False, "give each Node a range of --cluster-cidr")
    parser.add_argument("--cluster-cidr", default="", help="range of Pod addresses")
    parser.add_argument("--node-cidr-mask-size", type=int, default=NODE_CIDR_MASK_SIZE)
    parser.add_argument("--service-cluster-ip-range", default=SERVICE_CIDR, help="range of Service addresses")
    parser.add_argument("--cluster-name", default="kubernetes")
    parser.add_argument("--service-account-private-key-file", type=Path)
    parser.add_argument("--root-ca-file", type=Path, help="CA that Pods are given to trust the apiserver by")
    parser.add_argument("--cluster-signing-cert-file", type=Path)
    parser.add_argument("--cluster-signing-key-file", type=Path)
    parser.add_argument("--cluster-signing-duration", type=go_duration, default=90 * 86400.0)
    parser.add_argument("--requestheader-client-ca-file", type=Path)
    add_bool(parser, "--use-service-account-credentials", False, "each controller acts as its own account")
    parser.add_argument("--node-monitor-period", type=go_duration, default=5.0)
    parser.add_argument("--node-monitor-grace-period", type=go_duration, default=50.0)
    parser.add_argument("--node-startup-grace-period", type=go_duration, default=60.0)
    parser.add_argument("--node-eviction-rate", type=float, default=0.1, help="Nodes a second")
    parser.add_argument("--terminated-pod-gc-threshold", type=int, default=12500)
    return parse_flags(parser, argv)


def settings_of(options: argparse.Namespace) -> ManagerSettings:
    return ManagerSettings(
        allocate_node_cidrs=options.allocate_node_cidrs,
        cluster_cidr=options.cluster_cidr,
        node_cidr_mask_size=options.node_cidr_mask_size,
        node_monitor_period=options.node_monitor_period,
        node_monitor_grace_period=options.node_monitor_grace_period,
        node_startup_grace_period=options.node_startup_grace_period,
        node_eviction_rate=options.node_eviction_rate,
        terminated_pod_gc_threshold=options.terminated_pod_gc_threshold,
        root_ca_file=options.root_ca_file,
        service_account_key_file=options.service_account_private_key_file,
        signing_cert_file=options.cluster_signing_cert_file,
        signing_key_file=options.cluster_signing_key_file,
        signing_duration=options.cluster_signing_duration,
    )


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(sys.argv[1:] if argv is None else argv)
    settings = settings_of(options)

    async def lead(client: ApiClient) -> None:
        from cluster.controller_manager.manager import run_controllers  # only a leader needs them in memory

        await run_controllers(
            client, settings, wanted=options.controllers, own_accounts=options.use_service_account_credentials
        )

    return run_component(options, "controller-manager", lead)


if __name__ == "__main__":
    sys.exit(main())
