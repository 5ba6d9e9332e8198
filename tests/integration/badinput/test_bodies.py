"""Bodies that kill, stall or fool parsers are refused in well-formed answers, wherever bodies are read."""

import json
from typing import Any

from tests.integration.badinput.conftest import UnderFire, check_refusal
from tests.integration.badinput.hostile_bodies import Body, all_bodies, json_bodies, yaml_bodies
from tests.integration.badinput.raw_http import HEAD, Answer, exchange

MAPS = "/api/v1/namespaces/default/configmaps"


def send(fire: UnderFire, method: str, path: str, content_type: str, data: bytes) -> Answer:
    head = f"{method} {path} HTTP/1.1\r\n{HEAD}Content-Type: {content_type}\r\nContent-Length: {len(data)}\r\n\r\n"
    return exchange(fire.plane, head.encode() + data)


def check(answer: Answer, body: Body, what: str) -> None:
    """As check_refusal; a body as large as the limit may take a while."""
    check_refusal(answer, what, within=5 if len(body.data) > 1 << 20 else 1)


def stored_map(fire: UnderFire, name: str, **data: str) -> str:
    """Makes a ConfigMap; returns its path."""
    body: dict[str, Any] = {"metadata": {"name": name}, "data": data}
    made = send(fire, "POST", MAPS, "application/json", json.dumps(body).encode())
    assert made.status in (201, 409), made
    return f"{MAPS}/{name}"


def test_every_hostile_body_gets_its_answer(fire: UnderFire) -> None:
    wrong, seen = [], 0
    with fire.unharmed():
        for body in all_bodies():
            answer = send(fire, "POST", f"{MAPS}?dryRun=All&fieldValidation=Strict", body.content_type, body.data)
            check(answer, body, body.name)
            seen += 1
            if answer.status not in body.want:
                wrong.append(f"{body.name}: {answer.status}, not {body.want}: {answer.body[:200]!r}")

    assert wrong == []
    assert seen >= 140


def test_hostile_bodies_are_no_patches(fire: UnderFire) -> None:
    path = stored_map(fire, "patched", a="b")
    media = ("json-patch+json", "merge-patch+json", "strategic-merge-patch+json")
    with fire.unharmed():
        for kind in media:
            for body in json_bodies():
                answer = send(fire, "PATCH", f"{path}?dryRun=All", f"application/{kind}", body.data)
                check(answer, body, f"{body.name} as {kind}")
                assert answer.status in (200, 400, 409, 413, 422), f"{body.name} as {kind}: {answer}"
        for body in yaml_bodies():
            target = f"{path}?dryRun=All&fieldManager=fire"
            answer = send(fire, "PATCH", target, "application/apply-patch+yaml", body.data)
            check(answer, body, f"{body.name} applied")
            # An apply that fits no schema gets a 500 of upstream's own words.
            no_schema = answer.status == 500 and b"failed to create typed patch object" in answer.body
            assert no_schema or answer.status in (200, 400, 409, 413, 422), f"{body.name} applied: {answer}"


def test_hostile_bodies_are_no_options_no_reviews_and_no_scales(fire: UnderFire) -> None:
    stored_map(fire, "kept")
    targets = [
        ("DELETE", f"{MAPS}/kept?dryRun=All"),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
        ("POST", "/api/v1/namespaces/default/serviceaccounts/none/token"),
        ("POST", "/api/v1/namespaces/default/pods/none/eviction"),
        ("PUT", "/apis/apps/v1/namespaces/default/deployments/none/scale"),
        ("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All"),
    ]
    with fire.unharmed():
        for method, path in targets:
            for body in json_bodies():
                if len(body.data) > 1 << 20:
                    continue  # the limit is the same everywhere, and each costs a while
                answer = send(fire, method, path, body.content_type, body.data)
                check(answer, body, f"{body.name} to {path}")
                assert answer.status < 500, f"{body.name} to {path}: {answer}"


def test_options_of_a_deletion_have_their_types(fire: UnderFire) -> None:
    path = stored_map(fire, "held")
    wrong = [
        {"gracePeriodSeconds": "5"}, {"gracePeriodSeconds": 1.5}, {"dryRun": "All"}, {"dryRun": 7}, {"dryRun": [7]},
        {"preconditions": 5}, {"preconditions": {"uid": 5}}, {"propagationPolicy": {}}, {"orphanDependents": "yes"},
        {"kind": "ConfigMap"}, {"kind": 5}, {"dryRun": ["Some"]}, {"propagationPolicy": "Sideways"},
        {"orphanDependents": True, "propagationPolicy": "Orphan"}, {"preconditions": {"uid": "other"}},
        {"preconditions": {"resourceVersion": "1"}}, {"gracePeriodSeconds": 1 << 63},
    ]  # fmt: skip
    with fire.unharmed():
        for options in wrong:
            answer = send(fire, "DELETE", path, "application/json", json.dumps(options).encode())
            check_refusal(answer, str(options))
            assert answer.status in (400, 409, 422), f"{options}: {answer}"


def test_an_object_beyond_what_the_store_takes_is_refused_by_its_size(fire: UnderFire) -> None:
    keys = {f"key-{number}": "" for number in range(100_000)}
    body = json.dumps({"metadata": {"name": "beyond"}, "data": keys}).encode()
    assert len(body) < 3 << 20
    with fire.unharmed():
        answer = send(fire, "POST", MAPS, "application/json", body)

    assert answer.status == 413, answer.body[:300]
