"""
`python -m tests.bench.bare_handler PORT CERTIFICATE KEY`: aiohttp on uvloop that answers 2 KB to everything.

What the library alone costs on this machine at this moment: figures of other runs are compared by it.
"""

import asyncio
import ssl
import sys

import uvloop
from aiohttp import web


async def _answer(request: web.BaseRequest) -> web.Response:
    return web.Response(body=b"x" * 2048, headers={"Content-Type": "application/json"})


async def _serve(port: int, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = web.Server(_answer, access_log=None)
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, ssl=context)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
