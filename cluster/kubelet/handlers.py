"""
Actions on a container that the API describes: HTTP, TCP, gRPC, a command, a pause. For probes and lifecycle hooks.

Every function raises `HandlerFailed` with the text that the event shows; time is the caller's (asyncio.timeout).
"""

import asyncio
import os
import ssl
from collections.abc import Sequence

import aiohttp

from cluster.kubelet.runtime import ContainerRuntime, RuntimeFault
from cluster.machinery.grpc.channel import Channel
from cluster.machinery.grpc.errors import GrpcError
from cluster.machinery.objects import Object

MAX_OUTPUT = 10 * 1024
USER_AGENT = "kube-probe/1.36"


class HandlerFailed(Exception):
    """The action failed. Remedy: the workload's; the kubelet restarts or unreadies the container."""


def resolve_port(container: Object, port: int | str) -> int:
    """A number, or the name of one of the container's ports. Raises HandlerFailed."""
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for named in container.get("ports") or ():
        if named.get("name") == port:
            return int(named["containerPort"])
    raise HandlerFailed(f"couldn't find port: {port} of container {container['name']}")


def dial_text(host: str, port: int, error: OSError) -> str:
    """A connection that was not made, in upstream's words: `dial tcp 10.0.0.1:80: connect: connection refused`."""
    shown = f"[{host}]" if ":" in host else host
    reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
    return f"dial tcp {shown}:{port}: connect: {reason}"


class Handlers:
    """Use as `async with`; one HTTP session for all probes, connections are not kept."""

    def __init__(self, runtime: ContainerRuntime) -> None:
        self._runtime = runtime
        self._session: aiohttp.ClientSession | None = None
        self._trusting = ssl.create_default_context()
        # Upstream's probes do not verify: a probe asks whether the pod lives, not who it is.
        self._trusting.check_hostname = False
        self._trusting.verify_mode = ssl.CERT_NONE

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def run(self, handler: Object, container: Object, container_id: str, pod_ip: str, seconds: int) -> None:
        """One handler: the part of a probe or hook that says how. `seconds` limits a command in the runtime."""
        if command := handler.get("exec"):
            await self._command(container_id, command.get("command") or (), seconds)
        elif http := handler.get("httpGet"):
            await self._http(http, container, pod_ip)
        elif tcp := handler.get("tcpSocket"):
            await self._tcp(tcp.get("host") or pod_ip, resolve_port(container, tcp["port"]))
        elif grpc := handler.get("grpc"):
            await self._grpc(pod_ip, int(grpc["port"]), grpc.get("service") or "")
        elif pause := handler.get("sleep"):
            await asyncio.sleep(float(pause["seconds"]))
        else:
            raise HandlerFailed("the handler names no action")

    async def _command(self, container_id: str, command: Sequence[str], seconds: int) -> None:
        try:
            result = await self._runtime.exec_sync(container_id, command, seconds)
        except RuntimeFault as fault:
            if fault.code == "DEADLINE_EXCEEDED":
                raise HandlerFailed(f"command timed out: {fault.message}") from fault
            raise HandlerFailed(fault.message) from fault
        if result.exit_code:
            output = (result.stdout + result.stderr)[:MAX_OUTPUT].decode(errors="replace")
            raise HandlerFailed(output or f"command exited with {result.exit_code}")

    async def _http(self, http: Object, container: Object, pod_ip: str) -> None:
        host, port = http.get("host") or pod_ip, resolve_port(container, http["port"])
        shown = f"[{host}]" if ":" in host else host
        path = http.get("path") or "/"
        url = f"{(http.get('scheme') or 'HTTP').lower()}://{shown}:{port}/{path.lstrip('/')}"
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*"}
        headers |= {h["name"]: h.get("value") or "" for h in http.get("httpHeaders") or ()}
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0))
        try:
            async with self._session.get(url, headers=headers, ssl=self._trusting, max_redirects=10) as answer:
                if not 200 <= answer.status < 400:
                    raise HandlerFailed(f"HTTP probe failed with statuscode: {answer.status}")
        except aiohttp.ClientConnectorError as error:
            raise HandlerFailed(f'Get "{url}": {dial_text(host, port, error.os_error)}') from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise HandlerFailed(f'Get "{url}": {str(error) or type(error).__name__}') from error

    async def _tcp(self, host: str, port: int) -> None:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            raise HandlerFailed(dial_text(host, port, error)) from error
        writer.close()

    async def _grpc(self, host: str, port: int, service: str) -> None:
        name = service.encode()
        request = b"\x0a" + _varint(len(name)) + name if name else b""
        channel = Channel(f"{host}:{port}")
        try:
            answer = await channel.unary("/grpc.health.v1.Health/Check", request, None)
        except GrpcError as error:
            raise HandlerFailed(f"error: health rpc failed: {error.details}") from error
        finally:
            await channel.close()
        if answer != b"\x08\x01":  # HealthCheckResponse{status: SERVING}
            raise HandlerFailed(f'service unhealthy (responded with "{answer.hex()}")')


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
