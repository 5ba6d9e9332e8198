"""
A webhook named by a kubeconfig file: audit, token authentication and authorization each have one.

Answers are bounded, redirects are not followed, and proxies of the environment are not asked.
Called by   audit/webhook.py, webhook_authentication.py, webhook_authorization.py.
"""

import asyncio
import base64
import binascii
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from cluster.machinery import decode
from cluster.machinery.objects import Object

ANSWER_LIMIT = 3 * 1024 * 1024
"""Bytes of an answer."""
TIMEOUT = 30.0
"""Seconds for one request, as upstream's clients have it."""


class WebhookError(OSError):
    """No usable answer. `status` is the HTTP status, 0 when there was none."""

    def __init__(self, message: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    @property
    def worth_another_try(self) -> bool:
        """Nobody answered, or it was busy or broken."""
        return self.status == 0 or self.status == 429 or self.status >= 500


@dataclass(frozen=True, slots=True, repr=False)
class WebhookConfig:
    """Where to ask and as whom. Never printed: it may hold a token."""

    url: str
    tls: ssl.SSLContext | None
    token: str = ""
    token_file: str = ""
    username: str = ""
    password: str = ""

    def headers(self) -> dict[str, str]:
        if self.token_file or self.token:
            token = Path(self.token_file).read_text().strip() if self.token_file else self.token
            return {"Authorization": f"Bearer {token}"}
        if self.username:
            pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {}


class KubeconfigWebhook:
    """Connections are kept; made at the first call, closed by `close`."""

    def __init__(self, config: WebhookConfig, *, timeout: float = TIMEOUT) -> None:
        self._config = config
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes) -> Object:
        """The answer's object; {} for an empty one. Raises WebhookError."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._config.tls or True),
                timeout=aiohttp.ClientTimeout(self._timeout),
                trust_env=False,
            )
        headers = {"Content-Type": "application/json", "Accept": "application/json", **self._config.headers()}
        try:
            async with self._session.post(
                self._config.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                data = await _bounded(answer)
                if not 200 <= answer.status < 300:
                    wait = answer.headers.get("Retry-After", "")
                    raise WebhookError(
                        f"the webhook answered HTTP {answer.status}",
                        answer.status,
                        float(wait) if wait.isdigit() else None,
                    )
        except TimeoutError:
            raise WebhookError(f"the webhook did not answer within {self._timeout:g} s") from None
        except aiohttp.ClientError as fault:
            raise WebhookError(f"the webhook cannot be asked: {fault}") from fault
        if not data:
            return {}
        try:
            found: Any = orjson.loads(data)
        except ValueError:
            raise WebhookError("the webhook's answer is no JSON", 500) from None
        if not isinstance(found, dict):
            raise WebhookError("the webhook's answer is no JSON object", 500)
        return found

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_any():
        data += chunk
        if len(data) > ANSWER_LIMIT:
            raise WebhookError(f"the webhook's answer is longer than {ANSWER_LIMIT} bytes", 500)
    return bytes(data)


async def post_with_backoff(client: KubeconfigWebhook, body: bytes, *, initial: float, steps: int = 5) -> Object:
    """
    `post`, tried again with growing pauses while that is of use.

    Args:
        initial: Seconds before the second try; each later pause is half as long again.
    """
    pause = initial
    for step in range(steps):
        try:
            return await client.post(body)
        except WebhookError as fault:
            if not fault.worth_another_try or step == steps - 1:
                raise
            await asyncio.sleep(fault.retry_after if fault.retry_after is not None else pause)
            pause *= 1.5
    raise AssertionError("unreachable")


def load_config(path: str) -> WebhookConfig:
    """
    Read a kubeconfig.

    Raises:
        OSError: It, or a file that it names, cannot be read.
        ValueError: It is no kubeconfig with a current cluster; the message has the file and never a secret.
    """
    try:
        found, _ = decode.decode_yaml(Path(path).read_bytes())
    except ValueError:
        raise ValueError(f"{path} is no YAML; write a kubeconfig") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no object; write a kubeconfig")
    context = _named(found.get("contexts"), str(found.get("current-context") or ""), "context")
    clusters = found.get("clusters") or []
    wanted = str(context.get("cluster") or (clusters[0].get("name") if len(clusters) == 1 else ""))
    cluster = _named(clusters, wanted, "cluster")
    users = found.get("users") or []
    user = _named(users, str(context.get("user") or (users[0].get("name") if len(users) == 1 else "")), "user")
    url = cluster.get("server")
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise ValueError(f"{path}: the current cluster's server is {url!r}; write https://HOST/PATH")
    if "exec" in user or "auth-provider" in user:
        raise ValueError(
            f"{path}: credentials by exec or auth-provider are not supported; use a certificate or a token"
        )
    try:
        tls = _tls(cluster, user, Path(path).parent) if url.startswith("https://") else None
    except ssl.SSLError as fault:
        raise ValueError(f"{path}: the CA or the client certificate cannot be used: {fault}") from None
    return WebhookConfig(
        url,
        tls,
        str(user.get("token") or ""),
        str(Path(path).parent / user["tokenFile"]) if user.get("tokenFile") else "",
        str(user.get("username") or ""),
        str(user.get("password") or ""),
    )


def _named(given: Any, name: str, key: str) -> Object:
    if not isinstance(given, list):
        return {}
    for one in given:
        if isinstance(one, dict) and one.get("name") == name and isinstance(one.get(key), dict):
            found: Object = one[key]
            return found
    return {}


def _tls(cluster: Object, user: Object, folder: Path) -> ssl.SSLContext:
    authority = _content(cluster, "certificate-authority", folder)
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify") is True:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    certificate, key = _content(user, "client-certificate", folder), _content(user, "client-key", folder)
    if certificate and key:
        # ssl takes files alone; this one is 0600 and gone at once.
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(certificate + b"\n" + key)
            pair.flush()
            context.load_cert_chain(pair.name)
    return context


def _content(given: Object, name: str, folder: Path) -> bytes:
    """`name-data`, or the file that `name` gives."""
    if data := given.get(f"{name}-data"):
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise ValueError(f"{name}-data of a webhook's kubeconfig is no base64") from None
    return (folder / given[name]).read_bytes() if given.get(name) else b""
