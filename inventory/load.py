"""
An inventory file -> ClusterSpec, or every fault of it at once with line, column and a suggestion.

Called by   inventory.sources.static_file and the command line.
Not here    parsing (yaml_tree.py), which fields there are (fields.py), whether they fit together (validate.py).
"""

import dataclasses
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from inventory import fields, topology
from inventory.faults import DescriptionError, Fault, Path, did_you_mean
from inventory.fields import Field
from inventory.model import (
    ClusterSpec,
    ControlPlaneSettings,
    EtcdSettings,
    FederationSettings,
    HostSpec,
    NetworkSettings,
    PodNetwork,
    Provider,
    Role,
    SshSettings,
)
from inventory.validate import validate
from inventory.yaml_tree import parse

_NO_ROLES = "hosts of a federation do all the same; leave it out"
_KIND_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "address": "an IP address",
    "network": "a network such as 10.0.0.0/16",
    "words": "a list of words",
    "labels": "a mapping of text to text",
    "section": "a mapping",
    "sections": "a list of mappings",
}


def load_cluster(
    text: str,
    source: str,
    *,
    name: str = "",
    masters: int | None = None,
    etcd_members: int | None = None,
    federation: FederationSettings | None = None,
) -> ClusterSpec:
    """
    Read a description.

    Args:
        text: YAML.
        source: Shown before each fault, e.g. the file's name.
        name: The cluster's name when it differs from the file's.
        masters: Number of masters, where hosts do not say their roles.
        etcd_members: Number of etcd members, likewise.
        federation: Says that the hosts become a federation's control plane; they have no roles to say then.

    Raises:
        DescriptionError: naming every fault.
    """
    document = parse(text)
    checker = _Checker()
    given = checker.section(document.value, fields.CLUSTER, ()) if not document.faults else {}
    faults = [*document.faults, *checker.faults]
    spec = None
    if not faults:
        spec = _build(given, name)
        if federation:
            faults += [Fault(("hosts", n, "roles"), _NO_ROLES) for n, host in enumerate(spec.hosts) if host.roles]
            spec = topology.with_federation_roles(dataclasses.replace(spec, federation=federation))
            faults += validate(spec)
        else:
            faults += topology.override_faults(len(spec.hosts), masters, etcd_members)
        if not faults and not federation:
            spec = topology.with_default_roles(spec, masters=masters, etcd_members=etcd_members)
            faults += validate(spec)
    if faults:
        placed = [
            f if f.line else dataclasses.replace(f, line=p[0], column=p[1])
            for f in faults
            for p in [document.place(f.path)]
        ]
        raise DescriptionError(source, sorted(placed, key=lambda fault: (fault.line, fault.column)))
    assert spec is not None  # noqa: S101 - no fault means it was built
    return spec


