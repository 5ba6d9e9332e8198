"""Who is asking: certificates, tokens, proxies; and acting as somebody else."""

import base64
import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from multidict import CIMultiDict

from cluster.apiserver.authentication import Authenticator, FrontProxySettings, load_token_file
from cluster.apiserver.authorization import build_authorizer
from cluster.apiserver.impersonation import impersonated
from cluster.apiserver.requests import ANONYMOUS, UserInfo
from cluster.machinery.status_errors import Forbidden, InternalError
from cluster.pki.authority import Authority, make_authority
from cluster.pki.issue import CertificateContent, Usage, issue_key_pair
from tests.fakes.object_store import FakeObjects

NOW = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
CLIENTS = make_authority("kubernetes", now=NOW)
PROXIES = make_authority("front-proxy-ca", now=NOW)
ETCD = make_authority("etcd-ca", now=NOW)
ADMIN = UserInfo("admin", ("system:masters",), "1")


def certificate(
    authority: Authority = CLIENTS, name: str = "bob", usages: tuple[Usage, ...] = (Usage.CLIENT,), days: int = 90
) -> bytes:
    content = CertificateContent(name, ("dev",), dns_names=("x",), usages=usages)
    pair = issue_key_pair(authority, content, now=NOW, lifetime=dt.timedelta(days=days))
    der = x509.load_pem_x509_certificate(pair.certificate_pem)
    return der.public_bytes(Encoding.DER)


def authenticator(*objects: dict[str, Any], days: float = 0, **more: Any) -> Authenticator:
    return Authenticator(
        FakeObjects(*objects),
        client_authorities=[CLIENTS.certificate],
        static_tokens={"right": ADMIN},
        audiences=("api",),
        front_proxy=FrontProxySettings((PROXIES.certificate,), allowed_names=("front-proxy-client",)),
        clock=lambda: (NOW + dt.timedelta(days=days)).timestamp(),
        **more,
    )


def headers(*pairs: tuple[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(pairs)


async def test_client_certificate_is_user_and_groups() -> None:
    user = await authenticator().authenticate(headers(), certificate())

    assert user is not None
    assert (user.name, user.groups) == ("bob", ("dev", "system:authenticated"))
    assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("X509SHA256=")


@pytest.mark.parametrize(
    ("der", "days"),
    [
        (certificate(ETCD), 0),
        (certificate(make_authority("kubernetes", now=NOW)), 0),
        (certificate(PROXIES), 0),
        (certificate(usages=(Usage.SERVER,)), 0),
        (certificate(), 91),
        (certificate(), -1),
        (certificate(name=""), 0),
        (b"junk", 0),
    ],
    ids=["etcd's CA", "same name, other CA", "proxy's CA", "server usage", "expired", "not yet", "nameless", "junk"],
)
async def test_certificate_that_names_nobody(der: bytes, days: int) -> None:
    assert await authenticator(days=days).authenticate(headers(), der) is None


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("Bearer right", "admin"),
        ("bearer right", "admin"),
        ("Bearer  right", "admin"),
        ("Bearer wrong", None),
        ("Bearer right x", None),
        ("Basic right", None),
        ("right", None),
        ("", None),
    ],
)
async def test_static_token(value: str, name: str | None) -> None:
    user = await authenticator().authenticate(headers(("Authorization", value)))

    assert (user.name if user else None) == name


async def test_two_sets_of_credentials_are_none() -> None:
    both = headers(("Authorization", "Bearer right"), ("Authorization", "Bearer right"))

    assert await authenticator().authenticate(both) is None


async def test_anonymous_must_be_asked_for_and_never_hides_a_wrong_token() -> None:
    assert await authenticator().authenticate(headers()) is None
    assert await authenticator(anonymous=True).authenticate(headers()) == ANONYMOUS
    assert await authenticator(anonymous=True).authenticate(headers(("Authorization", "Bearer wrong"))) is None
    some = authenticator(anonymous_paths=("/livez",))
    assert await some.authenticate(headers(), path="/livez") == ANONYMOUS
    assert await some.authenticate(headers(), path="/api") is None


async def test_websocket_carries_a_token_as_its_protocol() -> None:
    encoded = base64.urlsafe_b64encode(b"right").rstrip(b"=").decode()
    given = headers(("Sec-WebSocket-Protocol", f"base64url.bearer.authorization.k8s.io.{encoded}, v5.channel.k8s.io"))

    user = await authenticator().authenticate(given)

    assert user is not None
    assert user.name == "admin"


PROXIED = headers(("X-Remote-User", "eve"), ("X-Remote-Group", "a"), ("X-Remote-Extra-Scopes", "s"))


