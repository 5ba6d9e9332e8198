"""
EventRateLimit: so many events a second for the whole server, a namespace, a user, or one source and object.

Whoever tells the same over and over is refused with 429; the limits and how many keys are remembered are configured.
Source: kubernetes, plugin/pkg/admission/eventratelimit.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from cluster.apiserver.admission.plugin import CREATE, UPDATE, Plugin, Surroundings
from cluster.apiserver.configuration_file import Fields, Reading
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.field_errors import invalid, not_supported
from cluster.machinery.status_errors import TooManyRequests

API_VERSIONS = ("eventratelimit.admission.k8s.io/v1alpha1",)
DEFAULT_KEYS = 4096
SERVER = "Server"


def _of_source_and_object(request: AdmissionRequest) -> str:
    event = request.obj or {}
    source = event.get("source") or event.get("deprecatedSource") or {}
    about = event.get("involvedObject") or event.get("regarding") or {}
    parts = [source.get("component"), source.get("host")]
    parts += [about.get(name) for name in ("kind", "namespace", "name", "uid", "apiVersion")]
    return "".join(part for part in parts if isinstance(part, str))


_KEYS: dict[str, Callable[[AdmissionRequest], str]] = {
    SERVER: lambda request: "",
    "Namespace": lambda request: request.namespace,
    "User": lambda request: request.user.name,
    "SourceAndObject": _of_source_and_object,
}


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


class Limit:
    """Token buckets of one type, one a key; the least recently used is forgotten first."""

    def __init__(self, kind: str, qps: int, burst: int, keys: int, clock: Callable[[], float]) -> None:
        self._kind, self._qps, self._burst, self._max = kind, qps, burst, keys
        self._key = _KEYS[kind]
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def refusal(self, request: AdmissionRequest) -> TooManyRequests | None:
        key, now = self._key(request), self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._max:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = _Bucket(self._burst, now)
        else:
            self._buckets.move_to_end(key)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled) * self._qps)
        bucket.filled = now
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return None
        return TooManyRequests(f"limit reached on type {self._kind} for key {key}")


class EventRateLimit(Plugin):
    name = "EventRateLimit"
    operations = frozenset({CREATE, UPDATE})
    resources = frozenset({"events", "events.events.k8s.io"})

    def __init__(self, around: Surroundings, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ValueError without a valid configuration."""
        super().__init__(around)
        given = around.configurations.get(self.name)
        if given is None:
            raise ValueError("EventRateLimit needs limits; give them in --admission-control-config-file")
        reading = given.open("Configuration", API_VERSIONS)
        reading.known(given.fields, "", ("kind", "apiVersion", "limits"))
        listed = reading.objects(given.fields.get("limits"), "limits")
        if not listed:
            reading.faults.append(invalid("limits", [], "must not be empty"))
        limits = [limit for at, one in listed if (limit := _limit(reading, one, at, clock)) is not None]
        reading.finish("event rate limit Configuration")
        self._limits = limits

    async def validate(self, request: AdmissionRequest) -> None:
        # Each limit counts the event, whatever the others say; the last refusal is told, as upstream.
        refusals = [refusal for limit in self._limits if (refusal := limit.refusal(request)) is not None]
        if refusals:
            raise refusals[-1]


def _limit(reading: Reading, given: Fields, path: str, clock: Callable[[], float]) -> Limit | None:
    reading.known(given, path, ("type", "qps", "burst", "cacheSize"))
    kind = reading.text(given.get("type"), f"{path}.type")
    if kind not in _KEYS:
        reading.faults.append(not_supported(f"{path}.type", kind, list(_KEYS)))
    numbers = {name: reading.number(given.get(name), f"{path}.{name}", 0) for name in ("qps", "burst", "cacheSize")}
    for name in ("burst", "qps"):
        if numbers[name] <= 0:
            reading.faults.append(invalid(f"{path}.{name}", numbers[name], "must be positive"))
    if kind != SERVER and numbers["cacheSize"] < 0:
        reading.faults.append(invalid(f"{path}.cacheSize", numbers["cacheSize"], "must not be negative"))
    if kind not in _KEYS:
        return None
    return Limit(kind, numbers["qps"], numbers["burst"], numbers["cacheSize"] or DEFAULT_KEYS, clock)
