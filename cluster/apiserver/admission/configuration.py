"""
What plugins are told by the file of `--admission-control-config-file`: inline, or in a file of their own.

Source: k8s.io/apiserver, pkg/admission/config.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.apiserver.configuration_file import Fields, Reading, read
from cluster.machinery import decode
from cluster.machinery.field_errors import duplicate, required

API_VERSIONS = ("apiserver.config.k8s.io/v1",)


@dataclass(frozen=True, slots=True)
class PluginConfiguration:
    """One plugin's object and the file it is in."""

    fields: Fields
    path: str

    def open(self, kind: str, api_versions: tuple[str, ...]) -> Reading:
        """To read it with. Raises ValueError for an object of another kind."""
        given = self.fields.get("kind"), self.fields.get("apiVersion")
        if given[0] != kind or given[1] not in api_versions:
            raise ValueError(
                f'{self.path}: no kind "{given[0]}" is registered for version "{given[1]}";'
                f" write kind {kind}, apiVersion {api_versions[0]}"
            )
        return Reading(self.path)


Configurations = Mapping[str, PluginConfiguration]
"""By plugin."""


def load(path: str) -> Configurations:
    """{} without a file. Raises OSError, or ValueError with every fault."""
    if not path:
        return {}
    found, reading = read(path, "AdmissionConfiguration", API_VERSIONS)
    reading.known(found, "", ("kind", "apiVersion", "plugins"))
    configurations: dict[str, PluginConfiguration] = {}
    for at, one in reading.objects(found.get("plugins"), "plugins"):
        reading.known(one, at, ("name", "path", "configuration"))
        name = reading.text(one.get("name"), f"{at}.name")
        if not name:
            reading.faults.append(required(f"{at}.name"))
        elif name in configurations:
            reading.faults.append(duplicate(f"{at}.name", name))
        own = reading.text(one.get("path"), f"{at}.path")
        if one.get("configuration") is not None:
            fields = reading.fields(one["configuration"], f"{at}.configuration")
            configurations[name] = PluginConfiguration(fields, f"{path}, {at}.configuration")
        elif own:
            # Relative to the file that names it.
            configurations[name] = _of_file(Path(path).parent / own)
    reading.finish("AdmissionConfiguration")
    return configurations


def _of_file(path: Path) -> PluginConfiguration:
    try:
        found, _ = decode.decode_yaml(path.read_bytes())
    except ValueError as fault:
        raise ValueError(f"{path}: {fault}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no object")
    return PluginConfiguration(found, str(path))
