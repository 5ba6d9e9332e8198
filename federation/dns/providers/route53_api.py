"""
The calls of Route53 that are needed, one after the other: AWS gives an account five a second.

boto3 is asked in a thread; its own chain of credentials is used (environment, shared files, the instance's role).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import boto3
import botocore.config
import botocore.exceptions

from federation.dns.providers.provider import ProviderError

PACE = 0.2  # seconds between calls
TRIES, FIRST_PAUSE = 6, 0.5  # of a call that is throttled; seconds, doubling
PAGE = "300"
_THROTTLED = ("Throttling", "ThrottlingException", "PriorRequestNotComplete", "TooManyRequestsException")


class Rejected(Exception):
    """A batch that was not carried out: some record was not as it was thought to be. Says which."""


class Route53Api:
    def __init__(self, pace: float = PACE) -> None:
        # Two tries of botocore's own for connections that break; throttling is ours to wait for.
        config = botocore.config.Config(
            retries={"max_attempts": 2, "mode": "standard"}, connect_timeout=5, read_timeout=15
        )  # fmt: skip
        self._client: Any = None
        self._config = config
        self._pace = pace
        self._turn = asyncio.Lock()
        self._next = 0.0

    async def call(self, operation: str, **arguments: Any) -> Any:
        """The answer. Raises Rejected for a batch that does not fit what is there, ProviderError."""
        pause = FIRST_PAUSE
        for _ in range(TRIES):
            await self._wait_for_turn()
            try:
                return await asyncio.to_thread(self._call, operation, arguments)
            except botocore.exceptions.ClientError as error:
                code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
                if code == "InvalidChangeBatch":
                    raise Rejected(message) from error
                if code not in _THROTTLED:
                    raise ProviderError(f"Route53 refuses {operation}: {code}: {message}") from error
            except botocore.exceptions.BotoCoreError as error:
                raise ProviderError(f"Route53 cannot be asked: {error}") from error
            await asyncio.sleep(pause)
            pause *= 2
        raise ProviderError(f"Route53 is busy: {operation} was throttled {TRIES} times")

    def _call(self, operation: str, arguments: dict[str, Any]) -> Any:
        if self._client is None:
            # Route53 is one service for all regions; the name of one is needed for the signature alone.
            self._client = boto3.client("route53", region_name="us-east-1", config=self._config)
        return getattr(self._client, operation)(**arguments)

    async def _wait_for_turn(self) -> None:
        async with self._turn:
            now = time.monotonic()
            wait = self._next - now
            self._next = max(now, self._next) + self._pace
        if wait > 0:
            await asyncio.sleep(wait)

    async def record_sets(self, zone_id: str) -> AsyncIterator[dict[str, Any]]:
        """Every one of a zone, page by page."""
        start: dict[str, str] = {}
        while True:
            page = await self.call("list_resource_record_sets", HostedZoneId=zone_id, MaxItems=PAGE, **start)
            for one in page["ResourceRecordSets"]:
                yield one
            if not page["IsTruncated"]:
                return
            start = {"StartRecordName": page["NextRecordName"], "StartRecordType": page["NextRecordType"]}
            if page.get("NextRecordIdentifier"):
                start["StartRecordIdentifier"] = page["NextRecordIdentifier"]

    async def zones(self, name: str) -> Sequence[dict[str, Any]]:
        """Hosted zones of exactly this name, public and private ones; they are listed in the order of names."""
        wanted, found = f"{name}.", []
        start: dict[str, str] = {"DNSName": wanted}
        while True:
            page = await self.call("list_hosted_zones_by_name", **start)
            here = [one for one in page["HostedZones"] if one["Name"] == wanted]
            found += here
            if not page.get("IsTruncated") or len(here) < len(page["HostedZones"]):
                return found
            start = {"DNSName": page["NextDNSName"], "HostedZoneId": page["NextHostedZoneId"]}
