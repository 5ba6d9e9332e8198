"""
An issuer's keys: found by its discovery document, fetched over TLS, and again when a token names one not known yet.

Anybody can send a token that names an unknown key, so that is no reason to ask the issuer more than every few seconds.
Source: OpenID Connect Discovery 1.0; k8s.io/apiserver, plugin/pkg/authenticator/token/oidc.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cluster.apiserver.oidc.configuration import IssuerSettings

log = logging.getLogger(__name__)

REFRESH_SECONDS = 10.0
"""At least so long between two fetches."""
MAX_AGE_SECONDS = 3600.0
"""After which keys are fetched again although all tokens name known ones: an issuer may have withdrawn one."""
FETCH_TIMEOUT = 10.0
_ANSWER_LIMIT = 1024 * 1024
_MAX_KEYS = 100
_MIN_RSA_BITS = 2048
_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVE_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key, and what it may have signed."""

    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    algorithms: tuple[str, ...]


class IssuerUnavailable(Exception):
    """The issuer's keys cannot be had. For the server's log."""


class KeySet:
    """What is fetched is kept until it is old."""

    def __init__(self, settings: IssuerSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._keys: dict[str, IssuerKey] = {}
        self._fetched = self._tried = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._fault = ""
        self.generation = 0
        """Changes whenever the keys do."""

    async def candidates(self, key_id: str) -> list[IssuerKey]:
        """
        The key of this id, or all keys for a token that names none. Empty when there is none.

        Raises IssuerUnavailable when keys were never had.
        """
        known = bool(self._keys) if not key_id else key_id in self._keys
        if not known:
            await self._refresh()
        elif self._clock() - self._fetched > MAX_AGE_SECONDS:
            await self._refresh()  # keeps the former keys when the issuer does not answer
        if not self._keys and self._fault:
            raise IssuerUnavailable(self._fault)
        if not key_id:
            return list(self._keys.values())
        return [self._keys[key_id]] if key_id in self._keys else []

    async def _refresh(self) -> None:
        """One fetch for all who wait; none when the last one is a moment ago."""
        if self._fetching is None:
            if self._clock() - self._tried < REFRESH_SECONDS:
                return
            self._tried = self._clock()
            self._fetching = asyncio.create_task(self._fetch(), name="oidc-keys")
            self._fetching.add_done_callback(self._fetched_once)
        await asyncio.shield(self._fetching)

    def _fetched_once(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("fetching keys failed inside the apiserver", exc_info=fault)

    async def _fetch(self) -> None:
        url = self._settings.url
        try:
            keys = await self._download()
        except (TimeoutError, aiohttp.ClientError, ValueError) as fault:
            self._fault = f"oidc: the keys of {url} cannot be had: {str(fault) or type(fault).__name__}"
            log.warning("%s", self._fault)
            return
        self._fault = ""
        if keys != self._keys:
            self.generation += 1
        self._keys, self._fetched = keys, self._clock()

    async def _download(self) -> dict[str, IssuerKey]:
        authority = self._settings.authority_pem
        context = ssl.create_default_context(cadata=authority or None)
        connector = aiohttp.TCPConnector(ssl=context)
        timeout = aiohttp.ClientTimeout(FETCH_TIMEOUT)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
            where = self._settings.discovery_url or (
                self._settings.url.rstrip("/") + "/.well-known/openid-configuration"
            )
            document = await _object(session, where)
            if document.get("issuer") != self._settings.url:
                raise ValueError(f"the issuer calls itself {document.get('issuer')!r}, wanted {self._settings.url!r}")
            keys_url = document.get("jwks_uri")
            if not isinstance(keys_url, str) or not keys_url.startswith("https://"):
                raise ValueError(f"jwks_uri is {keys_url!r}; it must begin with https://")
            return _usable(await _object(session, keys_url), self._settings.algorithms)


async def _object(session: aiohttp.ClientSession, url: str) -> Mapping[str, Any]:
    async with session.get(url, allow_redirects=False) as answer:
        if answer.status != 200:
            raise ValueError(f"{url} answered HTTP {answer.status}")
        data = bytearray()
        async for chunk in answer.content.iter_any():
            data += chunk
            if len(data) > _ANSWER_LIMIT:
                raise ValueError(f"{url} answered more than {_ANSWER_LIMIT} bytes")
    found = orjson.loads(data)
    if not isinstance(found, dict):
        raise ValueError(f"{url} answered no JSON object")
    return found


def _usable(document: Mapping[str, Any], wanted: tuple[str, ...]) -> dict[str, IssuerKey]:
    """Keys for signatures that we take, by id; one that cannot be read is left out."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise ValueError("the key set has no keys")
    keys = {}
    for number, given in enumerate(listed[:_MAX_KEYS]):
        if not isinstance(given, dict) or given.get("use", "sig") != "sig" or given.get("kty") not in ("RSA", "EC"):
            continue
        try:
            key = jwt.PyJWK(given).key
        except (jwt.PyJWTError, ValueError, TypeError) as fault:
            log.warning("a key of the issuer cannot be used: %s", type(fault).__name__)
            continue
        fitting = [name for name in _fitting(key) if name in wanted and given.get("alg", name) == name]
        if fitting:
            keys[str(given.get("kid") or f"#{number}")] = IssuerKey(key, tuple(fitting))
    return keys


def _fitting(key: object) -> tuple[str, ...]:
    """What a key of this kind can sign. Short RSA keys sign nothing."""
    if isinstance(key, rsa.RSAPublicKey):
        return _RSA_ALGORITHMS if key.key_size >= _MIN_RSA_BITS else ()
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVE_ALGORITHMS:
        return (_CURVE_ALGORITHMS[key.curve.name],)
    return ()
