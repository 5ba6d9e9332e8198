"""What an AuthenticationConfiguration and the oidc flags mean, and what a wrong one is told."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.apiserver.access_options import OidcFlags
from cluster.apiserver.oidc import configuration
from cluster.apiserver.oidc.claims import ClaimsRefused, user_of
from cluster.apiserver.oidc.configuration import IssuerSettings

ISSUER = "https://issuer.example"
OWN = "https://kubernetes.default.svc"


def jwt(**change: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "issuer": {"url": ISSUER, "audiences": ["apiserver"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}},
    }
    return base | change


def load(directory: Path, *authenticators: dict[str, Any], **more: Any) -> configuration.AuthenticationSettings:
    path = directory / "authentication.yaml"
    head = {"kind": "AuthenticationConfiguration", "apiVersion": "apiserver.config.k8s.io/v1"}
    path.write_text(yaml.safe_dump({**head, "jwt": list(authenticators), **more}))
    return configuration.load(str(path), [OWN])


def issuer(directory: Path, **change: Any) -> IssuerSettings:
    return load(directory, jwt(**change)).issuers[0]


PLAIN = {"claim": "sub", "prefix": ""}
ANY = {"claim": "a", "prefix": ""}
WITH_GROUPS = {"username": PLAIN, "groups": {"claim": "g", "prefix": ""}}
BY_ADDRESS = {"username": {"claim": "email", "prefix": ""}}
CLAIMS = {
    "sub": "alice", "email": "alice@example.com", "groups": ["dev", "ops"], "jti": "7", "team": "red", "level": 3,
    "email_verified": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("mappings", "user"),
    [
        ({"username": {"claim": "sub", "prefix": "x:"}}, ("x:alice", (), "")),
        (BY_ADDRESS, ("alice@example.com", (), "")),
        ({"username": {"expression": "claims.sub + '@' + claims.team"}}, ("alice@red", (), "")),
        (
            {"username": PLAIN, "groups": {"claim": "groups", "prefix": "g:"}},
            ("alice", ("g:dev", "g:ops"), ""),
        ),
        ({"username": PLAIN, "groups": {"claim": "team", "prefix": ""}}, ("alice", ("red",), "")),
        ({"username": PLAIN, "groups": {"claim": "none", "prefix": ""}}, ("alice", (), "")),
        (
            {"username": PLAIN, "groups": {"expression": "claims.groups.filter(g, g != 'ops')"}},
            ("alice", ("dev",), ""),
        ),
        ({"username": PLAIN, "uid": {"claim": "jti"}}, ("alice", (), "7")),
        ({"username": PLAIN, "uid": {"expression": "string(claims.level)"}}, ("alice", (), "3")),
    ],
)
def test_claims_make_a_user(tmp_path: Path, mappings: dict[str, Any], user: tuple[str, tuple[str, ...], str]) -> None:
    found = user_of(issuer(tmp_path, claimMappings=mappings), CLAIMS)
    assert (found.name, found.groups, found.uid) == user
    assert found.extra == {"authentication.kubernetes.io/credential-id": ("JTI=7",)}


def test_extras_are_made_by_expressions(tmp_path: Path) -> None:
    extra = [
        {"key": "example.com/team", "valueExpression": "claims.team"},
        {"key": "example.com/groups", "valueExpression": "claims.groups"},
        {"key": "example.com/none", "valueExpression": "''"},
    ]
    settings = issuer(tmp_path, claimMappings={"username": PLAIN, "extra": extra})
    found = user_of(settings, {"sub": "a", "team": "red", "groups": ["x", "y"]})
    assert found.extra == {"example.com/team": ("red",), "example.com/groups": ("x", "y")}


@pytest.mark.parametrize(
    ("change", "claims", "why"),
    [
        ({}, {}, "claim not present"),
        ({}, {"sub": 7}, "claim not present or no string"),
        ({}, {"sub": ""}, "the user name is empty"),
        ({"claimMappings": BY_ADDRESS}, {"email": "a", "email_verified": False}, "not verified"),
        ({"claimMappings": BY_ADDRESS}, {"email": "a", "email_verified": "true"}, "not verified"),
        ({"claimMappings": {"username": {"expression": "claims.level"}}}, {"level": 3}, "must evaluate to a string"),
        ({"claimMappings": {"username": {"expression": "claims.gone"}}}, {"sub": "a"}, "no such key: gone"),
        ({"claimMappings": WITH_GROUPS}, {"sub": "a", "g": {"x": 1}}, "neither a string nor a list of strings"),
        ({"claimMappings": WITH_GROUPS}, {"sub": "a", "g": ["x", 1]}, "neither a string nor a list of strings"),
        (
            {"claimValidationRules": [{"claim": "hd", "requiredValue": "example.com"}]},
            {"sub": "a"},
            'required claim "hd" not',
        ),
        (
            {"claimValidationRules": [{"claim": "hd", "requiredValue": "example.com"}]},
            {"sub": "a", "hd": "evil.com"},
            "does not match",
        ),
        (
            {"claimValidationRules": [{"expression": "claims.exp - claims.nbf <= 3600", "message": "too long"}]},
            {"sub": "a", "exp": 9000, "nbf": 0},
            "too long",
        ),
        (
            {
                "userValidationRules": [
                    {"expression": "!user.username.startsWith('oidc:system')", "message": "reserved"}
                ]
            },
            {"sub": "system:admin"},
            "reserved",
        ),
        (
            {
                "userValidationRules": [{"expression": "user.groups.all(g, g != 'system:masters')"}],
                "claimMappings": WITH_GROUPS,
            },
            {"sub": "a", "g": ["system:masters"]},
            "validation expression",
        ),
    ],
)
def test_claims_that_are_not_good_enough(
    tmp_path: Path, change: dict[str, Any], claims: dict[str, Any], why: str
) -> None:
    with pytest.raises(ClaimsRefused, match=re.escape(why)):
        user_of(issuer(tmp_path, **change), claims)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"issuer": {"audiences": ["a"]}}, "jwt[0].issuer.url: Required value"),
        ({"issuer": {"url": "http://a.example", "audiences": ["a"]}}, "URL scheme must be https"),
        ({"issuer": {"url": "https://u@a.example", "audiences": ["a"]}}, "URL must not contain a username or password"),
        ({"issuer": {"url": "https://a.example?x", "audiences": ["a"]}}, "URL must not contain a query"),
        ({"issuer": {"url": "https://a.example#x", "audiences": ["a"]}}, "URL must not contain a fragment"),
        ({"issuer": {"url": OWN, "audiences": ["a"]}}, f"URL must not overlap with disallowed issuers: [{OWN}]"),
        ({"issuer": {"url": ISSUER}}, "at least one jwt[0].issuer.audiences is required"),
        (
            {"issuer": {"url": ISSUER, "audiences": ["a", "b"]}},
            "audienceMatchPolicy must be MatchAny for multiple audiences",
        ),
        (
            {"issuer": {"url": ISSUER, "audiences": ["a", "a"], "audienceMatchPolicy": "MatchAny"}},
            'audiences[1]: Duplicate value: "a"',
        ),
        (
            {"issuer": {"url": ISSUER, "audiences": ["a"], "discoveryURL": ISSUER + "/"}},
            "discoveryURL must be different from URL",
        ),
        (
            {"issuer": {"url": ISSUER, "audiences": ["a"], "certificateAuthority": "x"}},
            'certificateAuthority: Invalid value: "<omitted>"',
        ),
        ({"claimMappings": {}}, "jwt[0].claimMappings.username: Required value: claim or expression is required"),
        ({"claimMappings": {"username": {"claim": "a"}}}, "prefix is required when claim is set"),
        ({"claimMappings": {"username": {"claim": "a", "expression": "b"}}}, "claim and expression can't both be set"),
        (
            {"claimMappings": {"username": {"expression": "claims.sub", "prefix": "x"}}},
            "may not be specified when expression is set",
        ),
        ({"claimMappings": {"username": {"expression": "claims."}}}, "compilation failed"),
        (
            {"claimMappings": {"username": {"expression": "request.user"}}, "claimValidationRules": [{}]},
            "claim or expression is required",
        ),
        ({"claimMappings": {"username": {"expression": "claims.email"}}}, "claims.email_verified must be used in"),
        (
            {"claimMappings": {"username": ANY, "extra": [{"key": "foo", "valueExpression": "''"}]}},
            "must be a domain-prefixed path",
        ),
        (
            {"claimMappings": {"username": ANY, "extra": [{"key": "a.b/C", "valueExpression": "''"}]}},
            "must be lowercase",
        ),
        (
            {"claimMappings": {"username": ANY, "extra": [{"key": "x.k8s.io/c", "valueExpression": "''"}]}},
            "are reserved for Kubernetes use",
        ),
        ({"claimMappings": {"username": ANY, "extra": [{"key": "a.b/c"}]}}, "valueExpression: Required value"),
        ({"claimValidationRules": [{"claim": "a", "message": "m"}]}, "may not be specified when claim is set"),
        (
            {"claimValidationRules": [{"expression": "true", "requiredValue": "m"}]},
            "may not be specified when expression is set",
        ),
        ({"claimValidationRules": [{"claim": "a"}, {"claim": "a"}]}, 'claim: Duplicate value: "a"'),
        ({"userValidationRules": [{}]}, "userValidationRules[0].expression: Required value"),
        ({"unknown": 1}, 'jwt[0].unknown: unknown field "unknown"'),
    ],
)
def test_a_wrong_authenticator_is_told_what_is_wrong(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        load(tmp_path, jwt(**change))


def test_an_address_counts_when_its_verification_is_looked_at(tmp_path: Path) -> None:
    name = {"username": {"expression": "claims.email"}}
    rule = [{"expression": "claims.?email_verified.orValue(true) == true"}]
    assert issuer(tmp_path, claimMappings=name, claimValidationRules=rule).username.expression == "claims.email"


def test_two_authenticators_are_two_issuers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape('jwt[1].issuer.url: Duplicate value: "https://issuer.example"')):
        load(tmp_path, jwt(), jwt())


@pytest.mark.parametrize(
    ("anonymous", "expected"),
    [
        ({"enabled": True}, (True, ())),
        ({"enabled": False}, (False, ())),
        ({"enabled": True, "conditions": [{"path": "/livez"}]}, (True, ("/livez",))),
    ],
)
def test_anonymous_settings(tmp_path: Path, anonymous: dict[str, Any], expected: tuple[bool, tuple[str, ...]]) -> None:
    found = load(tmp_path, anonymous=anonymous).anonymous
    assert found is not None
    assert (found.enabled, found.paths) == expected


def test_conditions_need_anonymous_requests(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="enabled should be set to true when conditions are defined"):
        load(tmp_path, anonymous={"enabled": False, "conditions": [{"path": "/livez"}]})


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, "https://issuer.example#alice"),
        ({"username_prefix": "-"}, "alice"),
        ({"username_prefix": "x:"}, "x:alice"),
        ({"username_claim": "email"}, "alice@example.com"),
    ],
)
def test_flags_say_what_a_user_is_called(change: dict[str, Any], name: str) -> None:
    flags = OidcFlags(issuer_url=ISSUER, client_id="apiserver", **change)
    (settings,) = configuration.from_flags(flags, "").issuers
    assert user_of(settings, CLAIMS).name == name


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"client_id": ""}, "must be specified together"),
        ({"signing_algs": ("HS256",)}, "unsupported signing alg"),
        ({"issuer_url": "http://a"}, "URL scheme must be https"),
        ({"required_claims": ("a",)}, "is no key=value"),
    ],
)
def test_wrong_flags(change: dict[str, Any], told: str) -> None:
    given: dict[str, Any] = {"issuer_url": ISSUER, "client_id": "apiserver"}
    with pytest.raises(ValueError, match=re.escape(told)):
        configuration.from_flags(OidcFlags(**(given | change)), "")
