"""
What a verified token's claims make of its holder. Pure.

Source: k8s.io/apiserver, plugin/pkg/authenticator/token/oidc/oidc.go.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.apiserver.oidc.configuration import IssuerSettings, Mapped
from cluster.apiserver.requests import UserInfo

Claims = Mapping[str, Any]
_CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"


class ClaimsRefused(Exception):
    """The token is genuine and its claims are not good enough. For the server's log; a client sees 401 alone."""


def user_of(settings: IssuerSettings, claims: Claims) -> UserInfo:
    """Raises ClaimsRefused."""
    for rule in settings.claim_rules:
        if rule.claim:
            if rule.claim not in claims:
                raise ClaimsRefused(f'oidc: required claim "{rule.claim}" not present in ID token')
            if claims[rule.claim] != rule.value:
                raise ClaimsRefused(f'oidc: required claim "{rule.claim}" value does not match')
        elif _evaluate(rule.expression, {"claims": claims}) is not True:
            raise ClaimsRefused(f"oidc: {_told(rule.message, rule.expression)}")
    extra = {key: values for key, expression in settings.extra if (values := _list(expression, claims, key))}
    if isinstance(jti := claims.get("jti"), str) and jti:
        extra[_CREDENTIAL_ID] = (f"JTI={jti}",)
    user = UserInfo(
        _username(settings.username, claims), _groups(settings.groups, claims), _uid(settings, claims), extra
    )
    for user_rule in settings.user_rules:
        if _evaluate(user_rule.expression, {"user": _shown(user)}) is not True:
            raise ClaimsRefused(f"oidc: {_told(user_rule.message, user_rule.expression)}")
    return user


def _told(message: str, expression: str) -> str:
    return f"validation expression '{expression}' failed: {message}" if message else (
        f"validation expression '{expression}' failed"
    )  # fmt: skip


def _username(mapped: Mapped, claims: Claims) -> str:
    if mapped.expression:
        name = _evaluate(mapped.expression, {"claims": claims})
        if not isinstance(name, str):
            raise ClaimsRefused("oidc: claimMappings.username.expression must evaluate to a string")
    else:
        name = claims.get(mapped.claim)
        if not isinstance(name, str):
            raise ClaimsRefused(f'oidc: parse username claims "{mapped.claim}": claim not present or no string')
        if mapped.claim == "email":
            # Only when the issuer says whether it has checked the address does it have to have.
            verified = claims.get("email_verified", True)
            if verified is not True:
                raise ClaimsRefused("oidc: email not verified")
    if not name:
        raise ClaimsRefused("oidc: the user name is empty")
    return f"{mapped.prefix}{name}"


def _groups(mapped: Mapped, claims: Claims) -> tuple[str, ...]:
    if mapped.expression:
        return _list(mapped.expression, claims, "groups")
    if not mapped.claim or claims.get(mapped.claim) is None:
        return ()
    given = claims[mapped.claim]
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list) or not all(isinstance(group, str) for group in listed):
        raise ClaimsRefused(f'oidc: parse groups claim "{mapped.claim}": neither a string nor a list of strings')
    return tuple(f"{mapped.prefix}{group}" for group in listed)


def _uid(settings: IssuerSettings, claims: Claims) -> str:
    mapped = settings.uid
    if mapped.expression:
        uid = _evaluate(mapped.expression, {"claims": claims})
    elif mapped.claim:
        uid = claims.get(mapped.claim)
    else:
        return ""
    if not isinstance(uid, str):
        raise ClaimsRefused("oidc: the uid is no string")
    return uid


def _list(expression: str, claims: Claims, what: str) -> tuple[str, ...]:
    """A string or a list of strings; nothing for null and for empty ones."""
    value = _evaluate(expression, {"claims": claims})
    listed: Sequence[Any] = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise ClaimsRefused(f"oidc: the expression of {what} makes neither a string nor a list of strings")
    return tuple(one for one in listed if one)


def _evaluate(expression: str, variables: dict[str, Any]) -> Any:
    from cluster.apiserver.oidc import expressions  # loads the engine, for who has expressions

    try:
        return expressions.value(expression, variables)
    except ValueError as fault:
        raise ClaimsRefused(f"oidc: expression '{expression}' resulted in error: {fault}") from None


def _shown(user: UserInfo) -> dict[str, Any]:
    extra = {key: list(values) for key, values in user.extra.items()}
    return {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": extra}
