"""ServiceAccount tokens: signed, verified, and attacked."""

import base64
import datetime as dt
import hashlib
import hmac
import json
import re
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cluster.api.resources import PODS, SERVICE_ACCOUNTS
from cluster.apiserver.service_account_keys import VerificationKey, json_web_keys, load_verification_keys
from cluster.apiserver.service_account_tokens import TokenIssuer, TokenRejected, TokenVerifier
from cluster.machinery.status_errors import ApiError
from cluster.pki.authority import private_key_pem
from cluster.pki.service_account_key import make_service_account_key
from tests.fakes.object_store import FakeObjects

ISSUER = "https://kubernetes.default.svc.cluster.local"
NOW = 1_800_000_000.0
PRIVATE, PUBLIC = make_service_account_key()
KEYS = load_verification_keys(PUBLIC)


def objects() -> Any:
    return FakeObjects(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa", "namespace": "ns"}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other", "namespace": "ns"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "ns"}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"serviceAccountName": "sa", "nodeName": "n1"},
        },
    )


def issuer(reader: Any, **more: Any) -> TokenIssuer:
    return TokenIssuer(PRIVATE, ISSUER, (ISSUER,), reader, clock=lambda: NOW, **more)


def verifier(reader: Any, now: float = NOW + 1) -> TokenVerifier:
    return TokenVerifier(KEYS, (ISSUER,), reader, clock=lambda: now)


def claims(**change: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "aud": [ISSUER],
        "exp": NOW + 3600,
        "iat": NOW,
        "nbf": NOW,
        "iss": ISSUER,
        "jti": "j",
        "sub": "system:serviceaccount:ns:sa",
        "kubernetes.io": {"namespace": "ns", "serviceaccount": {"name": "sa", "uid": "uid-sa"}},
    }
    return {key: value for key, value in (base | change).items() if value is not ...}


def private(**change: Any) -> dict[str, Any]:
    return {"namespace": "ns", "serviceaccount": {"name": "sa", "uid": "uid-sa"}, **change}


def signed(payload: dict[str, Any], **headers: Any) -> str:
    """Signed by the server's own key, whatever nonsense it says."""
    return jwt.api_jws.encode(json.dumps(payload).encode(), PRIVATE, algorithm="ES256", headers=headers)


def encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    return f"{encoded(header)}.{encoded(payload)}.{encoded(signature)}"


def hmac_token(secret: bytes) -> str:
    head = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(claims())}"
    return f"{head}.{encoded(hmac.new(secret, head.encode(), hashlib.sha256).digest())}"


def der_signed() -> str:
    head, body, signature = signed(claims()).split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    assert decode_dss_signature(encode_dss_signature(r, s)) == (r, s)
    return f"{head}.{body}.{encoded(encode_dss_signature(r, s))}"


FOREIGN_EC = private_key_pem(ec.generate_private_key(ec.SECP256R1()))
FOREIGN_RSA = private_key_pem(rsa.generate_private_key(65537, 2048))
GOOD = signed(claims())
HEAD, BODY, SIGNATURE = GOOD.split(".")

