"""
`python -m cluster.kubelet`: flags in, a running kubelet out. Flag names are upstream's.
"""

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
from typing import Any

from cluster import settings as house
from cluster.kubelet.settings import (
    KubeletSettings,
    SettingsError,
    load_configuration,
    parse_labels,
    parse_taints,
)

log = logging.getLogger(__name__)

_TEXT = {
    "--runtime-cgroups": "", "--kubelet-cgroups": "", "--cloud-provider": "", "--bootstrap-kubeconfig": "",
    "--volume-plugin-dir": "", "--cert-dir": "",
}  # fmt: skip
"""Upstream's flags that unit files carry and that change nothing here."""


def _true(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="kubelet", description="Run the pods that are bound to this node.")
    text = p.add_argument
    text("--kubeconfig", default="", help="apiserver and credentials; without it only static pods run")
    text("--config", default="", help="KubeletConfiguration file; flags win over it")
    text("--hostname-override", dest="node_name", help="name of the Node; default the host's name")
    text("--node-ip", dest="node_ips", help="address of the Node, or two with a comma between")
    text("--node-labels", help="key=value,… put on the Node")
    text("--register-with-taints", dest="taints", help="key=value:Effect,… put on a new Node")
    text("--register-node", dest="register_node", type=_true, nargs="?", const=True)
    text("--provider-id", dest="provider_id")
    text("--container-runtime-endpoint", dest="runtime_endpoint", help=f"default unix://{house.CONTAINERD_SOCKET}")
    text("--root-dir", dest="root_dir", help=f"volumes and state, default {house.KUBELET_DIR}")
    text("--pod-logs-dir", dest="log_dir", help=f"container logs, default {house.POD_LOG_DIR}")
    text("--pod-infra-container-image", dest="infra_image", help="sandbox image, never pruned")
    text("--cluster-dns", dest="cluster_dns", help="addresses of the cluster's DNS, with commas between")
    text("--cluster-domain", dest="cluster_domain")
    text("--resolv-conf", dest="resolv_conf")
    text("--tls-cert-file", dest="tls_cert_file")
    text("--tls-private-key-file", dest="tls_key_file")
    text("--client-ca-file", dest="client_ca_file")
    text("--address", dest="address")
    text("--port", dest="port", type=int, help="HTTPS: logs, exec, metrics; 0 for none")
    text("--healthz-bind-address", dest="healthz_address")
    text("--healthz-port", dest="healthz_port", type=int, help="HTTP on loopback; 0 for none")
    text("--anonymous-auth", dest="anonymous_auth", type=_true, nargs="?", const=True)
    text("--authorization-mode", dest="authorization_mode", choices=("Webhook", "AlwaysAllow"))
    text("--max-pods", dest="max_pods", type=int)
    text("--pod-manifest-path", dest="pod_manifest_path", help="directory of static pods")
    text("--pod-cidr", dest="pod_cidr")
    text("--cgroup-driver", dest="cgroup_driver", choices=("cgroupfs", "systemd"))
    text("--cgroup-root", dest="cgroup_root")
    text("--system-reserved", dest="system_reserved", help="cpu=200m,memory=150Mi")
    text("--kube-reserved", dest="kube_reserved")
    text("--eviction-memory", dest="eviction_memory", help="memory.available below this is MemoryPressure")
    text("--eviction-disk", dest="eviction_disk", help="nodefs.available below this is DiskPressure")
    text("--node-status-update-frequency", dest="status_interval", type=_seconds)
    text("--sync-frequency", dest="volume_interval", type=_seconds, help="how often mounted files are refreshed")
    text("-v", "--v", dest="verbosity", type=int, default=0)
    for ignored in _TEXT:
        text(ignored, dest="ignored", help=argparse.SUPPRESS)
    return p


def _seconds(text: str) -> float:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    for unit in sorted(units, key=len, reverse=True):
        if text.endswith(unit) and text[: -len(unit)].replace(".", "", 1).isdigit():
            return float(text[: -len(unit)]) * units[unit]
    raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 10s or 1m")


def build_settings(options: argparse.Namespace) -> KubeletSettings:
    """Flags over the file over defaults. Raises SettingsError."""
    given: dict[str, Any] = load_configuration(options.config) if options.config else {}
    skipped = ("config", "verbosity", "ignored", "node_labels")
    given |= {k: v for k, v in vars(options).items() if v is not None and k not in skipped}
    if options.node_labels:
        given["node_labels"] = parse_labels(options.node_labels)
    for name in ("system_reserved", "kube_reserved"):
        if isinstance(given.get(name), str):
            given[name] = parse_labels(given[name])
    if isinstance(given.get("taints"), str):
        given["taints"] = parse_taints(given["taints"])
    for name in ("node_ips", "cluster_dns"):
        if isinstance(given.get(name), str):
            given[name] = tuple(part.strip() for part in given[name].split(",") if part.strip())
    given.setdefault("node_name", socket.gethostname().lower())
    if not given["runtime_endpoint"].startswith("unix://") if "runtime_endpoint" in given else False:
        raise SettingsError(f"--container-runtime-endpoint {given['runtime_endpoint']!r} is not unix:///path")
    return KubeletSettings(**given)


async def serve(settings: KubeletSettings) -> None:
    """Run until SIGTERM or SIGINT; containers are left running."""
    from cluster.client.rest import ApiClient
    from cluster.kubelet.cri_runtime import CriRuntime
    from cluster.kubelet.kubelet import Kubelet
    from cluster.kubelet.server import serving
    from cluster.machinery.systemd import notify_ready, notify_stopping

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        client = None
        if settings.kubeconfig:
            client = await stack.enter_async_context(
                ApiClient.from_kubeconfig(settings.kubeconfig, user_agent="kubelet")
            )
        runtime = await stack.enter_async_context(CriRuntime(settings.runtime_endpoint))
        kubelet = Kubelet(settings, runtime, client)
        await stack.enter_async_context(serving(kubelet))
        running = asyncio.create_task(kubelet.run(), name="kubelet")
        stopping = asyncio.create_task(stop.wait())
        notify_ready()
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            notify_stopping()
            running.cancel()
            stopping.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)


def main() -> int:
    options = parser().parse_args()
    level = logging.DEBUG if options.verbosity >= 4 else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    try:
        settings = build_settings(options)
    except SettingsError as error:
        log.error("%s", error)
        return 2
    import uvloop

    uvloop.run(serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
