"""Subresources with objects of their own pass admission, too: a node evicts, and gets tokens for, its own Pods only."""

import ssl
from pathlib import Path

import aiohttp

from cluster.apiserver.app import Apiserver
from cluster.pki.service_account_key import make_service_account_key
from tests.integration.conftest import TOKEN, Api, server_options


async def test_a_node_neither_evicts_nor_impersonates_pods_of_another_node(etcd_url: str, tmp_path: Path) -> None:
    private, public = make_service_account_key()
    (tmp_path / "sa.key").write_bytes(private)
    (tmp_path / "sa.pub").write_bytes(public)
    flags = (
        "--enable-admission-plugins=NodeRestriction", "--service-account-issuer=https://issuer.test",
        f"--service-account-signing-key-file={tmp_path / 'sa.key'}",
        f"--service-account-key-file={tmp_path / 'sa.pub'}",
    )  # fmt: skip
    server = Apiserver(server_options(etcd_url, tmp_path, *flags))
    context = ssl.create_default_context(cafile=server.serving[0])
    async with server.run():
        connector = aiohttp.TCPConnector(ssl=context)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            api = Api(server, session, f"https://127.0.0.1:{server.port}")
            base = await api.namespace("of-nodes")
            uids = {}
            for node in ("one", "two"):
                spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}
                status, made = await api.call(
                    "POST", f"{base}/pods", {"metadata": {"name": f"on-{node}"}, "spec": spec}
                )
                assert status == 201, made
                uids[node] = made["metadata"]["uid"]
            await server.cache.catch_up()
            node_one = {"Impersonate-User": "system:node:one", "Impersonate-Group": "system:nodes"}

            async def as_node(path: str, body: object) -> tuple[int, str]:
                status, answer = await api.call("POST", f"{base}{path}", body, **node_one)
                return status, answer.get("message", "")

            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "on-two"}}
            status, why = await as_node("/pods/on-two/eviction", eviction)
            assert (status, "node one can only evict pods with spec.nodeName set to itself" in why) == (403, True), why
            eviction["metadata"] = {"name": "on-one"}
            assert (await as_node("/pods/on-one/eviction", eviction))[0] == 201

            bound = {"apiVersion": "v1", "kind": "Pod", "name": "on-two", "uid": uids["two"]}
            request = {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"boundObjectRef": bound},
            }
            status, why = await as_node("/serviceaccounts/default/token", request)
            assert (status, "node requested token bound to a pod scheduled on a different node" in why) == (
                403,
                True,
            ), why
            await api.call("DELETE", f"{base}/pods/on-two?gracePeriodSeconds=0")
            await api.call("DELETE", "/api/v1/namespaces/of-nodes")
