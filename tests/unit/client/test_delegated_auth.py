"""Callers of a service's port: asked of the apiserver once, then remembered."""

from typing import Any, cast

from cluster.client.delegated_auth import ALLOWED_TTL, TOKEN_TTL, Access, Caller, DelegatedAuth
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ServiceUnavailable


class FakeReviews:
    """Answers TokenReviews and SubjectAccessReviews; notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.is_down = False

    async def create(self, resource: Any, obj: dict[str, Any]) -> dict[str, Any]:
        if self.is_down:
            raise ServiceUnavailable("down")
        self.asked.append(obj["spec"])
        if resource.plural == "tokenreviews":
            good = obj["spec"]["token"] == "good"
            user = {"username": "bob", "groups": ["dev"], "extra": {"k": ["v"]}}
            return {"status": {"authenticated": True, "user": user} if good else {"error": "no"}}
        return {"status": {"allowed": obj["spec"]["user"] == "bob"}}


def build() -> tuple[DelegatedAuth, FakeReviews, list[float]]:
    now, reviews = [0.0], FakeReviews()
    return DelegatedAuth(cast(ApiClient, reviews), clock=lambda: now[0]), reviews, now


async def test_token_is_asked_about_once_in_two_minutes() -> None:
    auth, reviews, now = build()

    first, second = await auth.authenticate_token("good"), await auth.authenticate_token("good")
    now[0] = TOKEN_TTL
    await auth.authenticate_token("good")

    assert first == second == Caller("bob", ("dev",), "", {"k": ("v",)})
    assert len(reviews.asked) == 2


async def test_unknown_token_is_nobody() -> None:
    auth, _, _ = build()

    assert await auth.authenticate_token("bad") is None


async def test_decision_is_remembered_for_caller_and_access() -> None:
    auth, reviews, now = build()
    logs = Access("get", resource="nodes", subresource="log", name="n1")

    assert await auth.authorize(Caller("bob"), logs)
    assert await auth.authorize(Caller("bob"), logs)
    assert not await auth.authorize(Caller("eve"), logs)
    now[0] = ALLOWED_TTL
    assert await auth.authorize(Caller("bob"), logs)

    assert len(reviews.asked) == 3
    assert reviews.asked[0]["resourceAttributes"] == {
        "verb": "get", "version": "v1", "resource": "nodes", "subresource": "log", "name": "n1",
    }  # fmt: skip


async def test_path_is_asked_as_a_path() -> None:
    auth, reviews, _ = build()

    await auth.authorize(Caller("bob", ("dev",), "7", {"k": ("v",)}), Access("get", path="/metrics"))

    assert reviews.asked == [
        {
            "user": "bob",
            "groups": ["dev"],
            "uid": "7",
            "extra": {"k": ["v"]},
            "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
        }
    ]


async def test_without_the_apiserver_the_answer_is_no_and_is_not_remembered() -> None:
    auth, reviews, _ = build()
    reviews.is_down = True
    assert await auth.authenticate_token("good") is None
    assert not await auth.authorize(Caller("bob"), Access("get", path="/metrics"))

    reviews.is_down = False

    assert await auth.authenticate_token("good") is not None
    assert await auth.authorize(Caller("bob"), Access("get", path="/metrics"))
