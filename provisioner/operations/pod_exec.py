"""
Run a command in a Pod through the API, as `kubectl exec` does: a WebSocket whose frames begin with a channel number.

Source: Kubernetes API, `GET /api/v1/namespaces/{namespace}/pods/{name}/exec`, subprotocol v5.channel.k8s.io.
"""

import json
import ssl
from collections.abc import Sequence

import aiohttp

from provisioner.transports.base import CommandResult

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDOUT, _STDERR, _STATUS = 1, 2, 3


async def exec_in_pod(server: str, tls: ssl.SSLContext, namespace: str, pod: str, argv: Sequence[str]) -> CommandResult:
    """
    Returns when the command has ended.

    Args:
        server: URL of an apiserver.
        tls: With the operator's certificate.
        namespace: The Pod's.
        pod: Its name; the command runs in its first container.
        argv: Program and arguments.

    Raises:
        aiohttp.ClientError: The API refuses, or the connection ended.
    """
    query = [("stdout", "true"), ("stderr", "true"), *(("command", word) for word in argv)]
    url = f"{server}/api/v1/namespaces/{namespace}/pods/{pod}/exec"
    output: dict[int, bytearray] = {_STDOUT: bytearray(), _STDERR: bytearray(), _STATUS: bytearray()}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, params=query, protocols=_PROTOCOLS, ssl=tls) as socket,
    ):
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY and message.data and message.data[0] in output:
                output[message.data[0]] += message.data[1:]
    out, err = (output[channel].decode(errors="replace") for channel in (_STDOUT, _STDERR))
    return CommandResult(exit_code_of(bytes(output[_STATUS])), out, err)


def exit_code_of(status: bytes) -> int:
    """From the Status object on the last channel: 0 for Success, the command's own code, 1 when there is none."""
    if not status:
        return 1
    told = json.loads(status)
    if told.get("status") == "Success":
        return 0
    causes = told.get("details", {}).get("causes", [])
    return next((int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode"), 1)
