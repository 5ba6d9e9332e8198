"""Ask one apiserver whether it is ready, with the operator's own certificate. Reads only."""

import asyncio
import ssl
from pathlib import Path

import aiohttp

from provisioner.errors import ProvisionError

READY_PATIENCE = 120.0  # seconds; a start takes a few, also with all services starting on shared cores
_ASK_AGAIN = 0.2  # seconds
_ONE_TRY = aiohttp.ClientTimeout(total=3)


def operator_tls(pki: Path) -> ssl.SSLContext:
    """The cluster's CA and the operator's certificate."""
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    return context


async def readiness(url: str, tls: ssl.SSLContext) -> str:
    """Empty when `url`/readyz says ok, else what is wrong."""
    try:
        async with (
            aiohttp.ClientSession(timeout=_ONE_TRY) as session,
            session.get(f"{url}/readyz?verbose", ssl=tls) as response,
        ):
            text = await response.text()
            if response.status == 200:
                return ""
            return f"HTTP {response.status}: {' '.join(x for x in text.splitlines() if not x.startswith('[+]'))[:300]}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return str(error) or type(error).__name__


async def wait_ready(url: str, tls: ssl.SSLContext, host: str) -> None:
    """Raises ProvisionError after READY_PATIENCE, with the last answer."""
    said = ""
    try:
        async with asyncio.timeout(READY_PATIENCE):
            while True:
                said = await readiness(url, tls)
                if not said:
                    return
                await asyncio.sleep(_ASK_AGAIN)
    except TimeoutError as error:
        raise ProvisionError(
            f"the apiserver is not ready after {READY_PATIENCE:g} s", why=said or "no answer",
            next_step=f"Read `journalctl -u kube-apiserver` on the host; {url} must be open from here.", host=host,
        ) from error  # fmt: skip
