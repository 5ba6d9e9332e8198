"""
/healthz, /livez and /readyz: each check by name, with upstream's texts.

Source: k8s.io/apiserver, pkg/server/healthz.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import parse_qsl

from aiohttp import web

from cluster.apiserver import responses

Check = Callable[[], Awaitable[str]]
"""An empty text when healthy, else the reason."""


async def ping() -> str:
    return ""


class Health:
    """`checks` maps an endpoint (healthz, livez, readyz) to its checks in order."""

    def __init__(self, checks: Mapping[str, Mapping[str, Check]]) -> None:
        self._checks = checks

    async def serve(self, path: str, query_string: str) -> web.Response | None:
        """None when the path is none of ours."""
        endpoint, _, name = path.strip("/").partition("/")
        checks = self._checks.get(endpoint)
        if checks is None:
            return None
        if name:
            if name not in checks:
                return None
            why = await checks[name]()
            return responses.text("ok" if not why else f"internal server error: {why}\n", 200 if not why else 500)
        query = parse_qsl(query_string, keep_blank_values=True)
        verbose = any(key == "verbose" for key, _ in query)
        return await self._all(endpoint, checks, [value for key, value in query if key == "exclude"], verbose=verbose)

    async def _all(
        self, endpoint: str, checks: Mapping[str, Check], excluded: Sequence[str], *, verbose: bool
    ) -> web.Response:
        lines, failed = [], False
        for name, check in checks.items():
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
                continue
            why = await check()
            failed = failed or bool(why)
            lines.append(f"[-]{name} failed: reason withheld" if why else f"[+]{name} ok")
        unknown = sorted({name for name in excluded if name not in checks})
        if unknown:
            shown = ",".join(f'"{name}"' for name in unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {shown}")
        if failed:
            return responses.text("\n".join([*lines, f"{endpoint} check failed", ""]), 500)
        if verbose:
            return responses.text("\n".join([*lines, f"{endpoint} check passed", ""]))
        return responses.text("ok")
