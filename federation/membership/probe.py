"""One probe of a member: does its API answer? I/O alone; what answers mean is decided in health.py."""

import asyncio

from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError
from federation.membership.health import PROBE_INTERVAL


async def probe(client: ApiClient) -> str:
    """Empty when the member is well, else why not."""
    try:
        async with asyncio.timeout(PROBE_INTERVAL):
            await client.request("GET", "/readyz")
    except TimeoutError:
        return f"no answer to GET /readyz within {PROBE_INTERVAL:g} s"
    except ApiError as error:
        return str(error)[:1024]
    return ""
