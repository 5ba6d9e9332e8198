"""
Answers as aiohttp responses: bytes that are ready, Status objects, and what a client gets when something fails.
"""

import logging
from collections.abc import Mapping, Sequence

import orjson
from aiohttp import web

from cluster.machinery.objects import Object
from cluster.machinery.status_errors import (
    ApiError,
    BadRequest,
    InternalError,
    RequestEntityTooLarge,
    ServiceUnavailable,
    Timeout,
)
from cluster.store.errors import StoreError

log = logging.getLogger(__name__)

JSON = "application/json"
YAML = "application/yaml"
_NO_CACHE = "no-cache, private"


def body(
    data: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None, content_type: str = JSON
) -> web.Response:
    """`data` as it is."""
    return web.Response(
        body=data,
        status=status,
        headers={"Content-Type": content_type, "Cache-Control": _NO_CACHE, **(headers or {})},
    )


def as_yaml(response: web.StreamResponse) -> web.StreamResponse:
    """The same object as YAML, keys sorted; what is no JSON object stays as it is."""
    if not isinstance(response, web.Response) or response.content_type != JSON or not isinstance(response.body, bytes):
        return response
    import yaml  # few clients ask for it

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    document = orjson.loads(response.body)
    shown = yaml.dump(document, Dumper=dumper, default_flow_style=False, allow_unicode=True, width=1 << 20)
    response.body = shown.encode()
    response.headers["Content-Type"] = YAML
    return response


def text(data: str, status: int = 200) -> web.Response:
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=data.encode(), status=status, headers=headers)


def json(obj: Object, status: int = 200) -> web.Response:
    return body(orjson.dumps(obj), status=status)


def error(fault: ApiError) -> web.Response:
    headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else None
    return body(orjson.dumps(fault.status), status=fault.http_code, headers=headers)


def page_not_found() -> web.Response:
    return text("404 page not found\n", 404)


def as_api_error(fault: Exception) -> ApiError:
    """What a client is told about any failure. Faults of our own are logged with their trace, never shown."""
    if isinstance(fault, ApiError):
        return fault
    if isinstance(fault, StoreError):
        if fault.too_large:
            return RequestEntityTooLarge("etcdserver: request is too large")
        log.warning("the store failed: %s", fault)
        if fault.full:
            return ServiceUnavailable(
                "etcdserver: mvcc: database space exceeded; deletes still work, "
                "then compact, defragment and disarm the alarm",
                code=507,
                reason="InternalError",
            )
        if fault.ambiguous:
            return Timeout("Timeout: request did not complete within the allotted timeout", code=504)
        return ServiceUnavailable("the store is not available, try again", retry_after=1)
    if isinstance(fault, web.RequestPayloadError):
        return BadRequest("the request body ends early or is badly framed")
    if isinstance(fault, TimeoutError):
        return Timeout("Timeout: request did not complete within the allotted timeout")
    log.error("a request failed inside the apiserver", exc_info=fault)
    return InternalError(f"Internal error occurred: {type(fault).__name__}")


def add_warnings(response: web.StreamResponse, warnings: Sequence[str]) -> None:
    """One Warning header each, as RFC 7234 has it; equal ones once."""
    for warning in dict.fromkeys(warnings):
        shown = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\r", " ")
        response.headers.add("Warning", f'299 - "{shown}"')
