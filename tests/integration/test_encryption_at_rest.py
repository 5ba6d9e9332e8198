"""What etcd holds of Secrets is sealed, keys can be rotated while serving, and a lost key hides only what it sealed."""

import base64
import hashlib
import logging
from pathlib import Path

import pytest

from cluster.store import backend
from tests.integration.conftest import Api, serving

PASSWORD = "correct-horse-battery-staple"


def key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


def write_config(path: Path, *providers: str, resources: str = "[secrets, ships.sea.example]") -> None:
    listed = "\n".join(f"  - {provider}" for provider in providers)
    path.write_text(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"
        f"resources:\n- resources: {resources}\n  providers:\n{listed}\n"
    )


def secretbox(*keys: tuple[str, int]) -> str:
    return f"secretbox: {{keys: [{', '.join(f'{{name: {name}, secret: {key(number)}}}' for name, number in keys)}]}}"


async def stored(api: Api, key_name: str) -> bytes:
    answer = await api.server.etcd.range(f"/registry/{key_name}".encode())
    return bytes(answer.kvs[0].value)


def a_secret(name: str) -> dict[str, object]:
    return {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name}, "stringData": {"password": PASSWORD}}


async def test_secrets_are_sealed_in_etcd_and_plain_for_clients(
    etcd_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    config = tmp_path / "encryption.yaml"
    write_config(config, secretbox(("one", 1)), "identity: {}")
    async with serving(etcd_url, tmp_path, f"--encryption-provider-config={config}") as api:
        core = await api.namespace("sealed")
        assert (await api.call("POST", f"{core}/secrets", a_secret("login")))[0] == 201
        raw = await stored(api, "secrets/sealed/login")
        assert raw.startswith(b"k8s:enc:secretbox:v1:one:")
        # Who rotates keys waits on every server for the file's hash.
        told = f'hash="sha256:{hashlib.sha256(config.read_bytes()).hexdigest()}"'
        assert any(told in line for line in api.server.encryption.lines())
        assert PASSWORD.encode() not in raw
        assert base64.b64encode(PASSWORD.encode()) not in raw
        status, found = await api.call("GET", f"{core}/secrets/login")
        assert (status, base64.b64decode(found["data"]["password"]).decode()) == (200, PASSWORD)
        patch = {"metadata": {"labels": {"a": "b"}}}
        kind = "application/merge-patch+json"
        assert (await api.call("PATCH", f"{core}/secrets/login", patch, kind))[0] == 200
        listed = (await api.call("GET", f"{core}/secrets?labelSelector=a%3Db"))[1]
        assert [item["metadata"]["name"] for item in listed["items"]] == ["login"]
        exact = f"resourceVersionMatch=Exact&resourceVersion={found['metadata']['resourceVersion']}"
        assert len((await api.call("GET", f"{core}/secrets?{exact}"))[1]["items"]) == 1
        # What is not named stays plain.
        plain = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": {"k": "readable"}}
        await api.call("POST", f"{core}/configmaps", plain)
        assert b"readable" in await stored(api, "configmaps/sealed/c")
        assert (await api.call("DELETE", f"{core}/secrets/login"))[0] == 200
    assert PASSWORD not in caplog.text
    assert base64.b64encode(PASSWORD.encode()).decode() not in caplog.text


async def test_keys_are_rotated_while_serving_and_a_no_op_write_seals_anew(etcd_url: str, tmp_path: Path) -> None:
    config = tmp_path / "encryption.yaml"
    write_config(config, secretbox(("one", 1)))
    flags = [f"--encryption-provider-config={config}", "--encryption-provider-config-automatic-reload=true"]
    async with serving(etcd_url, tmp_path, *flags) as api:
        core = await api.namespace("rotated")
        path = f"{core}/secrets/login"
        await api.call("POST", f"{core}/secrets", a_secret("login"))
        write_config(config, secretbox(("one", 1), ("two", 2)))
        api.server.files.look()
        found = (await api.call("GET", path))[1]
        same = (await api.call("PUT", path, found))[1]
        assert same["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]

        write_config(config, secretbox(("two", 2), ("one", 1)))
        api.server.files.look()
        assert (await api.call("PUT", f"{path}?dryRun=All", found))[0] == 200
        assert (await stored(api, "secrets/rotated/login")).startswith(b"k8s:enc:secretbox:v1:one:")
        anew = (await api.call("PUT", path, found))[1]
        assert anew["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]
        assert (await stored(api, "secrets/rotated/login")).startswith(b"k8s:enc:secretbox:v1:two:")
        again = (await api.call("PUT", path, anew))[1]
        assert again["metadata"]["resourceVersion"] == anew["metadata"]["resourceVersion"]

        config.write_text("kind: EncryptionConfiguration\napiVersion: v1\n")
        api.server.files.look()
        assert (await api.call("GET", path))[0] == 200  # a wrong file changes nothing
        await api.call("DELETE", path)


async def test_a_lost_key_hides_what_it_sealed_and_nothing_else(etcd_url: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    write_config(first, secretbox(("old", 1)))
    write_config(second, secretbox(("new", 2)), "identity: {}")
    async with serving(etcd_url, tmp_path / "a", f"--encryption-provider-config={first}") as api:
        core = await api.namespace("lost")
        other = await api.namespace("kept")
        await api.call("POST", f"{core}/secrets", a_secret("login"))
    flags = [f"--encryption-provider-config={second}", "--encryption-provider-config-automatic-reload=true"]
    async with serving(etcd_url, tmp_path / "b", *flags) as api:
        why = (
            'Internal error occurred: unable to transform key "/registry/secrets/lost/login": '
            "no matching key was found for the provided Secretbox transformer"
        )
        for method, path in (
            ("GET", f"{core}/secrets/login"),
            ("GET", f"{core}/secrets"),
            ("GET", "/api/v1/secrets"),
            ("GET", f"{core}/secrets?watch=true"),
            ("DELETE", f"{core}/secrets/login"),
        ):
            status, answer = await api.call(method, path)
            assert (status, answer["message"]) == (500, why), path
        assert (await api.call("POST", f"{core}/secrets", a_secret("login")))[0] == 409
        assert (await api.call("GET", f"{other}/secrets"))[0] == 200
        assert (await api.call("POST", f"{core}/secrets", a_secret("fresh")))[0] == 201
        assert (await api.call("GET", f"{core}/secrets/fresh"))[0] == 200
        assert (await api.call("GET", f"{core}/configmaps"))[0] == 200
        # The key comes back, and with it the object.
        write_config(second, secretbox(("new", 2), ("old", 1)))
        api.server.files.look()
        assert {s["metadata"]["name"] for s in (await api.call("GET", f"{core}/secrets"))[1]["items"]} >= {
            "login", "fresh",
        }  # fmt: skip
        for name in ("login", "fresh"):
            assert (await api.call("DELETE", f"{core}/secrets/{name}"))[0] == 200


async def test_without_configuration_a_sealed_value_is_an_error_of_that_object_alone(
    etcd_url: str, tmp_path: Path
) -> None:
    async with serving(etcd_url, tmp_path) as api:
        core = await api.namespace("unsealed")
        key_name = b"/registry/secrets/unsealed/box"
        await api.server.etcd.txn([], [backend.put(key_name, b"k8s:enc:secretbox:v1:k:xxx")])
        status, answer = await api.call("GET", f"{core}/secrets/box")
        assert status == 500
        assert "identity transformer tried to read encrypted data" in answer["message"]
        assert (await api.call("GET", f"{core}/configmaps"))[0] == 200
        await api.server.etcd.delete(key_name)
        assert (await api.call("GET", f"{core}/secrets"))[0] == 200


async def test_custom_resources_are_sealed_too(etcd_url: str, tmp_path: Path) -> None:
    config = tmp_path / "encryption.yaml"
    write_config(config, f"aesgcm: {{keys: [{{name: g, secret: {key(3)}}}]}}")
    async with serving(etcd_url, tmp_path, f"--encryption-provider-config={config}") as api:
        open_schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": open_schema}}
        names = {"plural": "ships", "singular": "ship", "kind": "Ship"}
        definition = {
            "kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1",
            "metadata": {"name": "ships.sea.example"},
            "spec": {"group": "sea.example", "names": names, "scope": "Cluster", "versions": [version]},
        }  # fmt: skip
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        assert (await api.call("POST", definitions, definition))[0] == 201
        ship = {"kind": "Ship", "apiVersion": "sea.example/v1", "metadata": {"name": "ahab"}, "cargo": PASSWORD}
        for _ in range(100):
            status, _answer = await api.call("POST", "/apis/sea.example/v1/ships", ship)
            if status != 404:
                break
        assert status == 201
        raw = await stored(api, "sea.example/ships/ahab")
        assert raw.startswith(b"k8s:enc:aesgcm:v1:g:")
        assert PASSWORD.encode() not in raw
        assert (await api.call("GET", "/apis/sea.example/v1/ships/ahab"))[1]["cargo"] == PASSWORD
        await api.call("DELETE", "/apis/sea.example/v1/ships/ahab")
        await api.call("DELETE", f"{definitions}/ships.sea.example")
