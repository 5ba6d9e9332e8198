"""
What /metrics tells, in Prometheus text form, under upstream's names.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping

from cluster.apiserver.router import Route

_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
Labels = tuple[str, str, str, str, str]


class RequestMetrics:
    """Counts requests and their durations. Watches are counted and not timed."""

    def __init__(self, gauges: Mapping[str, float] | None = None) -> None:
        """`gauges`: more values to tell, by name with labels; read anew each time."""
        self._more = {} if gauges is None else gauges
        self._totals: dict[tuple[Labels, int], int] = defaultdict(int)
        self._buckets: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = defaultdict(float)
        self.gauges: dict[str, float] = {}
        self.figures: Callable[[], Mapping[str, float]] | None = None
        """More counters, asked when they are shown."""

    def count(self, found: Route, status: int, seconds: float) -> None:
        labels = (found.verb.upper(), found.group, found.version, found.resource, found.subresource)
        self._totals[labels, status] += 1
        if found.verb == "watch":
            return
        buckets = self._buckets.get(labels)
        if buckets is None:
            buckets = self._buckets[labels] = [0] * (len(_BUCKETS) + 1)
        buckets[bisect_left(_BUCKETS, seconds)] += 1
        self._sums[labels] += seconds

    def render(self) -> str:
        lines = ["# TYPE apiserver_request_total counter"]
        for (labels, status), total in self._totals.items():
            lines.append(f'apiserver_request_total{{{_shown(labels)},code="{status}"}} {total}')
        lines.append("# TYPE apiserver_request_duration_seconds histogram")
        for labels, buckets in self._buckets.items():
            shown, running = _shown(labels), 0
            for bound, number in zip((*map(str, _BUCKETS), "+Inf"), buckets, strict=True):
                running += number
                lines.append(f'apiserver_request_duration_seconds_bucket{{{shown},le="{bound}"}} {running}')
            lines.append(f"apiserver_request_duration_seconds_sum{{{shown}}} {self._sums[labels]:.6f}")
            lines.append(f"apiserver_request_duration_seconds_count{{{shown}}} {running}")
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
        return "\n".join(lines) + "\n"


def _shown(labels: Labels) -> str:
    names = ("verb", "group", "version", "resource", "subresource")
    return ",".join(f'{name}="{value}"' for name, value in zip(names, labels, strict=True))