REJECTED = {
    "alg none": forged({"alg": "none"}, claims()),
    "alg None": forged({"alg": "None"}, claims()),
    "alg nOnE": forged({"alg": "nOnE"}, claims()),
    "alg missing": forged({"typ": "JWT"}, claims()),
    "alg empty": forged({"alg": ""}, claims()),
    "alg ES384": forged({"alg": "ES384"}, claims(), b"x" * 96),
    "HS256 with the public PEM": hmac_token(PUBLIC),
    "HS256 with an empty secret": hmac_token(b""),
    "another EC key": jwt.encode(claims(), FOREIGN_EC, algorithm="ES256"),
    "another EC key with our kid": jwt.encode(claims(), FOREIGN_EC, "ES256", headers={"kid": KEYS[0].key_id}),
    "an RSA key": jwt.encode(claims(), FOREIGN_RSA, algorithm="RS256"),
    "RS256 header over our signature": f"{encoded({'alg': 'RS256'})}.{BODY}.{SIGNATURE}",
    "no signature": f"{HEAD}.{BODY}.",
    "short signature": f"{HEAD}.{BODY}.{SIGNATURE[:40]}",
    "zero signature": f"{HEAD}.{BODY}.{encoded(bytes(64))}",
    "DER signature": der_signed(),
    "changed body": f"{HEAD}.{encoded(claims(sub='system:serviceaccount:kube-system:admin'))}.{SIGNATURE}",
    "jwk in the header": jwt.encode(claims(), FOREIGN_EC, "ES256", headers={"jwk": json_web_keys(KEYS)["keys"][0]}),
    "jku in the header": jwt.encode(claims(), FOREIGN_EC, "ES256", headers={"jku": "https://evil.example/jwks"}),
    "x5u in the header": jwt.encode(claims(), FOREIGN_EC, "ES256", headers={"x5u": "https://evil.example/c"}),
    "kid with a path": jwt.encode(claims(), FOREIGN_EC, "ES256", headers={"kid": "../../etc/passwd"}),
    "expired": signed(claims(exp=NOW)),
    "exp missing": signed(claims(exp=...)),
    "exp null": signed(claims(exp=None)),
    "nbf ahead": signed(claims(nbf=NOW + 3600)),
    "iat ahead": signed(claims(iat=NOW + 3600)),
    "aud of another": signed(claims(aud=["https://other.example"])),
    "aud empty": signed(claims(aud=[])),
    "aud missing": signed(claims(aud=...)),
    "aud a number": signed(claims(aud=[1])),
    "aud similar": signed(claims(aud=[ISSUER + "/"])),
    "sub of another": signed(claims(sub="system:serviceaccount:ns:other")),
    "sub missing": signed(claims(sub=...)),
    "sub a user": signed(claims(sub="system:admin")),
    "private claims missing": signed(claims(**{"kubernetes.io": ...})),
    "private claims a list": signed(claims(**{"kubernetes.io": []})),
    "namespace missing": signed(claims(**{"kubernetes.io": {"serviceaccount": {"name": "sa", "uid": "uid-sa"}}})),
    "account gone": signed(
        claims(
            sub="system:serviceaccount:ns:gone",
            **{"kubernetes.io": private(serviceaccount={"name": "gone", "uid": "u"})},
        )
    ),
    "account made anew": signed(claims(**{"kubernetes.io": private(serviceaccount={"name": "sa", "uid": "old"})})),
    "account without uid": signed(claims(**{"kubernetes.io": private(serviceaccount={"name": "sa"})})),
    "pod gone": signed(claims(**{"kubernetes.io": private(pod={"name": "gone", "uid": "u"})})),
    "pod made anew": signed(claims(**{"kubernetes.io": private(pod={"name": "p", "uid": "old"})})),
    "pod malformed": signed(claims(**{"kubernetes.io": private(pod="p")})),
    "secret gone": signed(claims(**{"kubernetes.io": private(secret={"name": "gone", "uid": "u"})})),
    "node gone": signed(claims(**{"kubernetes.io": private(node={"name": "gone", "uid": "u"})})),
    "node made anew": signed(claims(**{"kubernetes.io": private(node={"name": "n1", "uid": "old"})})),
    "legacy issuer without its secret": signed(
        {
            "iss": "kubernetes/serviceaccount",
            "sub": "system:serviceaccount:ns:sa",
            "kubernetes.io/serviceaccount/namespace": "ns",
            "kubernetes.io/serviceaccount/service-account.name": "sa",
            "kubernetes.io/serviceaccount/service-account.uid": "uid-sa",
            "kubernetes.io/serviceaccount/secret.name": "s",
        }
    ),
}

