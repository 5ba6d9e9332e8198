"""The federation's own resources, for clients; and what a Placement is called."""

import hashlib
import re

from cluster.api.resources import Resource
from federation.api.kinds import definitions

_VERBS = frozenset(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"])
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_MAX_NAME = 253


def _named(plural: str) -> Resource:
    spec = next(one["spec"] for one in definitions() if one["spec"]["names"]["plural"] == plural)
    return Resource(
        group=spec["group"],
        version=spec["versions"][0]["name"],
        plural=plural,
        kind=spec["names"]["kind"],
        namespaced=spec["scope"] == "Namespaced",
        verbs=_VERBS,
    )


CLUSTERS = _named("clusters")
SCALING_SCHEDULES = _named("scalingschedules")
CLUSTER_REMEDIES = _named("clusterremedies")
KIND_RULES = _named("kindrules")
PLACEMENTS = _named("placements")
CLUSTER_PLACEMENTS = _named("clusterplacements")
PROPAGATION_POLICIES = _named("propagationpolicies")
CLUSTER_PROPAGATION_POLICIES = _named("clusterpropagationpolicies")
OVERRIDE_POLICIES = _named("overridepolicies")
CLUSTER_OVERRIDE_POLICIES = _named("clusteroverridepolicies")
DNS_POLICIES = _named("dnspolicies")
CLUSTER_DNS_POLICIES = _named("clusterdnspolicies")
DNS_RECORD_SETS = _named("dnsrecordsets")


def placement_name(group: str, kind: str, name: str) -> str:
    """`deployment.apps-web`, `configmap-web`; hashed where the name is too long or no name for objects of this kind."""
    prefix = f"{kind.lower()}.{group}" if group else kind.lower()
    found = f"{prefix}-{name}"
    if len(found) <= _MAX_NAME and _NAME.fullmatch(found) and not _looks_hashed(name):
        return found
    digest = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    return f"{prefix[:200]}-h.{digest}"


def _looks_hashed(name: str) -> bool:
    return name.startswith("h.")
