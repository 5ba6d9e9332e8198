"""A fake of the apiserver's ObjectReader and ObjectWriter: objects in a dictionary, versions that grow."""

from collections.abc import Sequence

from cluster.api.resources import Resource, by_kind
from cluster.machinery.objects import Object, copy_object, key_of
from cluster.machinery.status_errors import already_exists, conflict, not_found


class FakeObjects:
    """
    Satisfies ObjectReader and ObjectWriter.

    `late` objects are seen by `get_current` alone, as those that the watch cache does not have yet.
    """

    def __init__(self, *objects: Object) -> None:
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._versions: dict[str, int] = {}
        self._revision = 0
        self.late: dict[tuple[str, str, str], Object] = {}
        self.writes: list[tuple[str, str]] = []
        self.put(*objects)

    def put(self, *objects: Object) -> None:
        """Store objects; their uid is `uid-NAME` unless they have one."""
        for given in objects:
            resource = by_kind(given["apiVersion"], given["kind"])
            assert resource is not None, f"{given['apiVersion']} {given['kind']} is not served"
            self._store(resource, copy_object(given))

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        del self._objects[resource.qualified, namespace, name]
        self._touch(resource)

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return self._objects.get((resource.qualified, namespace, name))

    def list(self, resource: Resource, namespace: str = "") -> Sequence[Object]:
        return [
            obj
            for (kind, where, _), obj in self._objects.items()
            if kind == resource.qualified and (not namespace or where == namespace)
        ]

    def version(self, resource: Resource) -> int:
        return self._versions.get(resource.qualified, 0)

    async def get_current(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return self._stored(resource, namespace, name)

    async def create(self, resource: Resource, obj: Object) -> Object:
        namespace, name = key_of(obj)
        # Looked up and stored without a pause between, as a transaction would.
        if self._stored(resource, namespace, name) is not None:
            raise already_exists(resource.group, resource.plural, name)
        self.writes.append(("create", f"{resource.qualified}/{key_of(obj)}"))
        return self._store(resource, copy_object(obj))

    async def update(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        namespace, name = key_of(obj)
        present = self._stored(resource, namespace, name)
        if present is None:
            raise not_found(resource.group, resource.plural, name)
        wanted = obj["metadata"].get("resourceVersion")
        if wanted and wanted != present["metadata"]["resourceVersion"]:
            raise conflict(resource.group, resource.plural, name, "the object has been modified")
        self.writes.append(("update", f"{resource.qualified}/{key_of(obj)}"))
        return self._store(resource, copy_object(obj))

    def _stored(self, resource: Resource, namespace: str, name: str) -> Object | None:
        key = (resource.qualified, namespace, name)
        return self.late.get(key) or self._objects.get(key)

    def _store(self, resource: Resource, obj: Object) -> Object:
        self._revision += 1
        metadata = obj["metadata"]
        metadata.setdefault("uid", f"uid-{metadata['name']}")
        metadata["resourceVersion"] = str(self._revision)
        namespace, name = key_of(obj)
        self._objects[resource.qualified, namespace, name] = obj
        self._touch(resource)
        return obj

    def _touch(self, resource: Resource) -> None:
        self._versions[resource.qualified] = self.version(resource) + 1
