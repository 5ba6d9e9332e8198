"""The federation's board in a real Chromium: what it shows, that it stays true, and that no object runs code in it."""

import asyncio
import json
import pathlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from cluster.api.resources import NAMESPACES
from cluster.client.rest import ApiClient
from federation.api.kinds import VERSION
from federation.api.resources import CLUSTERS, DNS_RECORD_SETS, PLACEMENTS
from tests.integration import chromium
from tests.integration.chromium import NEEDS_CHROMIUM, Page
from tests.integration.control_plane_processes import TOKEN
from tests.integration.federation_processes import Endpoint, federation_apiserver
from tests.ports import free_ports

pytestmark = NEEDS_CHROMIUM
HOSTILE = '<img src=x onerror="window.ran=1"><script>window.ran=1</script>"\'&\u202e'
VIEWER = "token-of-a-viewer"
LIVE = "document.getElementById('live').textContent === 'Live'"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chromium.browser(tmp_path_factory.mktemp("browser")) as address:
        yield address


@pytest.fixture
async def page(browser: str) -> AsyncIterator[Page]:
    async with chromium.page(browser) as found:
        await found.size(1440, 900)
        yield found
        assert found.complaints == []


@pytest.fixture
def federation(tmp_path: pathlib.Path) -> Iterator[Endpoint]:
    tokens = tmp_path / "all-tokens.csv"
    tokens.write_text(f'{TOKEN},admin,1,"system:masters"\n{VIEWER},viewer,2\n')
    with federation_apiserver(tmp_path, f"--token-auth-file={tokens}") as running:
        yield running


@pytest.fixture
async def api(federation: Endpoint) -> AsyncIterator[ApiClient]:
    async with ApiClient.from_kubeconfig(federation.kubeconfig) as client:
        yield client


async def add_cluster(api: ApiClient, name: str, region: str, phase: str = "Ready", **more: Any) -> None:
    address = {"clientCIDR": "0.0.0.0/0", "serverAddress": "https://192.0.2.1"}
    cluster = {"apiVersion": "federation/v1beta1", "kind": "Cluster", "metadata": {"name": name}}
    await api.create(CLUSTERS, {**cluster, "spec": {"serverAddressByClientCIDRs": [address]}})
    status = {
        "phase": phase, "region": region, "zones": [f"{region[:60]}-a"], "kubernetesVersion": "v1.36.2",
        "nodes": {"total": 3, "ready": 2},
        "resources": {"allocatable": {"cpu": "8", "memory": "32Gi"}, "requested": {"cpu": "6800m", "memory": "8Gi"}},
    }  # fmt: skip
    await set_status(api, name, {**status, **more})


async def set_status(api: ApiClient, name: str, status: dict[str, Any]) -> None:
    await api.patch(CLUSTERS, name, {"status": status}, subresource="status", patch_type="merge")


async def add_namespace(api: ApiClient, name: str) -> None:
    await api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


