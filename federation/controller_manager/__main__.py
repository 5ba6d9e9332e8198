"""
The federation's controller manager: `python -m federation.controller_manager --kubeconfig=F [--leader-elect=false]`.

Knows its members: health, facts, the login in each, and certificates of agents where it is given a CA to sign with.
Writes into them what is placed there, and keeps the names of federated Services (--dns-zone).
"""

import argparse
import asyncio
import datetime as dt
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.client.component import add_bool, add_component_flags, go_duration, parse_flags, run_component
from cluster.client.rest import ApiClient
from federation.dns.key_files import KeyFileError
from federation.dns.providers.choose import EMBEDDED, PROVIDERS, OptionsError, ProviderOptions, check_options

LIFETIME = 90 * 86400.0
"""Seconds: as long as certificates of a cluster."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="federation-controller-manager", description="Looks after the members of a federation.", allow_abbrev=False
    )
    add_component_flags(parser, lease="federation-controller-manager", port=0)
    parser.add_argument("--federation-name", default="federation", help="part of every name of a Service")
    parser.add_argument("--dns-zone", default="", help="zone of the federation's names; empty: there are none")
    parser.add_argument("--dns-provider", choices=PROVIDERS, default=EMBEDDED, help="who serves the zone")
    parser.add_argument(
        "--dns-server", action="append", default=[], metavar="ADDRESS[:PORT]",
        help="rfc2136: a name server of the zone, its primary first; may be repeated",
    )  # fmt: skip
    parser.add_argument("--dns-key-file", type=Path, help="rfc2136: the TSIG key, as tsig-keygen writes it")
    parser.add_argument("--dns-zone-id", default="", help="route53: the hosted zone; by default the one of that name")
    parser.add_argument("--dns-private-zone", action="store_true", help="route53: the private one of that name")
    add_bool(parser, "--multicluster-services", True, "members import Services that others export (ServiceExport)")
    sign = parser.add_argument_group("certificates of members' agents")
    sign.add_argument("--cluster-signing-cert-file", type=Path, help="the CA that the apiserver knows clients by")
    sign.add_argument("--cluster-signing-key-file", type=Path, help="its key; without both no agent is let in")
    sign.add_argument(
        "--cluster-signing-duration", type=go_duration, default=LIFETIME, help="the longest they are good"
    )
    parser.set_defaults(leader_elect_resource_namespace="federation-system")
    return parse_flags(parser, argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(sys.argv[1:] if argv is None else argv)
    epochs: list[int] = []
    provider = ProviderOptions(
        options.dns_provider, options.dns_zone, tuple(options.dns_server), options.dns_key_file,
        options.dns_zone_id, options.dns_private_zone,
    )  # fmt: skip
    try:
        check_options(provider)
    except (OptionsError, KeyFileError) as fault:
        sys.stderr.write(f"federation-controller-manager: {fault}\n")
        return 1

    async def lead(client: ApiClient) -> None:
        # only a leader needs them
        from federation.controllers.admit_agents import AdmitAgents, Signer
        from federation.controllers.federated_names import DnsOptions, keep_names
        from federation.controllers.import_services import ImportServices
        from federation.controllers.keep_remedies import KeepRemedies
        from federation.controllers.propagation import run_propagation
        from federation.controllers.watch_members import WatchMembers

        members = WatchMembers(client)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(members.run(), name="members")
            tasks.create_task(run_propagation(client, members), name="propagation")
            remedies = KeepRemedies(client, members.clusters, isolated=lambda: members.isolated)
            tasks.create_task(remedies.run(), name="remedies")
            if options.multicluster_services:
                imports = ImportServices(
                    members.clusters, members.secrets, client.config, isolated=lambda: members.isolated
                )
                tasks.create_task(imports.run(), name="imports")
            if options.dns_zone:
                epoch = epochs[-1] if epochs else None
                dns = DnsOptions(options.federation_name, options.dns_zone, provider, epoch)
                tasks.create_task(keep_names(client, members, dns), name="names")
            if options.cluster_signing_cert_file and options.cluster_signing_key_file:
                signer = Signer(
                    options.cluster_signing_cert_file,
                    options.cluster_signing_key_file,
                    dt.timedelta(seconds=options.cluster_signing_duration),
                )
                tasks.create_task(AdmitAgents(client, members.clusters, signer).run(), name="agents")

    return run_component(options, "federation-controller-manager", lead, elected=epochs.append)


if __name__ == "__main__":
    sys.exit(main())
