"""What the proxy changes on pages: absolute links, and nothing else."""

import gzip

import pytest
from multidict import CIMultiDict

from cluster.apiserver.proxy.links import Links

LINKS = Links("/p", "front:1", "10.0.0.1:80")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/a?b=c#d", "/p/a?b=c#d"),
        ("/", "/p/"),
        ("/p/already", "/p/already"),
        ("relative/x", "relative/x"),
        ("http://10.0.0.1:80/a", "/p/a"),
        ("https://front:1/a", "/p/a"),
        ("https://elsewhere/a", "https://elsewhere/a"),
        ("//elsewhere/a", "//elsewhere/a"),
        ("http://[broken", "http://[broken"),
        ("", ""),
    ],
)
def test_a_link_is_led_through_the_proxy_when_it_means_the_backend(url: str, shown: str) -> None:
    assert LINKS.location(url) == shown


def page_through(page: bytes, size: int, **headers: str) -> bytes:
    change = LINKS.body(CIMultiDict({"Content-Type": "text/html; charset=utf-8", **headers}))
    assert change is not None
    return b"".join(change.feed(page[at : at + size]) for at in range(0, len(page), size)) + change.end()


PAGE = (
    "<!DOCTYPE html><!-- /not/a/link --><p title='/x'>ü &uuml; &#39; <A HREF='/a?b&amp;c=\"d\"' checked>Z</A><br/>"
    "<script>if (a < b) { go('</a>', \"/s\") }</script>"
    "<SCRIPT src=/s.js></SCRIPT><?pi x?> 1 < 2 & 3"
).encode()


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_page_keeps_everything_but_its_absolute_links(size: int) -> None:
    shown = page_through(PAGE, size).decode()

    assert shown == (
        "<!DOCTYPE html><!-- /not/a/link --><p title='/x'>ü &uuml; &#39; "
        '<a href="/p/a?b&amp;c=&quot;d&quot;" checked>Z</a><br/>'
        "<script>if (a < b) { go('</a>', \"/s\") }</script>"
        '<script src="/p/s.js"></script><?pi x?> 1 < 2 & 3'
    )


def test_a_packed_page_is_unpacked() -> None:
    assert page_through(gzip.compress(b'<a href="/x">'), 5, **{"Content-Encoding": "gzip"}) == b'<a href="/p/x">'


def test_what_is_no_page_passes_untouched() -> None:
    assert LINKS.body(CIMultiDict({"Content-Type": "application/json"})) is None
    assert LINKS.body(CIMultiDict({"Content-Type": "text/html", "Content-Encoding": "br"})) is None
