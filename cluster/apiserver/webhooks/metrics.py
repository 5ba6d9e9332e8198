"""
What /metrics tells of admission webhooks, under upstream's names. Nothing is kept before the first call.

Source: k8s.io/apiserver, pkg/admission/metrics/metrics.go.
"""

from collections import defaultdict
from collections.abc import Iterable

_BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0)
_PREFIX = "apiserver_admission_webhook"
CALLING, INTERNAL, NO_ERROR = "calling_webhook_error", "apiserver_internal_error", "no_error"


class WebhookMetrics:
    def __init__(self) -> None:
        self._durations: dict[tuple[str, str, str, str], list[int]] = {}
        """By name, type, operation and rejected: calls a bucket, the last for all that took longer."""
        self._sums: dict[tuple[str, str, str, str], float] = defaultdict(float)
        self._requests: dict[tuple[str, str, str, str, str], int] = defaultdict(int)
        self._rejections: dict[tuple[str, str, str, str, str], int] = defaultdict(int)
        self._opened: dict[tuple[str, str], int] = defaultdict(int)
        self._excluded: dict[tuple[str, str, str], int] = defaultdict(int)

    def called(self, name: str, form: str, operation: str, seconds: float, code: int, *, rejected: bool) -> None:
        key = name, form, operation, str(rejected).lower()
        buckets = self._durations.setdefault(key, [0] * (len(_BUCKETS) + 1))
        buckets[next((at for at, bound in enumerate(_BUCKETS) if seconds <= bound), len(_BUCKETS))] += 1
        self._sums[key] += seconds
        self._requests[name, form, operation, str(code), key[3]] += 1

    def rejected(self, name: str, form: str, operation: str, error: str, code: int) -> None:
        """`code` is the one that the webhook refused with, 0 when it never did."""
        self._rejections[name, form, operation, error, str(min(code, 600))] += 1

    def failed_open(self, name: str, form: str) -> None:
        self._opened[name, form] += 1

    def excluded(self, name: str, form: str, operation: str) -> None:
        self._excluded[name, form, operation] += 1

    def lines(self) -> list[str]:
        found: list[str] = []
        if self._durations:
            found.append(f"# TYPE {_PREFIX}_admission_duration_seconds histogram")
        for key, buckets in self._durations.items():
            shown, running = _labels(("name", "type", "operation", "rejected"), key), 0
            series = f"{_PREFIX}_admission_duration_seconds"
            for bound, number in zip((*map(str, _BUCKETS), "+Inf"), buckets, strict=True):
                running += number
                found.append(f'{series}_bucket{{{shown},le="{bound}"}} {running}')
            found.append(f"{series}_sum{{{shown}}} {self._sums[key]:.6f}")
            found.append(f"{series}_count{{{shown}}} {running}")
        reasons = ("name", "type", "operation", "error_type", "rejection_code")
        found += _counter(f"{_PREFIX}_rejection_count", reasons, self._rejections.items())
        answers = ("name", "type", "operation", "code", "rejected")
        found += _counter(f"{_PREFIX}_request_total", answers, self._requests.items())
        found += _counter(f"{_PREFIX}_fail_open_count", ("name", "type"), self._opened.items())
        kept = [
            ((name, "webhook", form, operation), count) for (name, form, operation), count in self._excluded.items()
        ]
        exclusions = "apiserver_admission_match_condition_exclusions_total"
        return found + _counter(exclusions, ("name", "kind", "type", "operation"), kept)


def _counter(name: str, labels: tuple[str, ...], counts: Iterable[tuple[tuple[str, ...], int]]) -> list[str]:
    series = [f"{name}{{{_labels(labels, key)}}} {count}" for key, count in counts]
    return [f"# TYPE {name} counter", *series] if series else []


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return ",".join(f'{name}="{value}"' for name, value in zip(names, values, strict=True))
