"""
Links in pages that are shown through a proxy: an absolute path leads to the page behind the proxy, not to ours.

Pure. Source of the rules, and of which attributes hold links: k8s.io/apimachinery, pkg/util/proxy/transport.go.
"""

import html
import zlib
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from urllib.parse import urlsplit, urlunsplit

from multidict import CIMultiDict

_LINKS: Mapping[str, frozenset[str]] = {
    tag: frozenset(attributes.split())
    for tag, attributes in {
        "a": "href", "applet": "codebase", "area": "href", "audio": "src", "base": "href", "blockquote": "cite",
        "body": "background", "button": "formaction", "command": "icon", "del": "cite", "embed": "src",
        "form": "action", "frame": "longdesc src", "head": "profile", "html": "manifest", "iframe": "longdesc src",
        "img": "longdesc src usemap", "input": "src usemap formaction", "ins": "cite", "link": "href",
        "object": "classid codebase data usemap", "q": "cite", "script": "src", "source": "src", "video": "poster src",
    }.items()
}  # fmt: skip
_UNPACKED = 64 << 10


class Links:
    """`prefix`: path of the proxy, below which the backend's pages appear; `hosts`: names the backend goes by."""

    def __init__(self, prefix: str, *hosts: str) -> None:
        self._prefix = prefix.rstrip("/")
        self._hosts = frozenset(hosts) | {""}

    def location(self, url: str) -> str:
        """The same page through the proxy. Other hosts' and relative ones stay as they are."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return url
        if parts.netloc not in self._hosts or not parts.path.startswith("/"):
            return url
        path = parts.path if parts.path.startswith(self._prefix) else self._prefix + parts.path
        return urlunsplit(("", "", path, parts.query, parts.fragment))

    def body(self, headers: CIMultiDict[str]) -> "HtmlFilter | None":
        """A filter for pages of HTML, packed ones too; None for everything else."""
        if headers.get("Content-Type", "").split(";")[0].strip().lower() != "text/html":
            return None
        packing = headers.get("Content-Encoding", "").strip().lower()
        if packing not in ("", "identity", "gzip", "deflate"):
            return None
        for name in ("Content-Encoding", "Content-Length", "ETag", "Content-MD5"):
            headers.popall(name, None)
        return HtmlFilter(self.location, packing)


class HtmlFilter:
    """Takes a page in pieces and gives it back with its links changed, unpacked."""

    def __init__(self, change: Callable[[str], str], packing: str = "") -> None:
        self._parser = _Rewriter(change)
        # 47: zlib or gzip, whichever it turns out to be.
        self._unpacker = zlib.decompressobj(47) if packing in ("gzip", "deflate") else None

    def feed(self, chunk: bytes) -> bytes:
        if self._unpacker is None:
            return self._parser.take(chunk)
        done = []
        while chunk:
            try:
                plain = self._unpacker.decompress(chunk, _UNPACKED)
            except zlib.error as fault:
                raise OSError(f"the page's packing is broken: {fault}") from None
            done.append(self._parser.take(plain))
            chunk = self._unpacker.unconsumed_tail
        return b"".join(done)

    def end(self) -> bytes:
        self._parser.close()
        return self._parser.take(b"")


class _Rewriter(HTMLParser):
    """Bytes stand for themselves (latin-1), so that a page in any encoding that holds ASCII survives."""

    def __init__(self, change: Callable[[str], str]) -> None:
        super().__init__(convert_charrefs=False)
        self._change = change
        self._done: list[str] = []

    def take(self, chunk: bytes) -> bytes:
        if chunk:
            self.feed(chunk.decode("latin-1"))
        done, self._done = "".join(self._done), []
        return done.encode("latin-1")

    def _tag(self, tag: str, attributes: list[tuple[str, str | None]], end: str) -> None:
        links = _LINKS.get(tag, frozenset())
        if not any(name in links and value and self._shown(value) != value for name, value in attributes):
            self._done.append(self.get_starttag_text() or "")
            return
        shown = [
            name if value is None else f'{name}="{_escape(self._shown(value) if name in links else value)}"'
            for name, value in attributes
        ]
        self._done.append(f"<{' '.join([tag, *shown])}{end}")

    def _shown(self, value: str) -> str:
        return self._change(value)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag(tag, attrs, ">")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag(tag, attrs, "/>")

    def handle_endtag(self, tag: str) -> None:
        self._done.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self._done.append(data)

    def handle_entityref(self, name: str) -> None:
        self._done.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._done.append(f"&#{name};")

    def handle_comment(self, data: str) -> None:
        self._done.append(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self._done.append(f"<!{decl}>")

    def handle_pi(self, data: str) -> None:
        self._done.append(f"<?{data}>")

    def unknown_decl(self, data: str) -> None:
        self._done.append(f"<![{data}]>")


def _escape(value: str) -> str:
    """As an attribute's value; what an entity stood for outside of latin-1 becomes one again."""
    return html.escape(value).encode("latin-1", "xmlcharrefreplace").decode("latin-1")
