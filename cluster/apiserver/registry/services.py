"""
Services: cluster addresses and node ports that are unique over all apiservers, and what a change of type entails.

An address is taken by creating its IPAddress object, a port by creating a key of its own: the store decides who is
first. Source of the rules: k8s.io/kubernetes, pkg/registry/core/service/storage/alloc.go and strategy.go.
"""

import ipaddress
import random
from collections.abc import Awaitable, Callable, Iterator

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.apiserver.registry.strategy import Strategy, Undo
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import AlreadyExists, ApiError, InternalError, invalid
from cluster.store.object_store import ObjectStore

IP_ADDRESSES = resources.named("ipaddresses.networking.k8s.io")
NODE_PORTS_PLACE = "hanse/nodeports"
_MANAGED_BY = "ipallocator.k8s.io"
_TRIES = 64
_EXTERNAL_ONLY = ("externalTrafficPolicy", "allocateLoadBalancerNodePorts", "healthCheckNodePort", "loadBalancerClass")

CreateObject = Callable[[Resource, Object], Awaitable[Object]]
DeleteObject = Callable[[Resource, str, str], Awaitable[bool]]


def needs_address(spec: Object) -> bool:
    return spec.get("type", "ClusterIP") != "ExternalName" and spec.get("clusterIP") != "None"


