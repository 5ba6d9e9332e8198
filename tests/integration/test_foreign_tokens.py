"""Tokens that others vouch for: OpenID issuers and a webhook, over TLS, and everything that must not get in."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cluster.apiserver.oidc import key_set
from cluster.pki.service_account_key import make_service_account_key
from tests.integration.conftest import TOKEN, Api, serving
from tests.integration.kubeconfig_webhook import new_authority, webhook
from tests.integration.openid_issuer import Issuer, issuer

SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


async def who(api: Api, token: str) -> str:
    """The user's name, or the HTTP status."""
    review = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    status, answer = await api.call("POST", SELF, review, Authorization=f"Bearer {token}")
    return answer["status"]["userInfo"]["username"] if status == 201 else str(status)


def config(directory: Path, given: Issuer, **change: Any) -> str:
    authenticator: dict[str, Any] = {
        "issuer": {"url": given.url, "audiences": ["apiserver"], "certificateAuthority": given.authority_pem.decode()},
        "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}},
    }
    head = {"kind": "AuthenticationConfiguration", "apiVersion": "apiserver.config.k8s.io/v1"}
    path = directory / "authentication.yaml"
    path.write_text(yaml.safe_dump({**head, "jwt": [authenticator | change]}))
    return f"--authentication-config={path}"


def encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def attacks(given: Issuer) -> dict[str, str]:
    """Name -> token. None of them is good."""
    other, other_rsa = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    good = given.token()
    head, body, signature = good.split(".")
    public = (
        given.keys["one"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    now = int(time.time())
    endless = json.dumps(given.claims(exp="END")).replace('"END"', "1e999").encode()

    def header(alg: Any, **more: Any) -> str:
        return encoded({"alg": alg, "kid": "one", **more})

    def symmetric(secret: bytes) -> str:
        signed = f"{header('HS256')}.{body}"
        return f"{signed}.{encoded(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"

    def foreign(**headers: Any) -> str:
        return jwt.encode(given.claims(), other, "ES256", headers={"kid": "one", **headers})

    return {
        **{f"alg {alg}": f"{header(alg)}.{body}." for alg in ("none", "None", "nOnE", "", "ES384", "HS256", "EdDSA")},
        "alg missing": f"{encoded({'kid': 'one'})}.{body}.{signature}",
        "alg a list": f"{header(['ES256'])}.{body}.{signature}",
        "HS256 with the public key": symmetric(public),
        "HS256 without a secret": symmetric(b""),
        "RS256 over an EC signature": f"{header('RS256')}.{body}.{signature}",
        "PS256 over an EC signature": f"{header('PS256')}.{body}.{signature}",
        "another EC key": foreign(),
        "another RSA key": jwt.encode(given.claims(), other_rsa, "RS256", headers={"kid": "one"}),
        "a key of another id": jwt.encode(given.claims(), other, "ES256", headers={"kid": "two"}),
        "no key id, another key": jwt.encode(given.claims(), other, "ES256"),
        "jku": foreign(jku=given.url + "/evil"),
        "x5u": foreign(x5u=given.url + "/evil"),
        "jwk": foreign(jwk=given.published("one")),
        "kid with a path": foreign(kid="../../../dev/null"),
        "kid with SQL": foreign(kid="' OR 1=1 --"),
        "kid with a URL": foreign(kid="https://127.0.0.1/evil"),
        "kid of 10 kB": foreign(kid="x" * 10_000),
        "crit": jwt.encode(given.claims(), given.keys["one"], "ES256", headers={"kid": "one", "crit": ["a"], "a": 1}),
        "no signature": f"{head}.{body}.",
        "half a signature": f"{head}.{body}.{signature[:40]}",
        "a zero signature": f"{head}.{body}.{encoded(bytes(64))}",
        "a doubled signature": f"{head}.{body}.{signature}{signature}",
        "another body": f"{head}.{encoded(given.claims(sub='root'))}.{signature}",
        "whitespace": f"{head}. {body}.{signature}",
        "a fourth part": f"{good}.x",
        "two parts": f"{head}.{body}",
        "expired": given.token(exp=now - 1),
        "exp missing": given.token(exp=...),
        "exp null": given.token(exp=None),
        "exp a text": given.token(exp="9999999999"),
        "exp true": given.token(exp=True),
        "exp infinite": jwt.api_jws.encode(endless, given.keys["one"], "ES256", headers={"kid": "one"}),
        "nbf in the future": given.token(nbf=now + 3600),
        "nbf a text": given.token(nbf="soon"),
        "aud of another": given.token(aud="other"),
        "aud missing": given.token(aud=...),
        "aud empty": given.token(aud=[]),
        "aud null": given.token(aud=None),
        "aud similar": given.token(aud=["apiserver "]),
        "aud an object": given.token(aud={"apiserver": True}),
        "iss with a slash": given.token(iss=given.url + "/"),
        "iss in capitals": given.token(iss=given.url.upper()),
        "iss missing": given.token(iss=...),
        "iss a list": given.token(iss=[given.url]),
        "iss of the web": given.token(iss="https://accounts.example"),
        "sub missing": given.token(sub=...),
        "sub empty": given.token(sub=""),
        "a body that is no object": f"{head}.{encoded([])}.{signature}",
        "a body that is no JSON": f"{head}.{encoded(b'{')}.{signature}",
        "deep JSON": f"{head}.{encoded(b'[' * 6000)}.{signature}",
    }  # fmt: skip


async def test_nothing_forged_gets_in(etcd_url: str, tmp_path: Path) -> None:
    async with issuer(tmp_path) as given, serving(etcd_url, tmp_path, config(tmp_path, given)) as api:
        assert await who(api, given.token()) == "oidc:alice"
        assert await who(api, given.token(aud=["x", "apiserver"])) == "oidc:alice"
        table = attacks(given)
        assert len(table) >= 50
        accepted = {name: found for name, token in table.items() if (found := await who(api, token)) != "401"}
        assert accepted == {}
        assert "/evil" not in given.fetched  # no address in a token is ever asked


async def test_an_unknown_key_is_fetched_once_and_then_known(etcd_url: str, tmp_path: Path) -> None:
    async with issuer(tmp_path) as given, serving(etcd_url, tmp_path, config(tmp_path, given)) as api:
        assert await who(api, given.token()) == "oidc:alice"
        given.keys = {"two": rsa.generate_private_key(65537, 2048)}
        before = len(given.fetched)
        for _ in range(5):  # a moment after the last fetch nobody makes us ask again
            assert await who(api, given.token("two", "RS256")) == "401"
        assert len(given.fetched) == before
        keys = _key_set(api, given)
        keys._tried -= key_set.REFRESH_SECONDS
        old = jwt.encode(given.claims(), given.keys["two"], "RS256", headers={"kid": "one"})
        assert await who(api, given.token("two", "RS256")) == "oidc:alice"
        assert await who(api, given.token("two", "PS384")) == "oidc:alice"
        assert await who(api, old) == "401"


async def test_a_withdrawn_key_ends_tokens_that_were_good(etcd_url: str, tmp_path: Path) -> None:
    async with issuer(tmp_path) as given, serving(etcd_url, tmp_path, config(tmp_path, given)) as api:
        token = given.token()
        assert await who(api, token) == "oidc:alice"
        given.keys = {"two": ec.generate_private_key(ec.SECP384R1())}
        keys = _key_set(api, given)
        keys._tried -= key_set.REFRESH_SECONDS
        assert await who(api, given.token("two", "ES384")) == "oidc:alice"
        assert await who(api, token) == "401"


async def test_an_issuer_that_is_not_what_it_should_be_vouches_for_nobody(etcd_url: str, tmp_path: Path) -> None:
    async with issuer(tmp_path) as given:
        given.name = "https://somebody.else"
        async with serving(etcd_url, tmp_path, config(tmp_path, given)) as api:
            assert await who(api, given.token()) == "401"
        given.name = ""
        given.authority_pem = new_authority().certificate_pem
        before = len(given.fetched)
        async with serving(etcd_url, tmp_path, config(tmp_path, given)) as api:
            assert await who(api, given.token()) == "401"
        assert len(given.fetched) == before  # TLS refused it before anything was asked


async def test_flags_name_one_issuer_and_users_bear_its_name(etcd_url: str, tmp_path: Path) -> None:
    async with issuer(tmp_path) as given:
        authority = tmp_path / "issuer-ca.crt"
        authority.write_bytes(given.authority_pem)
        flags = [
            f"--oidc-issuer-url={given.url}", "--oidc-client-id=apiserver", f"--oidc-ca-file={authority}",
            "--oidc-signing-algs=ES256", "--oidc-required-claim=hd=example.com",
        ]  # fmt: skip
        async with serving(etcd_url, tmp_path, *flags) as api:
            assert await who(api, given.token(hd="example.com")) == f"{given.url}#alice"
            assert await who(api, given.token(hd="evil.com")) == "401"
            assert await who(api, given.token()) == "401"


async def test_a_changed_configuration_is_in_force_at_once(etcd_url: str, tmp_path: Path) -> None:
    async with issuer(tmp_path) as given, serving(etcd_url, tmp_path, config(tmp_path, given)) as api:
        token = given.token(team="red")
        assert await who(api, token) == "oidc:alice"
        rule = [{"expression": "claims.team == 'blue'", "message": "wrong team"}]
        config(tmp_path, given, claimValidationRules=rule)
        api.server.files.look()
        assert await who(api, token) == "401"
        assert await who(api, given.token(team="blue")) == "oidc:alice"


async def test_anonymous_requests_are_let_in_where_the_configuration_says(etcd_url: str, tmp_path: Path) -> None:
    path = tmp_path / "authentication.yaml"
    head = {"kind": "AuthenticationConfiguration", "apiVersion": "apiserver.config.k8s.io/v1"}
    path.write_text(yaml.safe_dump({**head, "anonymous": {"enabled": True, "conditions": [{"path": "/livez"}]}}))
    async with serving(etcd_url, tmp_path, f"--authentication-config={path}") as api:
        nobody = {"Authorization": ""}
        assert (await api.call("GET", "/livez", **nobody))[0] == 200
        assert (await api.call("GET", "/version", **nobody))[0] == 401
        assert (await api.call("GET", "/livez/", **nobody))[0] == 401


async def test_a_webhook_knows_tokens(etcd_url: str, tmp_path: Path) -> None:
    def review(asked: dict[str, Any]) -> Any:
        token = asked["spec"]["token"]
        if token == "broken":
            return 500
        user = {"username": "carol", "groups": ["night"], "uid": "9", "extra": {"example.com/a": ["b"]}}
        good = {"authenticated": True, "user": user}
        return {**asked, "status": good if token.startswith("good") else {"authenticated": False}}

    async with webhook(tmp_path, review) as hook:
        flags = [
            f"--authentication-token-webhook-config-file={hook.kubeconfig(tmp_path / 'hook.conf')}",
            "--authentication-token-webhook-version=v1",
        ]
        async with serving(etcd_url, tmp_path, *flags) as api:
            assert await who(api, "good-1") == "carol"
            assert await who(api, "good-1") == "carol"
            assert len(hook.asked) == 1  # remembered
            assert hook.asked[0]["apiVersion"] == "authentication.k8s.io/v1"
            assert await who(api, "bad") == "401"
            assert await who(api, "bad") == "401"
            assert len(hook.asked) == 2
            assert await who(api, TOKEN) == "admin"  # never asked for what we know ourselves
            assert len(hook.asked) == 2
            given = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": "good-2"}}
            status = (await api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", given))[1]["status"]
            assert status["user"]["groups"] == ["night", "system:authenticated"]
            assert status["user"]["extra"] == {"example.com/a": ["b"]}
            hook.answer = lambda asked: {**asked, "status": {"authenticated": True, "user": {"groups": ["x"]}}}
            assert await who(api, "nameless") == "401"
            hook.answer = lambda asked: {
                **asked, "status": {"authenticated": "true", "user": {"username": "eve"}},
            }  # fmt: skip
            assert await who(api, "not-quite-true") == "401"


async def test_a_webhook_under_another_authority_is_not_believed(etcd_url: str, tmp_path: Path) -> None:
    good = {"authenticated": True, "user": {"username": "eve"}}
    async with webhook(tmp_path, lambda asked: {**asked, "status": good}) as hook:
        path = hook.kubeconfig(tmp_path / "hook.conf", new_authority().certificate_pem)
        flag = f"--authentication-token-webhook-config-file={path}"
        async with serving(etcd_url, tmp_path, flag) as api:
            source = api.server.security.token_sources
            assert source.webhook is not None
            source.webhook.first_pause = 0.001
            assert await who(api, "any") == "401"
        assert hook.asked == []


def _key_set(api: Api, given: Issuer) -> key_set.KeySet:
    issuers = api.server.security.token_sources.issuers
    assert issuers is not None
    return issuers._issuers[given.url][1]


async def test_the_keys_of_our_own_tokens_are_published(etcd_url: str, tmp_path: Path) -> None:
    private, public = make_service_account_key()
    (tmp_path / "sa.key").write_bytes(private)
    (tmp_path / "sa.pub").write_bytes(public)
    name = "https://kubernetes.default.svc.cluster.local"
    flags = [
        f"--service-account-issuer={name}", f"--service-account-key-file={tmp_path / 'sa.pub'}",
        f"--service-account-signing-key-file={tmp_path / 'sa.key'}",
    ]  # fmt: skip
    async with serving(etcd_url, tmp_path, *flags) as api:
        core = await api.namespace("published")
        status, document = await api.call("GET", "/.well-known/openid-configuration")
        assert (status, document["issuer"]) == (200, name)
        assert document["jwks_uri"].endswith("/openid/v1/jwks")
        async with api.session.get(f"{api.url}/openid/v1/jwks") as answer:
            assert answer.headers["Content-Type"] == "application/jwk-set+json"
            assert answer.headers["Cache-Control"] == "public, max-age=3600"
            tag, keys = answer.headers["ETag"], json.loads(await answer.read())["keys"]
        async with api.session.get(f"{api.url}/openid/v1/jwks", headers={"If-None-Match": tag}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
        request = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}
        token = (await api.call("POST", f"{core}/serviceaccounts/default/token", request))[1]["status"]["token"]
        claims = jwt.decode(token, jwt.PyJWK(keys[0]), audience=name)
        assert claims["sub"] == "system:serviceaccount:published:default"
        assert await who(api, token) == "system:serviceaccount:published:default"
        # With its account its tokens end, at once.
        assert (await api.call("DELETE", f"{core}/serviceaccounts/default"))[0] == 200
        assert await who(api, token) == "401"
