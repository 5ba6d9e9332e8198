"""An OpenID issuer of the test's own: discovery and keys over TLS on loopback, and tokens of any kind."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.integration.kubeconfig_webhook import new_authority, server_context

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Issuer:
    """`keys` are what it publishes, by id; `fetched` is which pages were asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.authority_pem = b""
        self.name = ""
        """What it calls itself, if not by its URL."""
        self.keys: dict[str, SigningKey] = {"one": ec.generate_private_key(ec.SECP256R1())}
        self.fetched: list[str] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.fetched.append(request.path)
        if request.path == "/.well-known/openid-configuration":
            return web.json_response({"issuer": self.name or self.url, "jwks_uri": f"{self.url}/keys"})
        if request.path == "/keys":
            return web.json_response({"keys": [self.published(key_id) for key_id in self.keys]})
        return web.Response(status=404)

    def published(self, key_id: str) -> dict[str, Any]:
        public = self.keys[key_id].public_key()
        kind = ECAlgorithm if isinstance(public, ec.EllipticCurvePublicKey) else RSAAlgorithm
        found: dict[str, Any] = json.loads(kind.to_jwk(public))  # type: ignore[arg-type]
        found.pop("key_ops", None)
        return {"kid": key_id, "use": "sig", **found}

    def claims(self, **change: Any) -> dict[str, Any]:
        now = int(time.time())
        base = {"iss": self.url, "aud": "apiserver", "sub": "alice", "exp": now + 600, "iat": now, "nbf": now}
        return {key: value for key, value in (base | change).items() if value is not ...}

    def token(self, key_id: str = "one", algorithm: str = "ES256", **change: Any) -> str:
        payload = json.dumps(self.claims(**change)).encode()
        return jwt.api_jws.encode(payload, self.keys[key_id], algorithm, headers={"kid": key_id})


@contextlib.asynccontextmanager
async def issuer(directory: Path) -> AsyncIterator[Issuer]:
    """A running one."""
    found, authority = Issuer(), new_authority("issuer-ca")
    found.authority_pem = authority.certificate_pem
    server = web.Server(found.handle, access_log=None)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server, "127.0.0.1", 0, ssl=server_context(directory, authority))
    found.url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        listener.close()
        await server.shutdown(0)
