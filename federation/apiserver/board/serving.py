"""
The board: a web page that shows the federation, live. Static files below /board/, the same for everybody.

What it shows it reads from this apiserver's API with the token of whoever looks at it, so their roles decide. Nothing
but these files runs in it: no script in the page, none from elsewhere, no text of an object as HTML.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from cluster.apiserver import responses

ROOT = "/board"
_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Asked again each time, so that page and scripts are of one release.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Page:
    body: bytes
    content_type: str
    etag: str


class BoardPages:
    """Files are read with the first request for any of them."""

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}

    def find(self, request: web.BaseRequest) -> web.Response | None:
        path = request.rel_url.raw_path
        if not path.startswith(ROOT):
            return None
        if path == ROOT:
            return web.Response(status=308, headers={"Location": f"{ROOT}/"})
        if path[len(ROOT)] != "/":
            return None
        page = self._load().get(path)
        if page is None:
            return responses.page_not_found()
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        if request.headers.get("If-None-Match") == page.etag:
            return web.Response(status=304, headers={**_HEADERS, "ETag": page.etag})
        return web.Response(body=page.body, headers={**_HEADERS, "ETag": page.etag, "Content-Type": page.content_type})

    def _load(self) -> dict[str, Page]:
        if not self._pages:
            found = {f"{ROOT}/{file.name}": _page(file) for file in _FOLDER.iterdir() if file.suffix in _TYPES}
            self._pages = {**found, f"{ROOT}/": found[f"{ROOT}/index.html"]}
        return self._pages


def _page(file: Path) -> Page:
    body = file.read_bytes()
    return Page(body, _TYPES[file.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')
