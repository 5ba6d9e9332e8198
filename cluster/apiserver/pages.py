"""
What is no API resource: version, health, metrics, discovery, OpenAPI, and the keys of service account tokens.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from cluster import settings
from cluster.apiserver import responses
from cluster.apiserver.aggregation.aggregator import Aggregator
from cluster.apiserver.custom_resources.serving import CustomResources
from cluster.apiserver.health import Health
from cluster.apiserver.metrics import RequestMetrics
from cluster.apiserver.negotiation import negotiate
from cluster.apiserver.requests import UserInfo
from cluster.apiserver.router import Route

if TYPE_CHECKING:
    from cluster.apiserver.aggregation.merged import MergedDiscovery, MergedOpenApi
    from cluster.apiserver.discovery import Document

VERSION: Mapping[str, Any] = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": f"v{settings.KUBERNETES_VERSION}",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": f"python{platform.python_version()}",
    "compiler": "cpython",
    "platform": "linux/amd64",
}


class PageServer:
    def __init__(
        self,
        health: Health,
        metrics: RequestMetrics,
        token_pages: Mapping[str, bytes],
        advertised: str,
        custom: CustomResources,
        aggregator: Aggregator,
    ) -> None:
        self._aggregator = aggregator
        self._merged: tuple[MergedDiscovery, MergedOpenApi] | None = None
        self._protobuf: Document | None = None
        """The last one that was made, for its ETag."""
        self._custom = custom
        self._advertised = advertised
        """host:port that discovery tells clients."""
        self._health = health
        self._metrics = metrics
        self._token_pages = token_pages
        """/.well-known/openid-configuration and the key set it points to."""

    async def serve(self, request: web.BaseRequest, found: Route, user: UserInfo) -> web.StreamResponse:
        if found.method not in ("GET", "HEAD"):
            return responses.page_not_found()
        path = found.path.rstrip("/") or "/"
        if path == "/version":
            return responses.body(json.dumps(VERSION, indent=2).encode())
        if path in self._token_pages:
            return _token_page(request, path, self._token_pages[path])
        if path == "/metrics":
            return responses.body(
                self._metrics.render().encode(), content_type="text/plain; version=0.0.4; charset=utf-8"
            )
        answer = await self._health.serve(path, request.rel_url.raw_query_string)
        if answer is not None:
            return answer
        if path.startswith("/openapi"):
            return self._openapi(request, path)
        if path == "/" or path.startswith("/api"):
            return self._discovery(request, path)
        return responses.page_not_found()

    def _discovery(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        # Both are needed by few requests after start-up; their tables shall not delay it.
        from cluster.apiserver import discovery

        accept = request.headers.get("Accept", "")
        # A client that names protobuf alone reads JSON when the answer says that it is.
        if not discovery.wants_aggregated(accept) and "protobuf" not in accept:
            negotiate(accept, available="application/json, application/yaml")
        served = self._custom.resources
        merged = None
        if self._aggregator.remote:
            merged = self._merge()[0].get(served, self._advertised, self._aggregator.remote.values())
        return _page(request, discovery.serve(path, accept, served, self._advertised, merged))

    def _openapi(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        from cluster.apiserver import openapi, openapi_protobuf

        accept = request.headers.get("Accept", "")
        own, served = self._custom.openapi, self._custom.resources
        as_protobuf = path == "/openapi/v2" and "protobuf" in accept and openapi_protobuf.is_wanted(accept)
        found = openapi.serve(path, "" if as_protobuf else accept, served, own)
        if found is not None and self._aggregator.remote:
            others, merged = list(self._aggregator.remote.values()), self._merge()[1]
            if path == "/openapi/v3":
                found = merged.index(own, served, others)
            elif path == "/openapi/v2":
                found = merged.version_2(own, served, others)
        if as_protobuf and found is not None:
            found = self._as_protobuf(found)
        answer = _page(request, found)
        given = request.rel_url.query.get("hash")
        if found is None or given is None:
            return answer
        if f'"{given}"' != found.etag:
            # One that another server or an earlier state has told: here is what there is now.
            return web.Response(status=301, headers={"Location": f"{path}?hash={found.etag.strip(chr(34))}"})
        answer.headers["Cache-Control"] = "public, immutable"
        year = datetime.now(UTC) + timedelta(days=365)
        answer.headers["Expires"] = format_datetime(year, usegmt=True)
        return answer

    def _as_protobuf(self, document: "Document") -> "Document":
        from cluster.apiserver import openapi_protobuf

        etag = f'{document.etag[:-1]}-protobuf"'
        if self._protobuf is None or self._protobuf.etag != etag:
            body, kind = openapi_protobuf.encode(document.body), openapi_protobuf.CONTENT_TYPE
            self._protobuf = replace(document, body=body, etag=etag, content_type=kind)
        return self._protobuf

    def _merge(self) -> "tuple[MergedDiscovery, MergedOpenApi]":
        if self._merged is None:
            from cluster.apiserver.aggregation.merged import MergedDiscovery, MergedOpenApi

            self._merged = MergedDiscovery(), MergedOpenApi()
        return self._merged


def _page(request: web.BaseRequest, found: Any) -> web.StreamResponse:
    """A document with an ETag: 304 when the client has it already."""
    if found is None:
        return responses.page_not_found()
    headers = {"Vary": "Accept"}
    if found.etag:
        headers["ETag"] = found.etag
        if request.headers.get("If-None-Match") == found.etag:
            return web.Response(status=304, headers=headers)
    return responses.body(found.body, headers=headers, content_type=found.content_type)


def _token_page(request: web.BaseRequest, path: str, data: bytes) -> web.StreamResponse:
    """Others may keep it for a while, and ask whether it is still the same."""
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"Cache-Control": "public, max-age=3600", "ETag": tag}
    if tag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    kind = "application/jwk-set+json" if path.endswith("jwks") else responses.JSON
    return responses.body(data, headers=headers, content_type=kind)
