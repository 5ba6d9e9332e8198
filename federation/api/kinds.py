"""
The federation's own kinds, as definitions that its apiserver serves like custom resources.

Files hold one definition each. Policies and placements exist in a namespace and cluster-wide; the cluster-wide twin
is made from the namespaced one.
"""

import functools
from pathlib import Path
from typing import Any

import yaml

from cluster.machinery.objects import Object, copy_object

GROUP = "federation.hanse.io"
VERSION = f"{GROUP}/v1beta1"
CLUSTER_VERSION = "federation/v1beta1"
SYSTEM_NAMESPACE = "federation-system"
_TWINS = ("PropagationPolicy", "OverridePolicy", "DNSPolicy", "Placement")


@functools.cache
def definitions() -> tuple[Object, ...]:
    """Every definition, established, in the order of names. Shared; nobody may change them."""
    found: dict[str, Object] = {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a tenth of the time, at the start of every command
    for path in sorted((Path(__file__).parent / "definitions").glob("*.yaml")):
        definition = yaml.load(path.read_text(), Loader=loader)  # noqa: S506
        found[definition["metadata"]["name"]] = definition
    for kind in _TWINS:
        twin = cluster_wide(next(one for one in found.values() if one["spec"]["names"]["kind"] == kind))
        found[twin["metadata"]["name"]] = twin
    return tuple(established(found[name]) for name in sorted(found))


def cluster_wide(definition: Object) -> Object:
    """The same kind, without namespace and called Cluster…"""
    twin: Object = copy_object(definition)
    names: dict[str, Any] = twin["spec"]["names"]
    names["plural"], names["singular"] = f"cluster{names['plural']}", f"cluster{names['singular']}"
    names["kind"], names["listKind"] = f"Cluster{names['kind']}", f"Cluster{names['listKind']}"
    if "shortNames" in names:
        names["shortNames"] = [f"c{name}" for name in names["shortNames"]]
    twin["spec"]["scope"] = "Cluster"
    twin["metadata"]["name"] = f"{names['plural']}.{twin['spec']['group']}"
    return twin


def established(definition: Object) -> Object:
    """As if a server had accepted it."""
    served: Object = copy_object(definition)
    served["spec"].setdefault("conversion", {"strategy": "None"})
    served["metadata"].update({"uid": f"built-in-{definition['metadata']['name']}", "generation": 1})
    conditions = [{"type": kind, "status": "True"} for kind in ("NamesAccepted", "Established")]
    served["status"] = {"acceptedNames": served["spec"]["names"], "conditions": conditions}
    return served
