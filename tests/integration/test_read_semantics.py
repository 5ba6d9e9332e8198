"""Which state a read shows, in which form, and what is refused: the API concepts page against a real server."""

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Api

MERGE = "application/merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
WATCH_LIST = "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"


def config_map(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"k": "1"}}


async def three_maps(api: "Api", namespace: str) -> tuple[str, list[str]]:
    """Path of a collection of a, b and c, and the version of each."""
    path = f"{await api.namespace(namespace)}/configmaps"
    versions = []
    for name in "abc":
        status, made = await api.call("POST", path, config_map(name, first=str(name == "a").lower()))
        assert status == 201
        versions.append(made["metadata"]["resourceVersion"])
    return path, versions


def names(listed: Any) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


async def events(api: "Api", path: str, **headers: str) -> list[dict[str, Any]]:
    async with api.session.get(api.url + path, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "application/json"
        return [json.loads(line) async for line in answer.content]


FORBIDDEN = "resourceVersionMatch: Forbidden: "
OF_A_LIST = {
    "resourceVersionMatch=Exact": f"{FORBIDDEN}resourceVersionMatch is forbidden unless resourceVersion is provided",
    "resourceVersionMatch=NotOlderThan&resourceVersion=1&continue=x": (
        f"{FORBIDDEN}resourceVersionMatch is forbidden when continue is provided"
    ),
    "resourceVersionMatch=Best&resourceVersion=1": (
        'resourceVersionMatch: Unsupported value: "Best": supported values: "Exact", "NotOlderThan", ""'
    ),
    "resourceVersionMatch=Exact&resourceVersion=0": (
        f'{FORBIDDEN}resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
    ),
    "sendInitialEvents=true": "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
    "watch=1&resourceVersionMatch=NotOlderThan": (
        f"{FORBIDDEN}resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
    ),
    "watch=1&sendInitialEvents=true": (
        f"{FORBIDDEN}sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
    ),
    "watch=1&sendInitialEvents=false": (
        f"{FORBIDDEN}sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
    ),
    "watch=1&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&continue=x": (
        f"{FORBIDDEN}resourceVersionMatch is forbidden when continue is provided"
    ),
    "watch=1&resourceVersionMatch=Exact&resourceVersion=1&sendInitialEvents=true": (
        f"[{FORBIDDEN}sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, "
        'resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"]'
    ),
    "watch=1&resourceVersionMatch=Exact": (
        f"[{FORBIDDEN}resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided, "
        'resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"]'
    ),
}


@pytest.mark.parametrize(("query", "text"), OF_A_LIST.items())
async def test_parameters_that_do_not_go_together_are_refused(api: "Api", query: str, text: str) -> None:
    status, refusal = await api.call("GET", f"/api/v1/namespaces/default/configmaps?{query}")

    assert (status, refusal["reason"]) == (422, "Invalid")
    assert refusal["message"] == f'ListOptions.meta.k8s.io "" is invalid: {text}'


@pytest.mark.parametrize(
    ("query", "code", "text"),
    [
        ("continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NSwic3RhcnQiOiJhIn0&resourceVersion=5", 400,
         "specifying resource version is not allowed when using continue"),
        ("continue=eyJ2IjoidjkiLCJydiI6MSwic3RhcnQiOiJhIn0", 400,
         "invalid continue token: continue key is not valid: server does not recognize this encoded version v9"),
        ("continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJhIn0", 400,
         "invalid continue token: continue key is not valid: incorrect encoded start resourceVersion "
         "(version meta.k8s.io/v1)"),
        ("resourceVersion=x", 500,
         'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax'),
        ("fieldSelector=a", 400, "invalid selector: 'a'; can't understand 'a'"),
        ("fieldSelector=spec.x%3D1", 400,
         '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"'),
        ("labelSelector=-a", 400, None),
    ],
)  # fmt: skip
async def test_parameters_that_mean_nothing_are_refused(api: "Api", query: str, code: int, text: str | None) -> None:
    status, refusal = await api.call("GET", f"/api/v1/namespaces/default/configmaps?{query}")

    assert status == code, refusal
    assert text is None or refusal["message"] == text


async def test_a_version_says_which_state_is_shown(api: "Api") -> None:
    path, (first, second, third) = await three_maps(api, "r-versions")
    assert (await api.call("DELETE", f"{path}/b"))[0] == 200

    for query, shown in {
        "": "ac",
        "resourceVersion=0": "ac",
        "resourceVersion=0&limit=1": "ac",
        f"resourceVersion={first}": "ac",
        f"resourceVersion={first}&resourceVersionMatch=NotOlderThan": "ac",
        f"resourceVersion={first}&resourceVersionMatch=NotOlderThan&limit=1": "a",
        f"resourceVersion={first}&resourceVersionMatch=Exact": "a",
        f"resourceVersion={second}&resourceVersionMatch=Exact&limit=1": "a",
        f"resourceVersion={third}&limit=9": "abc",
        f"resourceVersion={third}&resourceVersionMatch=Exact&labelSelector=first%3Dfalse": "bc",
    }.items():
        status, listed = await api.call("GET", f"{path}?{query}")
        assert (status, names(listed)) == (200, list(shown)), query
        if "Exact" in query or "limit=9" in query:
            assert listed["metadata"]["resourceVersion"] == query.partition("&")[0].partition("=")[2]
    status, one = await api.call("GET", f"{path}/a?resourceVersion={third}")
    assert (status, one["metadata"]["name"]) == (200, "a")


async def test_a_version_of_the_future_is_waited_for_and_then_refused(api: "Api") -> None:
    path, _ = await three_maps(api, "r-future")
    far = "9000000000000"

    async def ask(url: str) -> None:
        async with api.session.get(api.url + url) as answer:
            refusal = await answer.json()
            assert (answer.status, answer.headers["Retry-After"]) == (504, "1"), url
            assert refusal["reason"] == "Timeout"
            assert refusal["message"].startswith(f"Timeout: Too large resource version: {far}, current: ")
            cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
            assert refusal["details"] == {"causes": [cause], "retryAfterSeconds": 1}

    await asyncio.gather(
        ask(f"{path}?resourceVersion={far}"),
        ask(f"{path}/a?resourceVersion={far}"),
        ask(f"{path}?{WATCH_LIST}&resourceVersion={far}"),
        ask(f"{path}?resourceVersion={far}&resourceVersionMatch=Exact"),
    )


async def test_compacted_versions_are_gone_and_a_page_tells_how_to_go_on(api: "Api") -> None:
    path, versions = await three_maps(api, "r-compacted")
    _, page = await api.call("GET", f"{path}?limit=1")
    token = page["metadata"]["continue"]
    assert (page["metadata"]["remainingItemCount"], names(page)) == (2, ["a"])
    for data in ("2", "3"):
        _, changed = await api.call("PATCH", f"{path}/b", {"data": {"k": data}}, MERGE)
    await api.server.etcd.compact(int(changed["metadata"]["resourceVersion"]))

    status, gone = await api.call("GET", f"{path}?resourceVersion={versions[0]}&resourceVersionMatch=Exact")
    assert (status, gone["reason"]) == (410, "Expired")
    assert gone["message"] == "The resourceVersion for the provided list is too old."
    status, gone = await api.call("GET", f"{path}?limit=1&continue={token}")
    assert (status, gone["reason"]) == (410, "Expired")
    assert gone["message"].startswith("The provided continue parameter is too old to display a consistent list result.")
    fresh = gone["metadata"]["continue"]
    status, page = await api.call("GET", f"{path}?limit=1&continue={fresh}")
    assert (status, names(page), page["items"][0]["data"]) == (200, ["b"], {"k": "3"})
    status, page = await api.call("GET", f"{path}?limit=1&continue={page['metadata']['continue']}")
    assert (status, names(page), page["metadata"].get("continue")) == (200, ["c"], None)


async def test_a_watch_from_a_version_that_is_no_longer_known_ends_with_an_error(api: "Api") -> None:
    (event,) = await events(api, "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=2&resourceVersion=1")

    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert event["object"]["message"].startswith("too old resource version: 1 (")


@pytest.mark.parametrize("accept", ["application/json", TABLE, PARTIAL])
async def test_a_watch_list_in_every_form_ends_its_first_state_with_a_bookmark(api: "Api", accept: str) -> None:
    path, versions = await three_maps(api, f"r-watchlist-{len(accept)}")

    async def watch(version: str) -> None:
        query = f"{WATCH_LIST}&allowWatchBookmarks=true&resourceVersion={version}&labelSelector=first%3Dtrue"
        found = await events(api, f"{path}?{query}", Accept=accept)
        assert [event["type"] for event in found] == ["ADDED", "BOOKMARK"], version
        kinds = {"application/json": "ConfigMap", TABLE: "Table", PARTIAL: "PartialObjectMetadata"}
        assert {event["object"]["kind"] for event in found} == {kinds[accept]}
        mark = found[1]["object"]["rows"][0]["object"] if accept == TABLE else found[1]["object"]
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(mark["metadata"]["resourceVersion"]) >= int(versions[-1])

    await asyncio.gather(*map(watch, ("", "0", "1", versions[-1])))


async def test_a_watch_from_nowhere_begins_as_a_watch_list(api: "Api") -> None:
    path, _ = await three_maps(api, "r-nowhere")
    found = await events(api, f"{path}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&limit=1")

    assert [event["type"] for event in found] == ["ADDED"] * 3 + ["BOOKMARK"]
    assert found[3]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_first_events_come_only_when_they_are_wanted(api: "Api") -> None:
    path, versions = await three_maps(api, "r-first")
    not_older = "watch=1&timeoutSeconds=1&resourceVersionMatch=NotOlderThan"

    assert len(await events(api, f"{path}?{WATCH_LIST}")) == 3, "without bookmarks there is no end mark"
    assert await events(api, f"{path}?{not_older}&sendInitialEvents=false&resourceVersion={versions[2]}") == []
    since = await events(api, f"{path}?{not_older}&sendInitialEvents=false&resourceVersion={versions[1]}")
    assert [event["object"]["metadata"]["name"] for event in since] == ["c"]


async def test_writes_answer_in_the_form_that_was_asked_for(api: "Api") -> None:
    path = f"{await api.namespace('r-forms')}/configmaps"
    for accept, kind in ((TABLE, "Table"), (PARTIAL, "PartialObjectMetadata")):
        name = kind.lower()
        calls: list[tuple[str, str, Any, str]] = [
            ("POST", path, config_map(name), "application/json"),
            ("PUT", f"{path}/{name}", config_map(name, x="1"), "application/json"),
            ("PATCH", f"{path}/{name}", {"metadata": {"labels": {"x": "2"}}}, MERGE),
            ("GET", f"{path}/{name}", None, ""),
        ]
        for method, url, body, content_type in calls:
            status, answer = await api.call(method, url, body, content_type, Accept=accept)
            assert (status // 100, answer["kind"]) == (2, kind), (method, answer)
        status, answer = await api.call("DELETE", f"{path}/{name}", Accept=accept)
        assert (status, answer["kind"], answer["status"]) == (200, "Status", "Success")


async def test_rows_hold_as_much_of_their_objects_as_is_asked(api: "Api") -> None:
    path, _ = await three_maps(api, "r-rows")
    for include, kind in {
        "": "PartialObjectMetadata",
        "Metadata": "PartialObjectMetadata",
        "Object": "ConfigMap",
    }.items():
        _, table = await api.call("GET", f"{path}?includeObject={include}&limit=1", Accept=TABLE)
        assert table["rows"][0]["object"]["kind"] == kind
        assert table["metadata"]["remainingItemCount"] == 2
    _, table = await api.call("GET", f"{path}?includeObject=None", Accept=TABLE)
    assert [row["object"] for row in table["rows"]] == [None] * 3

    status, refusal = await api.call("GET", f"{path}?includeObject=All", Accept=TABLE)
    assert (status, refusal["message"]) == (
        400,
        'Unable to convert to Table as requested: includeObject: Invalid value: "All": '
        "must be 'Metadata', 'Object', 'None', or empty",
    )


async def test_a_collection_is_deleted_as_far_as_it_is_selected(api: "Api") -> None:
    path, _ = await three_maps(api, "r-collection")

    status, deleted = await api.call("DELETE", f"{path}?labelSelector=first%3Dtrue&dryRun=All")
    assert (status, names(deleted)) == (200, ["a"])
    status, deleted = await api.call("DELETE", f"{path}?limit=1&labelSelector=first%3Dfalse")
    assert (status, deleted["kind"], names(deleted)) == (200, "ConfigMapList", ["b"])
    status, deleted = await api.call("DELETE", f"{path}?fieldSelector=metadata.name%3Dc")
    assert (status, names(deleted)) == (200, ["c"])
    assert names((await api.call("GET", path))[1]) == ["a"]


SELECTABLE = {
    "/api/v1/pods": "spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName spec.hostNetwork "
    "status.phase status.podIP status.nominatedNodeName metadata.name metadata.namespace",
    "/api/v1/events": "involvedObject.kind involvedObject.namespace involvedObject.name involvedObject.uid "
    "involvedObject.apiVersion involvedObject.resourceVersion involvedObject.fieldPath reason reportingComponent "
    "source type",
    "/api/v1/nodes": "spec.unschedulable metadata.name",
    "/api/v1/namespaces": "status.phase metadata.name",
    "/api/v1/secrets": "type",
    "/api/v1/services": "spec.clusterIP spec.type",
    "/api/v1/replicationcontrollers": "status.replicas",
    "/apis/apps/v1/replicasets": "status.replicas",
    "/apis/batch/v1/jobs": "status.successful",
    "/apis/certificates.k8s.io/v1/certificatesigningrequests": "spec.signerName",
    "/apis/events.k8s.io/v1/events": "regarding.kind reason type reportingController",
}


@pytest.mark.parametrize("path", SELECTABLE)
async def test_fields_that_upstream_selects_by_can_be_selected_by(api: "Api", path: str) -> None:
    for field in SELECTABLE[path].split():
        status, listed = await api.call("GET", f"{path}?fieldSelector={quote(field + '!=x,' + field + '=x')}")
        assert (status, listed.get("items", listed)) == (200, []), field
    status, refusal = await api.call("GET", f"{path}?fieldSelector=spec.nothing%3Dx")
    assert status == 400
    assert "spec.nothing" in refusal["message"]
