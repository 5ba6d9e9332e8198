"""What the placer counts, for the controller manager's /metrics."""

from cluster.client.metrics import Counter, Gauge, Histogram

WRITTEN = Counter("federation_placements_written_total", "Writes of Placements' specs.", ("verb",))
PLANNING = Histogram(
    "federation_plan_duration_seconds",
    "Seconds one planning took.",
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25),
)
EVICTIONS = Counter("federation_evictions_total", "Copies that were told to leave a cluster, by reason.", ("reason",))
TOMBSTONES = Gauge("federation_tombstones", "Copies that are to be deleted and are not known to be gone.")
UNPLACED = Gauge("federation_unplaced_replicas", "Replicas that no cluster may have or can hold.")
