"""Who did what is written down as audit.k8s.io/v1, refusals included, and neither disk nor webhook holds anybody up."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

from cluster.store.encoding import Entry
from tests.integration.conftest import Api, serving
from tests.integration.kubeconfig_webhook import webhook

HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
EVERYTHING = f"{HEAD}rules:\n- level: RequestResponse\n"


def flags(directory: Path, policy: str, *more: str) -> list[str]:
    path = directory / "policy.yaml"
    path.write_text(policy)
    return [f"--audit-policy-file={path}", f"--audit-log-path={directory / 'audit.log'}", *more]


def events(directory: Path, **wanted: str) -> list[dict[str, Any]]:
    """What is in the log, with these top-level values."""
    lines = (directory / "audit.log").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [event for event in found if all(event.get(key) == value for key, value in wanted.items())]


def config_map(name: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"a": "b"}}


async def test_an_event_says_who_did_what_and_what_came_of_it(etcd_url: str, tmp_path: Path) -> None:
    async with serving(etcd_url, tmp_path, *flags(tmp_path, EVERYTHING)) as api:
        core = await api.namespace("audited")
        url = f"{core}/configmaps"
        async with api.session.post(
            api.url + url,
            json=config_map("one"),
            headers={"Audit-ID": "chosen", "User-Agent": "test/1", "X-Forwarded-For": "192.0.2.7"},
        ) as answer:
            assert (answer.status, answer.headers["Audit-Id"]) == (201, "chosen")
            created = await answer.json()
        received, complete = events(tmp_path, auditID="chosen")
        assert (received["stage"], complete["stage"]) == ("RequestReceived", "ResponseComplete")
        assert "responseStatus" not in received
        assert received["stageTimestamp"] == received["requestReceivedTimestamp"]
        expected = {
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "verb": "create",
            "requestURI": url, "sourceIPs": ["192.0.2.7", "127.0.0.1"], "userAgent": "test/1",
            "user": {"username": "admin", "uid": "1", "groups": ["system:masters", "system:authenticated"]},
            "objectRef": {"resource": "configmaps", "namespace": "audited", "name": "one", "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "code": 201},
            "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
            "requestObject": config_map("one"), "responseObject": created,
        }  # fmt: skip
        assert {key: complete[key] for key in expected} == expected


async def test_the_level_decides_what_is_told_of_a_secret(etcd_url: str, tmp_path: Path) -> None:
    policy = (
        f"{HEAD}omitStages: [RequestReceived]\nrules:\n"
        "- {level: Metadata, resources: [{group: '', resources: [secrets]}]}\n"
        "- {level: Request, resources: [{group: '', resources: [configmaps]}], omitManagedFields: true}\n"
        "- {level: None}\n"
    )
    async with serving(etcd_url, tmp_path, *flags(tmp_path, policy)) as api:
        core = await api.namespace("levels")
        secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "stringData": {"p": "do-not-tell"}}
        assert (await api.call("POST", f"{core}/secrets", secret))[0] == 201
        assert (await api.call("GET", f"{core}/secrets/s"))[0] == 200
        assert (await api.call("POST", f"{core}/configmaps", config_map("c")))[0] == 201
        patch = {"data": {"x": "y"}}
        await api.call("PATCH", f"{core}/configmaps/c", patch, "application/merge-patch+json")
        found = (await api.call("GET", f"{core}/configmaps/c"))[1]
        await api.call("PUT", f"{core}/configmaps/c", found)
        text = (tmp_path / "audit.log").read_text()
        assert "do-not-tell" not in text
        assert base64.b64encode(b"do-not-tell").decode() not in text
        of_secret, *_ = events(tmp_path, level="Metadata")
        assert of_secret["objectRef"]["name"] == "s"
        created, patched, _read, replaced = events(tmp_path, level="Request")
        assert "responseObject" not in created
        assert patched["requestObject"] == patch
        assert "managedFields" in found["metadata"]
        assert "managedFields" not in replaced["requestObject"]["metadata"]
        assert replaced["objectRef"]["resourceVersion"] == found["metadata"]["resourceVersion"]
        assert {event["stage"] for event in events(tmp_path)} == {"ResponseComplete"}


async def test_refusals_are_written_down_too(etcd_url: str, tmp_path: Path) -> None:
    async with serving(etcd_url, tmp_path, *flags(tmp_path, f"{HEAD}rules:\n- level: Metadata\n")) as api:
        assert (await api.call("GET", "/api/v1/secrets", Authorization="Bearer wrong"))[0] == 401
        (denied,) = events(tmp_path, requestURI="/api/v1/secrets")
        assert denied["stage"] == "ResponseStarted"
        assert denied["user"] == {}
        assert denied["responseStatus"] == {
            "metadata": {}, "message": "Authentication failed, attempted: bearer", "code": 401,
        }  # fmt: skip
        acting = {"Impersonate-User": "eve", "Impersonate-Group": "guests"}
        assert (await api.call("GET", "/api/v1/nodes", **acting))[0] == 403
        _, forbidden = events(tmp_path, requestURI="/api/v1/nodes")
        assert forbidden["user"]["username"] == "admin"
        assert forbidden["impersonatedUser"] == {"username": "eve", "groups": ["guests", "system:authenticated"]}
        assert forbidden["annotations"]["authorization.k8s.io/decision"] == "forbid"
        assert (forbidden["responseStatus"]["code"], forbidden["responseStatus"]["reason"]) == (403, "Forbidden")
        assert (await api.call("GET", "/nowhere"))[0] == 404
        assert events(tmp_path, requestURI="/nowhere")[-1]["responseStatus"]["code"] == 404


async def test_a_watch_is_written_down_when_it_begins_and_when_it_ends(etcd_url: str, tmp_path: Path) -> None:
    async with serving(etcd_url, tmp_path, *flags(tmp_path, EVERYTHING)) as api:
        core = await api.namespace("watched")
        path = f"{core}/configmaps?watch=true&timeoutSeconds=60"
        async with api.session.get(api.url + path) as answer:
            assert answer.headers["Audit-Id"]
            stages = [event["stage"] for event in events(tmp_path, verb="watch", auditID=answer.headers["Audit-Id"])]
            assert stages == ["RequestReceived", "ResponseStarted"]
            identity = answer.headers["Audit-Id"]
            answer.close()
        for _ in range(200):
            stages = [event["stage"] for event in events(tmp_path, auditID=identity)]
            if len(stages) == 3:
                break
            await asyncio.sleep(0.02)
        assert stages == ["RequestReceived", "ResponseStarted", "ResponseComplete"]


async def test_a_fault_of_our_own_is_a_panic(etcd_url: str, tmp_path: Path) -> None:
    async with serving(etcd_url, tmp_path, *flags(tmp_path, EVERYTHING)) as api:
        core = await api.namespace("panicking")
        cache = api.server.cache.register("configmaps")
        broken = Entry(
            b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"broken","namespace":"panicking"}}', 1
        )
        whole, broken.item = broken.item, None  # type: ignore[assignment]  # what no bug may do, done on purpose
        cache.put("panicking/broken", broken)
        try:
            assert (await api.call("GET", f"{core}/configmaps/broken"))[0] == 500
        finally:
            broken.item = whole
            cache.remove("panicking/broken", 2)
        *_, event = events(tmp_path, requestURI=f"{core}/configmaps/broken")
        assert (event["stage"], event["responseStatus"]["message"]) == ("Panic", "APIServer panic'd: TypeError")


async def test_a_webhook_gets_events_in_lists_and_holds_nobody_up(etcd_url: str, tmp_path: Path) -> None:
    async with webhook(tmp_path, lambda given: {}) as hook:
        hook.open.clear()
        config = hook.kubeconfig(tmp_path / "hook.conf")
        more = [
            f"--audit-webhook-config-file={config}", "--audit-webhook-batch-max-wait=50ms",
            "--audit-webhook-initial-backoff=10ms",
        ]  # fmt: skip
        async with serving(etcd_url, tmp_path, *flags(tmp_path, EVERYTHING, *more)) as api:
            for _ in range(3):
                assert (await api.call("GET", "/version"))[0] == 200
            await _until(lambda: len(hook.asked) == 1)
            assert (await api.call("GET", "/version"))[0] == 200  # the webhook has not answered yet
            answers = iter([503, 429, {}])
            hook.answer = lambda given: next(answers, {})
            hook.open.set()
            await _until(lambda: len(hook.asked) >= 3)
            assert hook.asked[0] == hook.asked[1] == hook.asked[2]  # sent again until it was taken
            first = hook.asked[0]
            assert (first["kind"], first["apiVersion"]) == ("EventList", "audit.k8s.io/v1")
            assert {item["stage"] for item in first["items"]} <= {"RequestReceived", "ResponseComplete"}
        told = {(item["auditID"], item["stage"]) for batch in hook.asked for item in batch["items"]}
        assert len([stage for _, stage in told if stage == "ResponseComplete"]) >= 4  # the end delivers what is left


async def test_a_strict_backend_that_cannot_write_refuses_the_request(etcd_url: str, tmp_path: Path) -> None:
    (tmp_path / "audit.log").symlink_to("/dev/full")
    policy = f"{HEAD}rules:\n- {{level: Metadata, resources: [{{group: '', resources: [secrets]}}]}}\n"
    strict = flags(tmp_path, policy, "--audit-log-mode=blocking-strict")
    async with serving(etcd_url, tmp_path, *strict) as api:
        status, answer = await api.call("GET", "/api/v1/secrets")
        assert (status, answer["message"]) == (500, "Internal error occurred: failed to store audit event")
        assert (await api.call("GET", "/api/v1/configmaps"))[0] == 200
        assert "apiserver_audit_error_total 2" in (await api.call("GET", "/metrics"))[1]
    lax = flags(tmp_path, policy)
    async with serving(etcd_url, tmp_path, *lax) as api:
        assert (await api.call("GET", "/api/v1/secrets"))[0] == 200


async def test_without_a_policy_nothing_of_it_is_there(api: Api) -> None:
    async with api.session.get(f"{api.url}/version") as answer:
        assert "Audit-Id" not in answer.headers
    assert api.server.audit is None


async def _until(true: Any) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come about")
