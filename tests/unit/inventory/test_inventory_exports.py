"""What others read of a description: Ansible's inventory and the JSON Schema."""

import pathlib

import jsonschema  # type: ignore[import-untyped]  # its stubs are no dependency of ours
import yaml

from inventory.ansible_export import ExportContext, ansible_inventory
from inventory.json_schema import inventory_schema
from inventory.sources.nspawn import local_cluster

ROOT = pathlib.Path(__file__).parents[3]


def exported() -> dict[str, dict[str, object]]:
    spec = local_cluster("dev", 5, "10.89.0.0/24", "/key")
    pki = {"dev-1": {"ca.crt": "/state/pki/ca.crt"}}
    context = ExportContext(release="abc", known_hosts="/known", pki=pki, interfaces={})
    return ansible_inventory(spec, context)["all"]  # type: ignore[no-any-return]


def test_groups_hold_the_hosts_of_each_role() -> None:
    children = exported()["children"]

    assert {group: sorted(members["hosts"]) for group, members in children.items()} == {  # type: ignore[index]
        "etcd": ["dev-1", "dev-2", "dev-3"],
        "control_plane": ["dev-1", "dev-2", "dev-3"],
        "node": ["dev-1", "dev-2", "dev-3", "dev-4", "dev-5"],
    }


def test_secrets_are_named_as_files_and_keys_are_checked() -> None:
    host = exported()["hosts"]["dev-1"]

    assert host["hanse_pki"] == {"ca.crt": "/state/pki/ca.crt"}  # type: ignore[index]
    assert "StrictHostKeyChecking=yes" in host["ansible_ssh_common_args"]  # type: ignore[index]


def test_cluster_variables_name_every_apiserver_and_member() -> None:
    shared = exported()["vars"]["hanse_cluster"]

    assert shared["api_servers"] == [f"https://10.89.0.1{n}:6443" for n in (1, 2, 3)]  # type: ignore[index]
    assert [member["name"] for member in shared["etcd"]] == ["dev-1", "dev-2", "dev-3"]  # type: ignore[index]


def test_every_example_fits_the_schema() -> None:
    schema = inventory_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for path in (ROOT / "inventory" / "examples").glob("*.yaml"):
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)
