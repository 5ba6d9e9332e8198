"""
Counters, gauges and histograms, and the text Prometheus scrapes.

Names and labels are upstream's where upstream has the metric, so that existing dashboards work.
"""

import bisect
from collections.abc import Callable, Sequence

DEFAULT_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
_METRICS: "list[Metric]" = []


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Metric:
    kind = "untyped"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name, self.text, self.labels = name, text, tuple(labels)
        _METRICS.append(self)

    def _labelled(self, values: Sequence[str], *more: tuple[str, str]) -> str:
        pairs = [*zip(self.labels, values, strict=True), *more]
        return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in pairs) + "}" if pairs else ""

    def samples(self) -> list[str]:
        raise NotImplementedError


class Counter(Metric):
    kind = "counter"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, text, labels)
        self._values: dict[tuple[str, ...], float] = {}

    def inc(self, *labels: str, by: float = 1) -> None:
        self._values[labels] = self._values.get(labels, 0) + by

    def value(self, *labels: str) -> float:
        return self._values.get(labels, 0)

    def samples(self) -> list[str]:
        return [f"{self.name}{self._labelled(labels)} {value:g}" for labels, value in self._values.items()]


class Gauge(Counter):
    kind = "gauge"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, text, labels)
        self._functions: dict[tuple[str, ...], Callable[[], float]] = {}

    def set(self, value: float, *labels: str) -> None:
        self._values[labels] = value

    def set_function(self, function: Callable[[], float], *labels: str) -> None:
        """Ask `function` at each scrape instead of being told."""
        self._functions[labels] = function

    def forget(self, *labels: str) -> None:
        """What it measured is there no more."""
        self._functions.pop(labels, None)
        self._values.pop(labels, None)

    def samples(self) -> list[str]:
        for labels, function in self._functions.items():
            self._values[labels] = function()
        return super().samples()


class Histogram(Metric):
    kind = "histogram"

    def __init__(
        self, name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = DEFAULT_BUCKETS
    ) -> None:
        super().__init__(name, text, labels)
        self._buckets = tuple(buckets)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def observe(self, value: float, *labels: str) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._buckets) + 1)
            self._sums[labels] = 0.0
        counts[bisect.bisect_left(self._buckets, value)] += 1
        self._sums[labels] += value

    def samples(self) -> list[str]:
        lines: list[str] = []
        for labels, counts in self._counts.items():
            total = 0
            for bound, count in zip((f"{b:g}" for b in self._buckets), counts, strict=False):
                total += count
                lines.append(f"{self.name}_bucket{self._labelled(labels, ('le', bound))} {total}")
            total += counts[-1]
            lines.append(f"{self.name}_bucket{self._labelled(labels, ('le', '+Inf'))} {total}")
            lines.append(f"{self.name}_sum{self._labelled(labels)} {self._sums[labels]:g}")
            lines.append(f"{self.name}_count{self._labelled(labels)} {total}")
        return lines


def exposition() -> str:
    """Everything registered in this process, in Prometheus' text format 0.0.4."""
    lines: list[str] = []
    for metric in _METRICS:
        lines += [f"# HELP {metric.name} {metric.text}", f"# TYPE {metric.name} {metric.kind}", *metric.samples()]
    return "\n".join(lines) + "\n"
