"""Defaults of flowcontrol.apiserver.k8s.io."""

from cluster.api.defaults.filling import child, fill_pointer, mappings
from cluster.machinery.objects import Object

SHARES = 30
PRECEDENCE = 1000


def default_flow_schema(schema: Object) -> None:
    spec = child(schema, "spec")
    child(spec, "priorityLevelConfiguration")
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = PRECEDENCE
    child(schema, "status")


def default_priority_level(level: Object) -> None:
    spec = child(level, "spec")
    for exempt in mappings(spec, "exempt"):
        fill_pointer(exempt, "nominalConcurrencyShares", 0)
        fill_pointer(exempt, "lendablePercent", 0)
    if spec.get("type") == "Exempt" and spec.get("exempt") is None:
        spec["exempt"] = {"nominalConcurrencyShares": 0, "lendablePercent": 0}
    for limited in mappings(spec, "limited"):
        fill_pointer(limited, "nominalConcurrencyShares", SHARES)
        fill_pointer(limited, "lendablePercent", 0)
        for queuing in mappings(child(limited, "limitResponse"), "queuing"):
            for key, value in (("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)):
                if not queuing.get(key):
                    queuing[key] = value
    child(level, "status")