NOT_OURS = {
    "nonsense": "nonsense",
    "empty parts": "..",
    "two parts": "a.b",
    "four parts": f"{GOOD}.x",
    "no JSON": f"{encoded(b'x')}.{encoded(b'y')}.{encoded(b'z')}",
    "issuer of another": signed(claims(iss="https://other.example")),
    "issuer similar": signed(claims(iss=ISSUER + "/")),
    "issuer missing": signed(claims(iss=...)),
    "issuer a list": signed(claims(iss=[ISSUER])),
    "a megabyte": "a" * 1_000_000 + "." + BODY + "." + SIGNATURE,
    "deep JSON": f"{encoded(b'[' * 20_000)}.{BODY}.{SIGNATURE}",
    "not ASCII": f"{HEAD}é.{BODY}.{SIGNATURE}",
    "crit in the header": signed(claims(), crit=["exp"], exp=1),
    "body no mapping": f"{HEAD}.{encoded([1])}.{SIGNATURE}",
}


@pytest.mark.parametrize("token", REJECTED.values(), ids=REJECTED.keys())
async def test_bad_token_is_rejected(token: str) -> None:
    with pytest.raises(TokenRejected):
        assert await verifier(objects()).verify(token, (ISSUER,)) is not None


@pytest.mark.parametrize("token", NOT_OURS.values(), ids=NOT_OURS.keys())
async def test_token_of_somebody_else_is_not_judged(token: str) -> None:
    assert await verifier(objects()).verify(token, (ISSUER,)) is None


async def test_good_token_names_its_account() -> None:
    found = await verifier(objects()).verify(GOOD, (ISSUER,))

    assert found is not None
    assert found.user.name == "system:serviceaccount:ns:sa"
    assert found.user.groups == ("system:serviceaccounts", "system:serviceaccounts:ns")
    assert found.user.uid == "uid-sa"
    assert found.audiences == (ISSUER,)


async def test_signed_token_is_bound_to_pod_and_node() -> None:
    reader = objects()
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "uid-p"}

    answer = await issuer(reader).create_token({"spec": {"boundObjectRef": reference}}, "ns", "sa")
    found = await verifier(reader).verify(answer["status"]["token"], (ISSUER,))

    assert answer["status"]["expirationTimestamp"] == dt.datetime.fromtimestamp(NOW + 3600, dt.UTC).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    assert answer["spec"]["audiences"] == [ISSUER]
    assert found is not None
    extra = {key.removeprefix("authentication.kubernetes.io/"): value for key, value in found.user.extra.items()}
    assert extra.pop("credential-id")[0].startswith("JTI=")
    assert extra == {
        "node-name": ("n1",), "node-uid": ("uid-n1",), "pod-name": ("p",), "pod-uid": ("uid-p",),
    }  # fmt: skip


async def test_token_dies_with_its_pod_and_its_account() -> None:
    reader = objects()
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p"}
    check = verifier(reader)
    token = (await issuer(reader).create_token({"spec": {"boundObjectRef": reference}}, "ns", "sa"))["status"]["token"]
    assert await check.verify(token, (ISSUER,))

    reader.remove(PODS, "ns", "p")
    with pytest.raises(TokenRejected, match="pod ns/p is gone"):
        await check.verify(token, (ISSUER,))

    reader.remove(SERVICE_ACCOUNTS, "ns", "sa")
    with pytest.raises(TokenRejected, match="service account ns/sa is gone"):
        await check.verify(token, (ISSUER,))


async def test_token_of_an_account_that_the_cache_does_not_have_yet_is_good() -> None:
    reader = objects()
    reader.late["serviceaccounts", "ns", "sa"] = reader.get(SERVICE_ACCOUNTS, "ns", "sa")
    reader.remove(SERVICE_ACCOUNTS, "ns", "sa")

    assert await verifier(reader).verify(GOOD, (ISSUER,))


async def test_token_expires_while_its_signature_is_remembered() -> None:
    now = [NOW]
    check = TokenVerifier(KEYS, (ISSUER,), objects(), clock=lambda: now[0])
    assert await check.verify(GOOD, (ISSUER,))

    now[0] = NOW + 3600

    with pytest.raises(TokenRejected, match="expired"):
        await check.verify(GOOD, (ISSUER,))


