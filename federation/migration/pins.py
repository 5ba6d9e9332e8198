"""
Policies that a migration writes: the named objects in the named clusters. Workloads and the rest have one each, because
replicas are handed over, and everything else is simply in both places for a while. Pure.
"""

from collections.abc import Collection, Iterable, Sequence

from cluster.api.resources import Resource
from cluster.machinery.objects import Object, copy_object
from federation.api.kinds import VERSION
from federation.api.refs import Ref
from federation.api.resources import CLUSTER_PROPAGATION_POLICIES, PROPAGATION_POLICIES
from federation.placement.policies import DEFAULT_POLICY, policy_for, propagation_policy_of

MIGRATION = "federation.hanse.io/migration"
"""Label: the application that a policy is of; all its policies move together."""
_MAX_NAME = 63
_PROBE = "hanse-migration-"


def application_name(first: Ref) -> str:
    return f"{first.kind.lower()}-{first.name}"[:_MAX_NAME].rstrip("-.")


def pin(
    name: str, application: str, namespace: str, selectors: Sequence[Object], clusters: Collection[str], priority: int
) -> Object:
    """
    A PropagationPolicy; without a namespace, for objects that have none, a ClusterPropagationPolicy.

    `selectors` as `selector_for` makes them.
    """
    metadata = {"name": name, "namespace": namespace, "labels": {MIGRATION: application}}
    if not namespace:
        del metadata["namespace"]
    return {
        "apiVersion": VERSION,
        "kind": "PropagationPolicy" if namespace else "ClusterPropagationPolicy",
        "metadata": metadata,
        "spec": {
            "resourceSelectors": list(selectors),
            "placement": {"clusterAffinity": {"clusterNames": sorted(clusters)}},
            "priority": priority,
        },
    }


def selector_for(template: Object) -> Object:
    return {"apiVersion": template["apiVersion"], "kind": template["kind"], "name": template["metadata"]["name"]}


def selectors_of(policy: Object | None) -> list[Object]:
    found: list[Object] = (policy or {}).get("spec", {}).get("resourceSelectors") or []
    return found


def is_pin(policy: Object) -> bool:
    return MIGRATION in (policy["metadata"].get("labels") or {})


def policy_resource(policy: Object) -> Resource:
    return PROPAGATION_POLICIES if policy["metadata"].get("namespace") else CLUSTER_PROPAGATION_POLICIES


def title_of(policy: Object) -> str:
    """`PropagationPolicy shop/web`, `ClusterPropagationPolicy roles`."""
    metadata = policy["metadata"]
    namespace = metadata.get("namespace")
    return f"{policy_resource(policy).kind} {f'{namespace}/' if namespace else ''}{metadata['name']}"


def clusters_of(policy: Object) -> list[str]:
    affinity = ((policy["spec"].get("placement") or {}).get("clusterAffinity")) or {}
    return list(affinity.get("clusterNames") or ())


def priority_over(templates: Iterable[Object], policies: Sequence[Object]) -> int:
    """So high that no policy that is there has the word for any of these."""
    parsed = [propagation_policy_of(one) for one in policies if not is_pin(one)]
    deciding = [policy_for(template, parsed) for template in templates]
    return max((one.priority + 1 for one in deciding if one is not DEFAULT_POLICY), default=0)


def moved(policy: Object, source: str, target: str, *, both: bool) -> Object:
    """
    A policy with its clusters named anew: the target for the source, or `both` for as long as that takes.

    Weights of the source become those of the target.
    """
    wanted = copy_object(policy)
    placement = wanted["spec"].setdefault("placement", {})
    left = {one for one in clusters_of(policy) if both or one != source}
    placement.pop("clusterAffinities", None)
    placement["clusterAffinity"] = {"clusterNames": sorted({*left, target})}
    for weight in (placement.get("replicaScheduling") or {}).get("weights") or ():
        names = (weight.get("clusters") or {}).get("clusterNames")
        if names and source in names:
            weight["clusters"]["clusterNames"] = sorted({target if one == source else one for one in names})
    return wanted


def derived(policy: Object | None, name: str, application: str, template: Object, clusters: Collection[str]) -> Object:
    """A policy for one object that says what the one in force says of everything but the clusters."""
    namespace = template["metadata"]["namespace"]
    given = copy_object(policy["spec"]) if policy is not None else {}
    made = pin(name, application, namespace, [selector_for(template)], clusters, int(given.get("priority") or 0) + 1)
    placement = {k: v for k, v in (given.get("placement") or {}).items() if k != "clusterAffinities"}
    placement["clusterAffinity"] = made["spec"]["placement"]["clusterAffinity"]
    return {**made, "spec": {**given, **made["spec"], "placement": placement}}


def probe_of(namespace: str, application: str) -> Object:
    """A ConfigMap that nobody needs: where it is put tells whether a policy is in force."""
    metadata = {"name": f"{_PROBE}{application}", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def is_probe(selector: Object) -> bool:
    """Of a policy that a killed migration left behind."""
    return selector["kind"] == "ConfigMap" and str(selector.get("name")).startswith(_PROBE)