def needs_health_port(spec: Object) -> bool:
    """Where load balancers ask whether a node has endpoints of the Service."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def held_ports(spec: Object) -> set[int]:
    """Every port of the node range that a Service has."""
    ports = [*(port.get("nodePort") for port in spec.get("ports") or []), spec.get("healthCheckNodePort")]
    return {int(port) for port in ports if port}


def needs_node_ports(spec: Object) -> bool:
    kind = spec.get("type")
    return kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False)


class Allocator:
    """Takes and gives back addresses and ports."""

    def __init__(
        self, store: ObjectStore, create: CreateObject, delete: DeleteObject, cidr: str, ports: tuple[int, int]
    ) -> None:
        self._store = store
        self._create = create
        self._delete = delete
        self.network = ipaddress.ip_network(cidr)
        self._ports = ports

    async def take_address(self, wanted: str, namespace: str, name: str) -> str:
        """`wanted`, or any free one when empty. Raises Invalid, InternalError when none is free."""
        if wanted:
            try:
                inside = ipaddress.ip_address(wanted) in self.network
            except ValueError:
                inside = False
            if not inside:
                why = f"failed to allocate IP {wanted}: the provided network does not match the current range"
                raise _bad_address(name, wanted, why)
            if not await self._reserve(wanted, namespace, name):
                raise _bad_address(name, wanted, f"failed to allocate IP {wanted}: provided IP is already allocated")
            return wanted
        for address in self._candidates():
            if await self._reserve(address, namespace, name):
                return address
        raise InternalError("failed to allocate a serviceIP: range is full")

    def _candidates(self) -> Iterator[str]:
        """Random ones above the band that is left to fixed addresses, then every one."""
        size = self.network.num_addresses
        band = min(max(16, size // 16), 256) if size > 32 else 1
        first = int(self.network.network_address)
        for _ in range(_TRIES):
            yield str(ipaddress.ip_address(first + random.randint(band, size - 2)))  # noqa: S311
        for offset in range(size - 2, 0, -1):
            yield str(ipaddress.ip_address(first + offset))

    async def _reserve(self, address: str, namespace: str, name: str) -> bool:
        family = "IPv6" if ":" in address else "IPv4"
        obj: Object = {
            "kind": "IPAddress",
            "apiVersion": "networking.k8s.io/v1",
            "metadata": {
                "name": address,
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": family,
                    "ipaddress.kubernetes.io/managed-by": _MANAGED_BY,
                },
            },
            "spec": {"parentRef": {"group": "", "resource": "services", "namespace": namespace, "name": name}},
        }
        try:
            await self._create(IP_ADDRESSES, obj)
        except AlreadyExists:
            return False
        return True

    async def free_address(self, address: str) -> None:
        await self._delete(IP_ADDRESSES, "", address)

    async def take_port(self, wanted: int, name: str) -> int:
        """Raises Invalid, InternalError."""
        first, last = self._ports
        if wanted:
            if not first <= wanted <= last:
                why = f"provided port is not in the valid range. The range of valid ports is {first}-{last}"
                raise _bad_port(name, wanted, why)
            if not await self._store.reserve(NODE_PORTS_PLACE, str(wanted), name):
                raise _bad_port(name, wanted, "provided port is already allocated")
            return wanted
        tries = [random.randint(first, last) for _ in range(_TRIES)]  # noqa: S311
        for port in [*tries, *range(first, last + 1)]:
            if await self._store.reserve(NODE_PORTS_PLACE, str(port), name):
                return int(port)
        raise InternalError("failed to allocate a nodePort: range is full")

    async def free_port(self, port: int) -> None:
        await self._store.release(NODE_PORTS_PLACE, str(port))


def _bad_address(name: str, address: str, why: str) -> ApiError:
    causes = [("FieldValueInvalid", f'Invalid value: ["{address}"]: {why}', "spec.clusterIPs")]
    return invalid("", "Service", name, causes)


def _bad_port(name: str, port: int, why: str) -> ApiError:
    return invalid(
        "", "Service", name, [("FieldValueInvalid", f"Invalid value: {port}: {why}", "spec.ports[0].nodePort")]
    )


class ServiceStrategy(Strategy):
    returns_deleted = True
    allocator: Allocator | None = None

    def reset_for_update(self, new: Object, old: Object, subresource: str) -> None:
        super().reset_for_update(new, old, subresource)
        if subresource:
            return
        _carry_over(new.setdefault("spec", {}), old.get("spec") or {})

    def prepare_for_update(self, new: Object, old: Object, subresource: str) -> None:
        super().prepare_for_update(new, old, subresource)
        if subresource:
            return
        if self.allocator is not None:
            require_single_stack(new, self.allocator.network.version)
        # After the client's fields are recorded as its own: those that the type drops stay recorded.
        _drop_for_type(new["spec"], old.get("spec") or {})

    async def begin_create(self, obj: Object, *, dry_run: bool) -> Undo | None:
        if self.allocator is not None:
            require_single_stack(obj, self.allocator.network.version)
        return await self._allocate(obj, {}, dry_run=dry_run)

    async def begin_update(self, new: Object, old: Object, *, dry_run: bool) -> Undo | None:
        return await self._allocate(new, old.get("spec") or {}, dry_run=dry_run)

    async def after_update(self, new: Object, old: Object) -> None:
        await self._free(old.get("spec") or {}, new.get("spec") or {})

    async def after_delete(self, obj: Object) -> None:
        await self._free(obj.get("spec") or {}, {})

    async def _allocate(self, obj: Object, before: Object, *, dry_run: bool) -> Undo | None:
        """Fill in what is missing in `obj`; what `before` has is ours already."""
        allocator = self.allocator
        if allocator is None or dry_run:
            return None
        taken: list[Callable[[], Awaitable[None]]] = []

        async def undo() -> None:
            for free in taken:
                await free()

        try:
            await self._fill(allocator, obj, before, taken)
        except BaseException:
            await undo()
            raise
        return undo

    async def _fill(
        self, allocator: Allocator, obj: Object, before: Object, taken: list[Callable[[], Awaitable[None]]]
    ) -> None:
        metadata, spec = obj["metadata"], obj.setdefault("spec", {})
        family = "IPv6" if allocator.network.version == 6 else "IPv4"
        if spec.get("clusterIP") == "None" and spec.get("type", "ClusterIP") != "ExternalName":
            spec["clusterIPs"] = ["None"]
            if not spec.get("ipFamilies"):
                both = not spec.get("selector")
                spec["ipFamilies"] = [family, "IPv4" if family == "IPv6" else "IPv6"] if both else [family]
                spec.setdefault("ipFamilyPolicy", "RequireDualStack" if both else "SingleStack")
        elif needs_address(spec):
            wanted = spec.get("clusterIP") or (spec.get("clusterIPs") or [""])[0]
            if not wanted or wanted != before.get("clusterIP"):
                address = await allocator.take_address(wanted, metadata["namespace"], metadata["name"])
                taken.append(lambda: allocator.free_address(address))
                spec["clusterIP"] = address
            spec["clusterIPs"] = [spec["clusterIP"]]
            spec.setdefault("ipFamilies", [family])
            spec.setdefault("ipFamilyPolicy", "SingleStack")
        wanted_port = spec.get("healthCheckNodePort") or 0
        if needs_health_port(spec) and (not wanted_port or wanted_port != before.get("healthCheckNodePort")):
            number = await allocator.take_port(wanted_port, metadata["name"])
            taken.append(lambda number=number: allocator.free_port(number))  # type: ignore[misc]
            spec["healthCheckNodePort"] = number
        if not needs_node_ports(spec):
            return
        ours = {port.get("nodePort") for port in before.get("ports") or []} - {None, 0}
        for port in spec.get("ports") or []:
            wanted_port = port.get("nodePort") or 0
            if wanted_port in ours:
                continue
            number = await allocator.take_port(wanted_port, metadata["name"])
            taken.append(lambda number=number: allocator.free_port(number))  # type: ignore[misc]
            ours.add(number)
            port["nodePort"] = number

    async def _free(self, before: Object, now: Object) -> None:
        if self.allocator is None:
            return
        address = before.get("clusterIP")
        if address and address != "None" and address != now.get("clusterIP"):
            await self.allocator.free_address(address)
        for number in held_ports(before) - held_ports(now):
            await self.allocator.free_port(number)


def require_single_stack(service: Object, version: int) -> None:
    """The service network has one family; only who has neither address nor Pods may name two. Raises Invalid."""
    spec = service.get("spec") or {}
    causes: list[tuple[str, str, str]] = []
    if not needs_address(spec) and (spec.get("type") == "ExternalName" or not spec.get("selector")):
        return
    if spec.get("ipFamilyPolicy") == "RequireDualStack":
        why = 'Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'
        causes.append(("FieldValueInvalid", why, "spec.ipFamilyPolicy"))
    for at, family in enumerate(spec.get("ipFamilies") or []):
        if family != f"IPv{version}":
            why = f'Invalid value: "{family}": not configured on this cluster'
            causes.append(("FieldValueInvalid", why, f"spec.ipFamilies[{at}]"))
    if causes:
        raise invalid("", "Service", service["metadata"]["name"], causes)


def _carry_over(spec: Object, before: Object) -> None:
    """An update that does not name what was allocated means to keep it."""
    if needs_address(spec) and needs_address(before):
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if not spec.get(name) and before.get(name):
                spec[name] = before[name]
    if needs_node_ports(spec) and needs_node_ports(before):
        known = {(p.get("protocol"), p.get("port")): p.get("nodePort") for p in before.get("ports") or []}
        for port in spec.get("ports") or []:
            number = known.get((port.get("protocol"), port.get("port")))
            if number and not port.get("nodePort"):
                port["nodePort"] = number
    if before.get("healthCheckNodePort") and spec.get("externalTrafficPolicy") == "Local":
        spec.setdefault("healthCheckNodePort", before["healthCheckNodePort"])


def _drop_for_type(spec: Object, before: Object) -> None:
    """What the new type has no use for goes, unless the client has just set it."""
    if spec.get("type") == "ExternalName" and before.get("type") != "ExternalName":
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if name == "internalTrafficPolicy" or spec.get(name) in (None, "", before.get(name)):
                spec.pop(name, None)
    if needs_node_ports(before) and not needs_node_ports(spec):
        old = {port.get("nodePort") for port in before.get("ports") or []}
        for port in spec.get("ports") or []:
            if port.get("nodePort") in old:
                port.pop("nodePort", None)
    asked = spec.get("healthCheckNodePort")
    if needs_health_port(before) and not needs_health_port(spec) and asked == before.get("healthCheckNodePort"):
        spec.pop("healthCheckNodePort", None)
    if spec.get("type") not in ("NodePort", "LoadBalancer"):
        for name in _EXTERNAL_ONLY:
            if spec.get(name) == before.get(name):
                spec.pop(name, None)
    elif spec.get("type") != "LoadBalancer":
        for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(name) == before.get(name):
                spec.pop(name, None)