async def test_legacy_token_lives_as_long_as_its_secret_holds_it() -> None:
    reader = objects()
    account = reader.get(SERVICE_ACCOUNTS, "ns", "sa")
    token = issuer(reader).legacy_token(account, "s")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "ns"}}
    reader.put({**secret, "data": {"token": base64.b64encode(token.encode()).decode()}})

    found = await verifier(reader).verify(token, (ISSUER,))

    assert found is not None
    assert found.user.name == "system:serviceaccount:ns:sa"


async def test_rsa_keys_verify_too() -> None:
    key = load_pem_private_key(FOREIGN_RSA, None)
    check = TokenVerifier([VerificationKey.from_public_key(key.public_key())], (ISSUER,), objects(), clock=lambda: NOW)

    assert await check.verify(jwt.encode(claims(), FOREIGN_RSA, algorithm="RS256"), (ISSUER,))


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ({"expirationSeconds": 599}, 422, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": -1}, 422, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 2**32 + 1}, 422, "may not specify a duration larger than 2^32 seconds"),
        ({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "gone"}}, 404, 'pods "gone" not found'),
        (
            {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "old"}},
            409,
            "The object might have been deleted and then recreated",
        ),
        (
            {"boundObjectRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
            400,
            "cannot bind token to object of type apps/v1, Kind=Deployment",
        ),
    ],
)
async def test_bad_token_request(spec: dict[str, Any], code: int, message: str) -> None:
    with pytest.raises(ApiError, match=re.escape(message)) as caught:
        await issuer(objects()).create_token({"spec": spec}, "ns", "sa")

    assert caught.value.http_code == code


async def test_pod_of_another_account_gives_no_token() -> None:
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p"}

    with pytest.raises(ApiError, match="pod running with different serviceaccount name"):
        await issuer(objects()).create_token({"spec": {"boundObjectRef": reference}}, "ns", "other")


async def test_long_lifetimes_are_cut_to_the_limit() -> None:
    answer = await issuer(objects(), max_expiration=7200).create_token(
        {"spec": {"expirationSeconds": 99999}}, "ns", "sa"
    )

    assert answer["spec"]["expirationSeconds"] == 7200


async def test_a_mounted_token_outlives_the_hour_that_its_holder_is_told(caplog: pytest.LogCaptureFixture) -> None:
    reader = objects()
    extending = issuer(reader, extend_expiration=True)
    answer = await extending.create_token({"spec": {"expirationSeconds": 3607}}, "ns", "sa")
    assert answer["spec"]["expirationSeconds"] == 3607
    assert answer["status"]["expirationTimestamp"] == "2027-01-15T09:00:07Z"
    for moment in (NOW + 3600, NOW + 4000, NOW + 5000):
        assert await verifier(reader, moment).verify(answer["status"]["token"], (ISSUER,)) is not None
    assert caplog.text.count("a stale token is used") == 2
    with pytest.raises(TokenRejected, match="expired"):
        await verifier(reader, NOW + 366 * 24 * 3600).verify(answer["status"]["token"], (ISSUER,))
    for spec in ({"expirationSeconds": 3600}, {"expirationSeconds": 3607, "audiences": ["other"]}):
        token = (await extending.create_token({"spec": spec}, "ns", "sa"))["status"]["token"]
        with pytest.raises(TokenRejected, match="expired"):
            await verifier(reader, NOW + 4000).verify(token, (ISSUER, "other"))


async def test_published_keys_verify_what_was_signed() -> None:
    reader = objects()
    token = (await issuer(reader).create_token({}, "ns", "sa"))["status"]["token"]
    published = json_web_keys(KEYS)["keys"][0]

    assert published["kid"] == jwt.get_unverified_header(token)["kid"]
    assert "d" not in published
    decoded = jwt.decode(
        token, jwt.PyJWK(published), audience=ISSUER, options={"verify_iat": False, "verify_nbf": False}
    )
    assert decoded["sub"] == "system:serviceaccount:ns:sa"


def test_key_files_hold_several_keys_and_no_junk() -> None:
    assert len(load_verification_keys(PUBLIC + PRIVATE)) == 2
    with pytest.raises(ValueError, match="no PEM key"):
        load_verification_keys(b"junk")