async def test_front_proxy_says_who_the_user_is() -> None:
    user = await authenticator().authenticate(PROXIED, certificate(PROXIES, "front-proxy-client"))

    assert user is not None
    assert (user.name, user.groups) == ("eve", ("a", "system:authenticated"))
    assert user.extra == {"scopes": ("s",)}


@pytest.mark.parametrize(
    "der",
    [None, certificate(PROXIES, "other"), certificate(PROXIES, "front-proxy-client", (Usage.SERVER,))],
    ids=["no certificate", "a name that is not allowed", "no client usage"],
)
async def test_proxy_headers_without_a_proxy_are_nothing(der: bytes | None) -> None:
    assert await authenticator().authenticate(PROXIED, der) is None


async def test_users_certificate_with_proxy_headers_stays_the_user() -> None:
    user = await authenticator().authenticate(PROXIED, certificate(name="front-proxy-client"))

    assert user is not None
    assert user.name == "front-proxy-client"


def bootstrap_secret(**change: str) -> dict[str, Any]:
    data = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:x",
        "expiration": "2026-11-02T00:00:00Z",
    } | change
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"expiration": ""}, True),
        ({"expiration": "2026-11-01T11:59:59Z"}, False),
        ({"expiration": "soon"}, False),
        ({"token-secret": "0123456789abcdeX"}, False),
        ({"token-id": "other1"}, False),
        ({"usage-bootstrap-authentication": "false"}, False),
        ({"auth-extra-groups": "system:masters"}, False),
    ],
)
async def test_bootstrap_token(change: dict[str, str], good: bool) -> None:
    given = headers(("Authorization", "Bearer abcdef.0123456789abcdef"))

    user = await authenticator(bootstrap_secret(**change), bootstrap_tokens=True).authenticate(given)

    assert (user is not None) is good
    if user is not None:
        assert user.name == "system:bootstrap:abcdef"
        assert user.groups[0] == "system:bootstrappers"
    assert await authenticator(bootstrap_secret(**change)).authenticate(given) is None, "off unless asked for"


def test_token_file(tmp_path: Any) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text('t1,bob,1,"dev,ops"\nt2,eve,2\n')

    assert load_token_file(file) == {"t1": UserInfo("bob", ("dev", "ops"), "1"), "t2": UserInfo("eve", (), "2")}
    file.write_text("sesame,bob\n")
    with pytest.raises(ValueError, match="line 1: 2 columns") as caught:
        load_token_file(file)
    assert "sesame" not in str(caught.value)


MASTER = UserInfo("root", ("system:masters", "system:authenticated"))
CHAIN = build_authorizer(["RBAC"], FakeObjects())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), MASTER),
        ((("Impersonate-User", "bob"),), UserInfo("bob", ("system:authenticated",))),
        (
            (("Impersonate-User", "bob"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b")),
            UserInfo("bob", ("a", "b", "system:authenticated")),
        ),
        (
            (("Impersonate-User", "system:serviceaccount:ns:sa"),),
            UserInfo(
                "system:serviceaccount:ns:sa",
                ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"),
            ),
        ),
        ((("Impersonate-User", "system:anonymous"),), ANONYMOUS),
        (
            (("Impersonate-User", "b"), ("Impersonate-Uid", "7"), ("Impersonate-Extra-Acme.com%2Fteam", "x")),
            UserInfo("b", ("system:authenticated",), "7", {"acme.com/team": ("x",)}),
        ),
    ],
)
async def test_impersonation(given: tuple[tuple[str, str], ...], expected: UserInfo) -> None:
    assert await impersonated(MASTER, headers(*given), CHAIN) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ("Impersonate-User", "x"),
            'users "x" is forbidden: User "bob" cannot impersonate resource "users" in API group "" at the cluster'
            " scope",
        ),
        (
            ("Impersonate-User", "system:serviceaccount:ns:sa"),
            'serviceaccounts "sa" is forbidden: User "bob" cannot impersonate resource "serviceaccounts" in API group'
            ' "" in the namespace "ns"',
        ),
    ],
)
async def test_impersonation_needs_leave(given: tuple[str, str], message: str) -> None:
    with pytest.raises(Forbidden) as caught:
        await impersonated(UserInfo("bob"), headers(given), CHAIN)

    assert caught.value.message == message


@pytest.mark.parametrize("given", [("Impersonate-Group", "a"), ("Impersonate-Uid", "1"), ("Impersonate-Extra-a", "b")])
async def test_impersonating_groups_needs_a_user(given: tuple[str, str]) -> None:
    with pytest.raises(InternalError):
        await impersonated(MASTER, headers(given), CHAIN)
