"""Users that are recalled without verification: exactly as long as verification would say the same."""

import hashlib
from typing import Any

from cluster.apiserver.authentication import Authenticator
from cluster.apiserver.requests import UserInfo
from cluster.apiserver.service_account_keys import load_verification_keys
from cluster.apiserver.service_account_tokens import TokenIssuer, TokenVerifier
from cluster.pki.service_account_key import make_service_account_key
from tests.fakes.object_store import FakeObjects

ISSUER = "https://kubernetes.default.svc"
PRIVATE, PUBLIC = make_service_account_key()
NOW = 1_800_000_000.0
REQUEST = {"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}}}


class Server:
    """An authenticator whose objects and clock the test changes."""

    def __init__(self) -> None:
        self.now = NOW
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa", "namespace": "ns"}}
        self.pod: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"serviceAccountName": "sa"},
        }
        self.objects: Any = FakeObjects(account, self.pod)
        keys = load_verification_keys(PUBLIC)
        self.issuer = TokenIssuer(PRIVATE, ISSUER, (ISSUER,), self.objects, clock=lambda: self.now)
        self.authenticator = Authenticator(
            self.objects,
            static_tokens={"static": UserInfo("jane", ("team",))},
            service_accounts=TokenVerifier(keys, (ISSUER,), self.objects, clock=lambda: self.now),
            audiences=(ISSUER,),
            clock=lambda: self.now,
        )

    async def token(self) -> str:
        made = await self.issuer.create_token(REQUEST, "ns", "sa")
        return str(made["status"]["token"])

    def recall(self, token: str) -> UserInfo | None:
        return self.authenticator.recall(hashlib.sha256(token.encode()).digest(), None)

    async def verify(self, token: str) -> UserInfo | None:
        found = await self.authenticator.authenticate_token(token, (ISSUER,))
        return found.user if found else None


async def test_static_tokens_are_known_until_the_file_says_otherwise() -> None:
    server = Server()
    assert server.recall("static") == UserInfo("jane", ("team", "system:authenticated"))
    assert server.recall("other") is None
    server.authenticator.use_tokens({})
    assert server.recall("static") is None


async def test_a_verified_account_token_is_recalled_as_the_same_user() -> None:
    server = Server()
    token = await server.token()
    assert server.recall(token) is None
    user = await server.verify(token)
    assert user is not None
    assert server.recall(token) is user


async def test_a_change_of_a_bound_object_ends_it() -> None:
    server = Server()
    token = await server.token()
    await server.verify(token)
    server.objects.put(server.pod)
    assert server.recall(token) is None
    assert await server.verify(token) is not None
    assert server.recall(token) is not None


async def test_its_end_and_other_keys_end_it() -> None:
    server = Server()
    token = await server.token()
    await server.verify(token)
    server.authenticator.forget_tokens()
    assert server.recall(token) is None
    await server.verify(token)
    server.now += 3601
    assert server.recall(token) is None


async def test_what_is_being_deleted_is_looked_at_each_time() -> None:
    server = Server()
    token = await server.token()
    server.pod["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    server.objects.put(server.pod)
    assert await server.verify(token) is not None
    assert server.recall(token) is None


async def test_a_token_for_another_audience_is_not_recalled() -> None:
    server = Server()
    made = await server.issuer.create_token({"spec": {"audiences": ["vault"]}}, "ns", "sa")
    token = str(made["status"]["token"])
    assert await server.authenticator.authenticate_token(token, ("vault",)) is not None
    assert server.recall(token) is None
