"""
Where an object lies in etcd: upstream's key layout, so that a store can be read, audited and adopted by others.

Pure. Source: Kubernetes, pkg/kubeapiserver/default_storage_factory_builder.go.
"""

import functools

from cluster.api.resources import ALL, Resource

PREFIX = "/registry/"

# Built-in resources whose place is not their plural name.
_PLACES = {
    "replicationcontrollers": "controllers",
    "endpoints": "services/endpoints",
    "nodes": "minions",
    "services": "services/specs",
    "ingresses.networking.k8s.io": "ingress",
    "customresourcedefinitions.apiextensions.k8s.io": "apiextensions.k8s.io/customresourcedefinitions",
    "apiservices.apiregistration.k8s.io": "apiregistration.k8s.io/apiservices",
    # Two names for the same objects.
    "events.events.k8s.io": "events",
}


def place(resource: Resource, *, custom: bool = False) -> str:
    """`pods`, `services/specs`, `example.com/ships`: one place holds one kind of object, whatever the API version."""
    if custom:
        return f"{resource.group}/{resource.plural}"
    return _PLACES.get(resource.qualified, resource.plural)


def object_key(place_name: str, namespace: str, name: str) -> str:
    return f"{PREFIX}{place_name}/{namespace}/{name}" if namespace else f"{PREFIX}{place_name}/{name}"


def collection_prefix(place_name: str, namespace: str = "") -> str:
    return f"{PREFIX}{place_name}/{namespace}/" if namespace else f"{PREFIX}{place_name}/"


@functools.cache
def kind_of_place(place_name: str) -> tuple[str, str]:
    """(plural, group) of what is stored there: `ingress` -> ("ingresses", "networking.k8s.io")."""
    if place_name == "events":
        return "events", ""  # served by two groups, stored as the older one's
    for resource in ALL:
        if place(resource) == place_name:
            return resource.plural, resource.group
    group, _, plural = place_name.rpartition("/")
    return plural, group
