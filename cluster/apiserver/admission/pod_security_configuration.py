"""
PodSecurity's configuration: which standard namespaces without labels have, and who is exempt.

Source: k8s.io/pod-security-admission, admission/api.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cluster.apiserver.admission.configuration import PluginConfiguration
from cluster.apiserver.configuration_file import Reading
from cluster.machinery.field_errors import duplicate, invalid, required
from cluster.machinery.names import dns_label, dns_subdomain

API_VERSIONS = ("pod-security.admission.config.k8s.io/v1",)
LEVELS = ("privileged", "baseline", "restricted")
MODES = ("enforce", "audit", "warn")
_VERSION = re.compile(r"latest|v1\.(0|[1-9][0-9]*)", re.ASCII)

Policy = tuple[str, str]
"""(level, version)."""


@dataclass(frozen=True, slots=True)
class PodSecuritySettings:
    defaults: dict[str, Policy] = field(default_factory=lambda: dict.fromkeys(MODES, ("privileged", "latest")))
    """By mode."""
    namespaces: frozenset[str] = frozenset()
    usernames: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()


def settings_of(given: PluginConfiguration | None) -> PodSecuritySettings:
    """Raises ValueError with every fault."""
    if given is None:
        return PodSecuritySettings()
    reading = given.open("PodSecurityConfiguration", API_VERSIONS)
    reading.known(given.fields, "", ("kind", "apiVersion", "defaults", "exemptions"))
    defaults = reading.fields(given.fields.get("defaults"), "defaults")
    reading.known(defaults, "defaults", [name for mode in MODES for name in (mode, f"{mode}-version")])
    policies = {}
    for mode in MODES:
        level = reading.text(defaults.get(mode), f"defaults.{mode}", "privileged")
        version = reading.text(defaults.get(f"{mode}-version"), f"defaults.{mode}-version", "latest")
        if level not in LEVELS:
            reading.faults.append(invalid(f"defaults.{mode}", level, f"must be one of {', '.join(LEVELS)}"))
        if not _VERSION.fullmatch(version):
            reading.faults.append(invalid(f"defaults.{mode}-version", version, 'must be "latest" or "v1.x"'))
        policies[mode] = level, version
    exemptions = reading.fields(given.fields.get("exemptions"), "exemptions")
    reading.known(exemptions, "exemptions", ("usernames", "runtimeClasses", "namespaces"))
    settings = PodSecuritySettings(
        policies,
        _names(reading, exemptions.get("namespaces"), "exemptions.namespaces", dns_label),
        _names(reading, exemptions.get("usernames"), "exemptions.usernames", None),
        _names(reading, exemptions.get("runtimeClasses"), "exemptions.runtimeClasses", dns_subdomain),
    )
    reading.finish("PodSecurityConfiguration")
    return settings


def _names(reading: Reading, given: object, path: str, check: Callable[[str], Sequence[str]] | None) -> frozenset[str]:
    names = reading.words(given, path)
    for at, name in enumerate(names):
        if check is None and not name:
            reading.faults.append(required(f"{path}[{at}]"))
        elif check is not None and (wrong := check(name)):
            reading.faults.append(invalid(f"{path}[{at}]", name, ", ".join(wrong)))
        elif name in names[:at]:
            reading.faults.append(duplicate(f"{path}[{at}]", name))
    return frozenset(names)
