"""Brings one member to what shall be imported into it. Writes what differs and nothing else."""

from typing import Any

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import NotFound
from federation.multicluster.imported import Imported
from federation.multicluster.kinds import CLUSTER_LABEL, IMPORTS, derived_name
from federation.multicluster.member import MulticlusterMember

MANAGER = "federation-imports"


async def bring(member: MulticlusterMember, key: Key, wanted: Imported, *, keep: set[str]) -> bool:
    """
    Endpoints come before the import, so that nobody finds a name without any.

    Args:
        keep: clusters of which nothing is known just now: what they had given stays.

    Returns False when the member does not have the namespace: nothing is imported there. Raises ApiError.
    """
    addresses: list[str] = []
    try:
        if wanted.service is not None:
            service = await _put(member, resources.SERVICES, wanted.service, member.derived.get(key_of(wanted.service)))
            addresses = service["spec"].get("clusterIPs") or [service["spec"]["clusterIP"]]
        for each in wanted.slices:
            await _put(member, resources.ENDPOINT_SLICES, each, member.slices.get(key_of(each)))
        spec = {**wanted.service_import["spec"], **({"ips": addresses[:2]} if addresses else {})}
        metadata = {**wanted.service_import["metadata"], **({"ownerReferences": member.owner} if member.owner else {})}
        body = {**wanted.service_import, "metadata": metadata, "spec": spec}
        made = await _put(member, IMPORTS, body, member.imports.get(key), whole="spec")
    except NotFound:
        return False
    clusters = [{"cluster": name} for name in sorted({*wanted.clusters, *keep & _giving(member, key)})]
    if (made.get("status") or {}).get("clusters") != clusters:
        await member.client.patch(
            IMPORTS, key.name, {"status": {"clusters": clusters}}, namespace=key.namespace, subresource="status"
        )
    names = {key_of(each) for each in wanted.slices}
    for each in member.slices.by_index("import", str(key)):
        if key_of(each) not in names and _cluster_of(each) not in keep:
            await _delete(member, resources.ENDPOINT_SLICES, key_of(each))
    if wanted.service is None:
        await _remove_service(member, key)
    return True


async def clear(member: MulticlusterMember, key: Key) -> None:
    """Nothing is imported under this name any more; the import goes first. Raises ApiError."""
    if member.imports.get(key) is not None:
        await _delete(member, IMPORTS, key)
    for each in member.slices.by_index("import", str(key)):
        await _delete(member, resources.ENDPOINT_SLICES, key_of(each))
    await _remove_service(member, key)


async def _remove_service(member: MulticlusterMember, key: Key) -> None:
    service = Key(key.namespace, derived_name(key))
    if member.derived.get(service) is not None:
        await _delete(member, resources.SERVICES, service)


def _giving(member: MulticlusterMember, key: Key) -> set[str]:
    return {_cluster_of(each) for each in member.slices.by_index("import", str(key))}


def _cluster_of(each: Object) -> str:
    return str((each["metadata"].get("labels") or {}).get(CLUSTER_LABEL) or "")


async def _put(
    member: MulticlusterMember, resource: Resource, wanted: Object, present: Object | None, *, whole: str = ""
) -> Object:
    """The object as it is then. `whole`: a field in which nothing else may stand."""
    if present is not None and contains(present, wanted) and (not whole or _same(present[whole], wanted[whole])):
        return present
    namespace, name = key_of(wanted)
    return await member.client.patch(
        resource, name, wanted, namespace=namespace, patch_type="apply", field_manager=MANAGER, force=True
    )


def _same(one: Object, other: Object) -> bool:
    return one.keys() == other.keys()


def contains(present: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is there; lists have to be the same length."""
    if isinstance(wanted, dict):
        return isinstance(present, dict) and all(contains(present.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        same = isinstance(present, list) and len(present) == len(wanted)
        return same and all(contains(one, other) for one, other in zip(present, wanted, strict=True))
    return bool(present == wanted)


async def _delete(member: MulticlusterMember, resource: Resource, key: Key) -> None:
    try:
        await member.client.delete(resource, key.name, namespace=key.namespace)
    except NotFound:
        return
