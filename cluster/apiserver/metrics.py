"""
What /metrics tells, in Prometheus text form, under upstream's names.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping

from cluster.apiserver.router import Route

_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
Labels = tuple[str, str, str, str, str]


class Durations:
    """A histogram."""

    __slots__ = ("buckets", "sum")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BUCKETS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(_BUCKETS, seconds)] += 1
        self.sum += seconds


class RequestMetrics:
    """Counts requests and their durations. Watches are counted and not timed."""

    def __init__(self, gauges: Mapping[str, float] | None = None) -> None:
        """`gauges`: more values to tell, by name with labels; read anew each time."""
        self._more = {} if gauges is None else gauges
        self._totals: dict[tuple[Labels, int], int] = defaultdict(int)
        self._durations: dict[Labels, Durations] = {}
        self.gauges: dict[str, float] = {}
        self.others: list[Callable[[], list[str]]] = []
        """Lines about what is counted elsewhere."""
        self.figures: Callable[[], Mapping[str, float]] | None = None
        """More counters, asked when they are shown."""
        self.lines: list[Callable[[], list[str]]] = []
        """More text, in the same form, asked when it is shown."""

    def count(self, found: Route, status: int, seconds: float) -> None:
        labels = (found.verb.upper(), found.group, found.version, found.resource, found.subresource)
        self._totals[labels, status] += 1
        if found.verb != "watch":
            self.durations(labels).add(seconds)

    def durations(self, labels: Labels) -> "Durations":
        known = self._durations.get(labels)
        if known is None:
            known = self._durations[labels] = Durations()
        return known

    def counter(self, found: Route, status: int) -> Callable[[float], None]:
        """`count` for many requests of one kind, without finding the series each time."""
        labels = (found.verb.upper(), found.group, found.version, found.resource, found.subresource)
        key, totals, add = (labels, status), self._totals, self.durations(labels).add

        def count(seconds: float) -> None:
            totals[key] += 1
            add(seconds)

        return count

    def render(self) -> str:
        lines = ["# TYPE apiserver_request_total counter"]
        for (labels, status), total in self._totals.items():
            lines.append(f'apiserver_request_total{{{_shown(labels)},code="{status}"}} {total}')
        lines.append("# TYPE apiserver_request_duration_seconds histogram")
        for labels, durations in self._durations.items():
            shown, running = _shown(labels), 0
            for bound, number in zip((*map(str, _BUCKETS), "+Inf"), durations.buckets, strict=True):
                running += number
                lines.append(f'apiserver_request_duration_seconds_bucket{{{shown},le="{bound}"}} {running}')
            lines.append(f"apiserver_request_duration_seconds_sum{{{shown}}} {durations.sum:.6f}")
            lines.append(f"apiserver_request_duration_seconds_count{{{shown}}} {running}")
        for other in self.others:
            lines += other()
        import psutil  # start-up shall not wait for it

        process = psutil.Process()
        times = process.cpu_times()
        gauges = {
            **self.gauges,
            **dict(sorted(self._more.items())),
            "process_resident_memory_bytes": process.memory_info().rss,
            "process_start_time_seconds": process.create_time(),
            "process_open_fds": process.num_fds(),
        }
        told = ""
        for name, value in (self.figures() if self.figures is not None else {}).items():
            lines += [f"# TYPE {name} counter", f"{name} {value:g}"]
        for name, value in gauges.items():
            bare = name.partition("{")[0]
            lines += [f"{name} {value}"] if bare == told else [f"# TYPE {bare} gauge", f"{name} {value}"]
            told = bare
        lines += ["# TYPE process_cpu_seconds_total counter", f"process_cpu_seconds_total {times.user + times.system}"]
        for more in self.lines:
            lines += more()
        return "\n".join(lines) + "\n"


def _shown(labels: Labels) -> str:
    names = ("verb", "group", "version", "resource", "subresource")
    return ",".join(f'{name}="{value}"' for name, value in zip(names, labels, strict=True))
