"""`python -m cluster.kube_proxy`: service proxy and pod network of one node."""

import argparse
import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
import sys
from pathlib import Path

from cluster import settings as contract
from cluster.client.kubeconfig import KubeconfigError
from cluster.client.rest import ApiClient
from cluster.kube_proxy.nftables import NftablesError, open_nftables, remove_table
from cluster.kube_proxy.pod_network.cni_configuration import missing_plugins
from cluster.kube_proxy.pod_network.links import PodNetworkError, remove_all
from cluster.kube_proxy.pod_network.plan import Mode
from cluster.kube_proxy.rules import ProxySettings
from cluster.kube_proxy.service import KubeProxySettings, serve_proxy
from cluster.kube_proxy.virtual_address import VirtualAddress, VirtualAddressError
from cluster.machinery.systemd import notify_stopping

log = logging.getLogger("cluster.kube_proxy")


def address_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT, e.g. 127.0.0.1:10249")
    return host, int(port)


def parse_flags(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kube-proxy", description=__doc__)
    parser.add_argument("--kubeconfig", default="")
    parser.add_argument("--hostname-override", default=socket.gethostname(), help="name of this host's Node")
    parser.add_argument("--node-ip", default="", help="this node's address, on which node ports are served")
    parser.add_argument("--cluster-cidr", default=contract.POD_CIDR, help="network of all pods")
    parser.add_argument("--service-cidr", default=contract.SERVICE_CIDR, help="network of all Services")
    parser.add_argument("--proxy-mode", choices=["nftables"], default="nftables")
    parser.add_argument(
        "--nodeport-addresses", default="primary", help="`primary` (--node-ip), or networks, separated by commas"
    )
    parser.add_argument("--healthz-bind-address", type=address_and_port, default=("0.0.0.0", 10256))  # noqa: S104
    parser.add_argument("--metrics-bind-address", type=address_and_port, default=("127.0.0.1", 10249))
    parser.add_argument("--pod-network", type=Mode, choices=list(Mode), default=Mode.VXLAN)
    parser.add_argument("--cni-conf-dir", type=Path, default=Path(contract.CNI_CONF_DIR))
    parser.add_argument("--cni-bin-dir", type=Path, help="checked for the plugins that the configuration names")
    parser.add_argument("--api-virtual-address", default="", help="ADDRESS/PREFIX shared by the masters")
    parser.add_argument("--api-virtual-address-interface", default="host0")
    parser.add_argument("--api-local-server", default=f"https://127.0.0.1:{contract.APISERVER_PORT}")
    parser.add_argument("--libnftables", default="", help="path of libnftables.so.1; searched for when empty")
    parser.add_argument("--cleanup", action="store_true", help="remove our table, device and routes, then end")
    parser.add_argument("--v", "-v", type=int, default=0)
    return parser.parse_args(argv)


def _node_ports(flags: argparse.Namespace) -> tuple[str, ...]:
    texts = flags.nodeport_addresses.split(",")
    if texts == ["primary"]:
        texts = [flags.node_ip]
    return tuple(str(ipaddress.IPv4Network(text.strip(), strict=False)) for text in texts)


def settings_from(flags: argparse.Namespace) -> KubeProxySettings:
    """Raises ValueError for an address or network that is none."""
    virtual = None
    if flags.api_virtual_address:
        virtual = VirtualAddress(
            ipaddress.IPv4Interface(flags.api_virtual_address), flags.api_virtual_address_interface
        )
    proxy = ProxySettings(
        cluster_cidr=str(ipaddress.IPv4Network(flags.cluster_cidr)),
        service_cidr=str(ipaddress.IPv4Network(flags.service_cidr)),
        node_port_addresses=_node_ports(flags),
        masquerade_pods=flags.pod_network is not Mode.NONE,
    )
    return KubeProxySettings(
        kubeconfig=flags.kubeconfig,
        node_name=flags.hostname_override.lower(),
        node_address=flags.node_ip,
        proxy=proxy,
        pod_network=flags.pod_network,
        cni_directory=flags.cni_conf_dir,
        healthz=flags.healthz_bind_address,
        metrics=flags.metrics_bind_address,
        virtual_address=virtual,
        local_apiserver=flags.api_local_server,
    )


def _guess_address() -> str:
    """The address that packets to anywhere would leave with; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


async def run(flags: argparse.Namespace, settings: KubeProxySettings) -> None:
    nftables = open_nftables(flags.libnftables)
    nftables.run("list tables ip\n")  # an early word when the kernel or our rights are lacking
    async with ApiClient.from_kubeconfig(flags.kubeconfig, user_agent="kube-proxy", connections=8) as client:
        work = asyncio.create_task(serve_proxy(settings, client, nftables))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await work
        notify_stopping()


def _texts(errors: BaseExceptionGroup[BaseException]) -> list[str]:
    """What the errors of a group say, those of groups within it too."""
    found: list[str] = []
    for error in errors.exceptions:
        found += _texts(error) if isinstance(error, BaseExceptionGroup) else [str(error) or repr(error)]
    return found


def main() -> int:
    flags = parse_flags(sys.argv[1:])
    logging.basicConfig(
        level=logging.DEBUG if flags.v >= 4 else logging.INFO, format="%(asctime)s %(levelname).1s %(name)s %(message)s"
    )
    try:
        if flags.cleanup:
            remove_table(open_nftables(flags.libnftables))
            remove_all()
            return 0
        if not flags.kubeconfig:
            log.error("--kubeconfig is missing: it says where the apiservers are and who we are.")
            return 1
        flags.node_ip = flags.node_ip or _guess_address()
        missing = missing_plugins(flags.cni_bin_dir) if flags.cni_bin_dir and flags.pod_network != Mode.NONE else []
        if missing:
            log.error("%s lacks the CNI plugins %s. Install them; pods cannot start.", flags.cni_bin_dir, missing)
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(flags, settings_from(flags)))
    except (NftablesError, PodNetworkError, VirtualAddressError, KubeconfigError, OSError, ValueError) as error:
        log.error("%s", error)
        return 1
    except ExceptionGroup as errors:
        log.error("%s", "; ".join(_texts(errors)), exc_info=flags.v >= 4)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