class _Checker:
    """Checks parsed values against the table of fields and fills in defaults; keeps every fault."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def section(self, value: Any, known: Mapping[str, Field], path: Path) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._wrong_kind(value, "section", path)
            return {}
        for key in value:
            if key not in known:
                hint = did_you_mean(key, known) or f"; known are {', '.join(known)}"
                self.faults.append(Fault((*path, key), f"unknown key{hint}"))
        checked: dict[str, Any] = {}
        for key, field in known.items():
            if value.get(key) is not None:
                checked[key] = self._value(value[key], field, (*path, key))
            elif field.required:
                self.faults.append(Fault(path, f'"{key}" is missing: {field.meaning}'))
        return checked

    def _value(self, value: Any, field: Field, path: Path) -> Any:
        if field.kind == "section":
            return self.section(value, field.section or {}, path)
        if field.kind == "sections":
            if not isinstance(value, list) or not value:
                self._wrong_kind(value, field.kind, path)
                return []
            return [self.section(item, field.section or {}, (*path, number)) for number, item in enumerate(value)]
        if field.kind == "words":
            return self._words(value, field, path)
        if field.kind == "labels":
            return self._labels(value, path)
        return self._plain(value, field, path)

    def _plain(self, value: Any, field: Field, path: Path) -> Any:
        if field.kind == "boolean":
            return value if isinstance(value, bool) else self._wrong_kind(value, field.kind, path)
        if field.kind == "integer":
            if not isinstance(value, int) or isinstance(value, bool):
                return self._wrong_kind(value, field.kind, path)
            if (field.minimum is not None and value < field.minimum) or (
                field.maximum is not None and value > field.maximum
            ):
                self.faults.append(Fault(path, f"{value} is not between {field.minimum} and {field.maximum}"))
            return value
        if field.kind == "string" and isinstance(value, float) and field.choices:
            value = f"{value:g}"  # 1.36 without quotes
        if not isinstance(value, str):
            return self._wrong_kind(value, field.kind, path)
        self._text(value, field, path)
        return value

    def _text(self, value: str, field: Field, path: Path) -> None:
        if field.kind == "address":
            try:
                ipaddress.ip_address(value)
            except ValueError:
                self.faults.append(Fault(path, f'"{value}" is not an IP address'))
        elif field.kind == "network":
            try:
                ipaddress.ip_network(value)
            except ValueError as error:
                self.faults.append(Fault(path, f'"{value}" is not a network: {error}'))
        elif field.choices and value not in field.choices:
            hint = did_you_mean(value, field.choices) or f"; allowed are {', '.join(field.choices)}"
            self.faults.append(Fault(path, f'"{value}" is not known{hint}'))
        elif field.pattern and not re.fullmatch(field.pattern, value):
            self.faults.append(Fault(path, f'"{value}" is not allowed; it must match {field.pattern}'))

    def _words(self, value: Any, field: Field, path: Path) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            self._wrong_kind(value, field.kind, path)
            return []
        for number, word in enumerate(value):
            self._text(word, dataclasses.replace(field, kind="string"), (*path, number))
        return value

    def _labels(self, value: Any, path: Path) -> dict[str, str]:
        if not isinstance(value, dict):
            self._wrong_kind(value, "labels", path)
            return {}
        for key, text in value.items():
            if not isinstance(text, str):
                self.faults.append(Fault((*path, key), f"{text!r} is not text; put it in quotes"))
        return value

    def _wrong_kind(self, value: Any, kind: str, path: Path) -> None:
        shown = (
            "nothing"
            if value is None
            else repr(value)
            if not isinstance(value, dict | list)
            else "a list"
            if isinstance(value, list)
            else "a mapping"
        )
        self.faults.append(Fault(path, f"{shown} is not {_KIND_WORDS[kind]}"))


def _build(given: Mapping[str, Any], name: str) -> ClusterSpec:
    network = dict(given.get("network", {}))
    if "pod_network" in network:
        network["pod_network"] = PodNetwork(network["pod_network"])
    control_plane = dict(given.get("control_plane", {}))
    if "extra_names" in control_plane:
        control_plane["extra_names"] = tuple(control_plane["extra_names"])
    ssh = given.get("ssh", {})
    return ClusterSpec(
        name=name or given.get("name", "dev"),
        hosts=tuple(_build_host(host, ssh) for host in given["hosts"]),
        provider=Provider.STATIC,
        kubernetes_version=given.get("kubernetes_version", "1.36"),
        etcd=EtcdSettings(**given.get("etcd", {})),
        network=NetworkSettings(**network),
        control_plane=ControlPlaneSettings(**control_plane),
    )


def _build_host(given: Mapping[str, Any], ssh: Mapping[str, Any]) -> HostSpec:
    roles = frozenset(Role.CONTROL_PLANE if role == "master" else Role(role) for role in given.get("roles", []))
    return HostSpec(
        name=given["name"],
        address=given["address"],
        roles=roles,
        ssh=SshSettings(**{**ssh, **given.get("ssh", {})}),
        labels=given.get("labels", {}),
        taints=tuple(given.get("taints", [])),
        interface=given.get("interface", ""),
    )
