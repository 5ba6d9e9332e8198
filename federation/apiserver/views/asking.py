"""
One question to one member: it begins to answer within a second, or counts as not reachable.
"""

import asyncio
from collections.abc import Mapping

import aiohttp
import orjson

from cluster.apiserver.negotiation import OBJECT, TABLE, View
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, from_status
from federation.membership.member_clients import Member

ANSWER_SECONDS = 0.9
"""Until the head of an answer: a dead member costs a client less than a second."""
BODY_SECONDS = 30.0
BROKEN = (aiohttp.ClientError, OSError, TimeoutError)


class UnansweredError(Exception):
    """The member did not answer, or not with what was asked for. The message says why, for a Warning."""

    def __init__(self, cluster: str, why: str) -> None:
        super().__init__(f"cluster {cluster} is left out: {why}")


def accept(view: View, *, many: bool) -> str:
    """The Accept header for a form."""
    if view.shape == OBJECT:
        return "application/json"
    shape = "Table" if view.shape == TABLE else "PartialObjectMetadata" + ("List" if many else "")
    return f"application/json;as={shape};v={view.version};g=meta.k8s.io"


async def ask(member: Member, path: str, params: Mapping[str, str], form: str) -> Object:
    """GET. Raises ApiError for what the member refuses, UnansweredError for everything else."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS) as limit:
            async with member.client.stream("GET", path, params=params, headers={"Accept": form}) as answer:
                limit.reschedule(asyncio.get_running_loop().time() + BODY_SECONDS)
                body = await answer.read()
                status = answer.status
    except TimeoutError as fault:
        raise UnansweredError(member.name, "it does not answer in time") from fault
    except (aiohttp.ClientError, OSError) as fault:
        raise UnansweredError(member.name, str(fault) or type(fault).__name__) from fault
    except ApiError as fault:
        raise UnansweredError(member.name, fault.message) from fault
    return _decoded(member.name, status, body)


def _decoded(name: str, status: int, body: bytes) -> Object:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UnansweredError(name, f"it answered {status} with what is no JSON") from None
    if status >= 400:
        raise from_status(found, status)
    if not isinstance(found, dict):
        raise UnansweredError(name, "it answered with what is no object")
    return found