async def place(api: ApiClient, namespace: str, name: str, clusters: dict[str, dict[str, Any]], **spec: Any) -> None:
    """`clusters`: what each member says of its copy, and how many replicas are `wanted` there."""
    template = {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": name, "uid": "1"}
    wanted = [{"name": cluster, "replicas": said.pop("wanted", 1)} for cluster, said in clusters.items()]
    placement = {"apiVersion": VERSION, "kind": "Placement", "metadata": {"name": name, "namespace": namespace}}
    await api.create(PLACEMENTS, {**placement, "spec": {"template": template, "clusters": wanted, **spec}})
    status = {"clusters": [{"name": cluster, **said} for cluster, said in clusters.items()]}
    await api.patch(PLACEMENTS, name, {"status": status}, namespace=namespace, subresource="status", patch_type="merge")


async def sign_in(page: Page, url: str, token: str = TOKEN) -> None:
    await page.open(f"{url}/board/")
    await page.until("!document.getElementById('sign-in').hidden")
    await page.run("document.getElementById('token').focus()")
    await page.type(token)
    await page.press("Enter")


async def text(page: Page, selector: str) -> str:
    found: str = await page.run(f"document.querySelector({json.dumps(selector)}).innerText")
    return found


async def names_read_aloud(page: Page, role: str) -> list[str]:
    tree = await page.send("Accessibility.getFullAXTree")
    return [
        node["name"]["value"] for node in tree["nodes"] if node.get("role", {}).get("value") == role and "name" in node
    ]


async def test_the_page_is_static_closed_to_foreign_code_and_open_to_all(federation: Endpoint) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as nobody:
        async with nobody.get(f"{federation.url}/board", allow_redirects=False) as moved:
            assert (moved.status, moved.headers["Location"]) == (308, "/board/")
        async with nobody.get(f"{federation.url}/board/") as answer:
            policy = answer.headers["Content-Security-Policy"]
            html = await answer.text()
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "http" not in policy
            assert TOKEN not in html
            again = {"If-None-Match": answer.headers["ETag"]}
        async with nobody.get(f"{federation.url}/board/", headers=again) as same:
            assert same.status == 304
        for path in ("/board/serving.py", "/board/..%2fserving.py", "/board/static/", "/boards"):
            async with nobody.get(federation.url + path) as answer:
                assert answer.status in (401, 404), path
        async with nobody.post(f"{federation.url}/board/") as answer:
            assert answer.status == 405
        async with nobody.get(f"{federation.url}/apis/federation/v1beta1/clusters") as answer:
            assert answer.status == 401


async def test_the_board_shows_where_things_are_and_how_they_are(
    page: Page, federation: Endpoint, api: ApiClient
) -> None:
    await add_namespace(api, "shop")
    for name, region, phase in (("east", "us-east-1", "Ready"), ("west", "us-west-2", "Suspect"),
                                ("fra", "eu-central-1", "Unreachable")):  # fmt: skip
        await add_cluster(api, name, region, phase)
    applied = {"state": "Applied", "wanted": 3, "status": {"replicas": 3, "readyReplicas": 3}}
    failed = {"state": "Failed", "wanted": 2, "message": "exceeded quota: compute"}
    gone = [{"cluster": "fra", "why": "Evicted", "propagation": "Background"}]
    await place(api, "shop", "web", {"east": applied, "west": failed}, policy="shop/spread", tombstones=gone)
    record = {
        "name": "web.shop.prod.svc.fed.example.com", "type": "A", "ttl": 5, "stale": True,
        "targets": [{"value": "192.0.2.7", "cluster": "east"}],
    }  # fmt: skip
    record_set = {"apiVersion": VERSION, "kind": "DNSRecordSet", "metadata": {"name": "web", "namespace": "shop"}}
    await api.create(DNS_RECORD_SETS, {**record_set, "spec": {"records": [record]}})
    federation.did("create", "service", "clusterip", "web", "--tcp=80", "-n", "shop")
    weights = [{"cluster": "east", "weight": 3}, {"cluster": "west", "weight": 1}]
    weighted = {"serviceNames": ["web"], "strategy": "Weighted", "weights": weights}
    policy = {"apiVersion": VERSION, "kind": "DNSPolicy", "metadata": {"name": "by-weight", "namespace": "shop"}}
    federation.did("create", "-f", "-", stdin=json.dumps({**policy, "spec": weighted}))

    page.expected = ("401",)
    await sign_in(page, federation.url, "wrong")
    await page.until("document.getElementById('sign-in-error').textContent === 'This token is not accepted.'")
    await sign_in(page, federation.url)
    await page.until(LIVE)

    await page.until("document.querySelectorAll('.tile').length === 3")
    parts = await page.run("[...document.querySelectorAll('.part h2')].map((one) => one.textContent)")
    assert parts == ["Americas", "Europe, Middle East and Africa"]
    tiles = await names_read_aloud(page, "button")
    assert "east, Ready, region us-east-1, v1.36.2 · 2/3 nodes · 1 zone, CPU 85 percent asked of 8, " in "\n".join(
        tiles
    )
    assert any(one.startswith("fra, Unreachable, region eu-central-1") for one in tiles)
    totals = await text(page, "#totals")
    assert "✕ 1 Unreachable" in totals
    assert "1 in trouble" in totals
    assert "1 stale" in totals

    await page.run("document.querySelector('.row').click()")
    shown = await text(page, "#details")
    for words in (
        "shop/web",
        "Failed",
        "3/3",
        "–/2",
        "exceeded quota: compute",
        "shop/spread",
        "Tombstones",
        "Evicted",
    ):
        assert words in shown
    assert await text(page, ".tile[data-health=Ready] .badge") == "3/3"
    await page.run("document.getElementById('tab-names').click()")
    await page.run("document.querySelector('.row').click()")
    await page.until("document.getElementById('details').innerText.includes('by-weight')")
    shown = await text(page, "#details")
    assert "Weighted: east 3, west 1" in shown
    for words in ("web.shop.prod.svc.fed.example.com", "192.0.2.7", "east", "serves its last answer"):
        assert words in shown

    # A tab that is loaded again is signed in still; one that signs out keeps nothing.
    await page.send("Page.reload")
    await page.until("document.readyState === 'complete'")
    await page.until(LIVE)
    await page.run("document.getElementById('sign-out').click()")
    assert await page.run("sessionStorage.length") == 0


async def test_it_follows_changes_and_finds_back_to_a_server_that_was_gone(page: Page, tmp_path: pathlib.Path) -> None:
    [port] = free_ports(1)
    with federation_apiserver(tmp_path, port=port) as federation:
        async with ApiClient.from_kubeconfig(federation.kubeconfig) as api:
            await add_cluster(api, "east", "us-east-1")
            await add_cluster(api, "west", "us-west-1")
            await sign_in(page, federation.url)
            await page.until(LIVE)
            await set_status(api, "east", {"phase": "Unreachable"})
            await page.until("document.querySelector('.tile[data-health=Unreachable]')")
            assert await text(page, "#spoken") == "Cluster east is Unreachable."
            isolated = {"type": "Isolated", "status": "True", "reason": "MembersLostAtOnce", "message": "cut off"}
            await set_status(api, "east", {"conditions": [isolated]})
            await page.until("document.querySelector('.tile[data-health=Isolated]')")
            assert "cut off" in await text(page, "#notices")
            waits = {"type": "DeletionsWait", "status": "True", "reason": "TooMany", "message": "40 of 100 are to go"}
            await set_status(api, "east", {"conditions": [waits]})
            await page.until("document.getElementById('notices').innerText.includes('40 of 100 are to go')")
            assert "deletions wait" in await text(page, ".tile[data-health=Unreachable] .word")
            page.expected = ("ERR_CONNECTION", "ERR_EMPTY")  # soon
            await api.delete(CLUSTERS, "west")
            await page.until("document.querySelectorAll('.tile').length === 1")
    await page.until("document.getElementById('live').textContent === 'Reconnecting'")
    with federation_apiserver(tmp_path, port=port) as federation:
        async with ApiClient.from_kubeconfig(federation.kubeconfig) as api:
            await add_cluster(api, "north", "eu-north-1")
            await page.until(LIVE, 40)
            await page.until("document.querySelectorAll('.tile').length === 2")
            await set_status(api, "north", {"phase": "Suspect"})
            await page.until("document.querySelector('.tile[data-health=Suspect]')")


async def test_what_objects_say_is_shown_and_never_run(page: Page, federation: Endpoint, api: ApiClient) -> None:
    page.expected = ("404",)  # the Service of the record set is not there
    await add_namespace(api, "shop")
    told = {"type": "Ready", "status": "False", "reason": HOSTILE, "message": HOSTILE}
    await add_cluster(api, "east", HOSTILE[:63], "Unreachable", kubernetesVersion=HOSTILE, conditions=[told])
    said = {"state": "Failed", "message": HOSTILE * 20}
    passed = [{"cluster": HOSTILE, "why": HOSTILE}]
    await place(api, "shop", "web", {"east": said, HOSTILE: {"state": "Applied"}}, policy=HOSTILE, passedOver=passed)
    await place(api, "shop", "constructor", {"__proto__": {"state": "Applied"}})
    record = {"name": HOSTILE, "type": "A", "ttl": 5, "targets": [{"value": HOSTILE, "cluster": HOSTILE}]}
    record_set = {"apiVersion": VERSION, "kind": "DNSRecordSet", "metadata": {"name": "web", "namespace": "shop"}}
    await api.create(DNS_RECORD_SETS, {**record_set, "spec": {"records": [record]}})
    await sign_in(page, federation.url)
    await page.until(LIVE)
    await page.until("document.querySelectorAll('.row').length === 2")
    for click in (".tile", ".row", ".row:nth-child(2)", "#tab-names", ".row"):
        await page.run(f"document.querySelector('{click}').click()")
        assert await page.run("document.querySelectorAll('img:not([src=\"icon.svg\"]), script:not([src])').length") == 0
    assert HOSTILE[:60] in await text(page, "#details")
    assert await page.run("window.ran") is None


async def test_who_may_read_one_namespace_sees_that_one(page: Page, federation: Endpoint, api: ApiClient) -> None:
    for namespace in ("shop", "billing"):
        await add_namespace(api, namespace)
        await place(api, namespace, f"{namespace}-web", {"east": {"state": "Applied"}})
    federation.did("create", "role", "viewer", "-n", "shop", "--verb=get,list,watch",
                   "--resource=placements.federation.hanse.io,dnsrecordsets.federation.hanse.io")  # fmt: skip
    federation.did("create", "rolebinding", "viewer", "-n", "shop", "--role=viewer", "--user=viewer")
    page.expected = ("403",)
    await sign_in(page, federation.url, VIEWER)
    await page.until("document.getElementById('notices').innerText.includes('You may not read placements')")
    assert "You may not read clusters" in await text(page, "#notices")
    assert await page.run("document.querySelectorAll('.row').length") == 0
    await page.run("document.getElementById('scope').focus()")
    await page.type("shop")
    await page.press("Enter")
    await page.until("document.querySelector('.row')?.innerText.includes('shop-web')")
    assert await page.run("document.querySelectorAll('.row').length") == 1


async def test_hundreds_of_objects_on_a_hundred_clusters_are_found_by_keyboard(
    page: Page, federation: Endpoint, api: ApiClient
) -> None:
    await add_namespace(api, "shop")
    names = [f"c{number:03}" for number in range(100)]
    await asyncio.gather(*(add_cluster(api, name, f"eu-{number % 7}") for number, name in enumerate(names)))

    async def some(start: int) -> None:
        for number in range(start, 600, 20):
            chosen = {names[(number + more) % 100]: {"state": "Applied"} for more in range(3)}
            await place(api, "shop", f"app-{number:03}", chosen)

    await asyncio.gather(*map(some, range(20)))
    await sign_in(page, federation.url)
    await page.until(LIVE)
    await page.until("document.getElementById('count').textContent === '600 objects'")
    assert await page.run("document.querySelectorAll('.row').length") < 60
    assert await page.run("document.querySelectorAll('.tile').length") == 100

    await page.run("document.querySelector('[role=listbox]').focus()")
    await page.press("End")
    await page.press("Enter")
    assert "shop/app-599" in await text(page, "#details")
    assert await page.run("document.querySelectorAll('.tile.lit').length") == 3
    await page.press("Escape")
    assert await page.run("document.getElementById('details').hidden")
    await page.run("document.querySelector('.tile').focus()")
    await page.press("ArrowRight")
    await page.press("Enter")
    assert (await text(page, "#details")).startswith("×\nCluster")
    await page.run("document.getElementById('filter').focus()")
    await page.type("app-3 c0")
    await page.until("/^[0-9]+ of 600 objects$/.test(document.getElementById('count').textContent)")
    assert len(await names_read_aloud(page, "option")) > 10
