"""
Acting as somebody else: the Impersonate-* headers, each value allowed by the authorizer.

Called by   the request pipeline, after authentication and before authorization of the request itself.
Source: kubernetes, staging/src/k8s.io/apiserver/pkg/endpoints/filters/impersonation.
"""

from cluster.apiserver.authentication import (
    AUTHENTICATED_GROUP,
    UNAUTHENTICATED_GROUP,
    Headers,
    extra_from_headers,
)
from cluster.apiserver.authorization import refusal
from cluster.apiserver.requests import ANONYMOUS, Attributes, Authorizer, UserInfo
from cluster.apiserver.service_account_tokens import service_account_groups
from cluster.machinery.status_errors import InternalError

USER_HEADER = "Impersonate-User"
GROUP_HEADER = "Impersonate-Group"
UID_HEADER = "Impersonate-Uid"
EXTRA_PREFIX = "Impersonate-Extra-"
AUTHENTICATION_GROUP = "authentication.k8s.io"


async def impersonated(user: UserInfo, headers: Headers, authorizer: Authorizer) -> UserInfo:
    """
    The user that the request is to be handled as: `user` itself without Impersonate headers.

    Raises:
        Forbidden: `user` may not impersonate one of the named users, groups, uids or extras.
        InternalError: Groups, uid or extras are given without a user (upstream answers 500, so do we).
    """
    if not _asked_for(headers):
        return user
    name = headers.get(USER_HEADER) or ""
    groups = tuple(headers.getall(GROUP_HEADER, []))
    uid = headers.get(UID_HEADER) or ""
    extra = extra_from_headers(headers, (EXTRA_PREFIX,))
    if not name:
        if groups or uid or extra:
            raise InternalError("Internal error occurred: requested groups, uid or extra without impersonating a user")
        return user

    account = _service_account(name)
    if account is None:
        await _require(user, authorizer, "", "users", name)
    else:
        await _require(user, authorizer, "", "serviceaccounts", account[1], namespace=account[0])
    for group in groups:
        await _require(user, authorizer, "", "groups", group)
    for key, values in extra.items():
        for value in values:
            await _require(user, authorizer, AUTHENTICATION_GROUP, "userextras", value, subresource=key)
    if uid:
        await _require(user, authorizer, AUTHENTICATION_GROUP, "uids", uid)
    return UserInfo(name, _groups(name, groups, account), uid, extra)


def _asked_for(headers: Headers) -> bool:
    """Whether any of the headers may be there: one look at their names, for every request pays for it."""
    return "impersonate-" in " ".join(headers.keys()).lower()


def _groups(name: str, groups: tuple[str, ...], account: tuple[str, str] | None) -> tuple[str, ...]:
    if account is not None and not groups:
        groups = service_account_groups(account[0])
    if name == ANONYMOUS.name:
        return groups if UNAUTHENTICATED_GROUP in groups else (*groups, UNAUTHENTICATED_GROUP)
    if AUTHENTICATED_GROUP in groups or UNAUTHENTICATED_GROUP in groups:
        return groups
    return (*groups, AUTHENTICATED_GROUP)


def _service_account(name: str) -> tuple[str, str] | None:
    """(namespace, name) when the user name is a ServiceAccount's."""
    parts = name.split(":")
    if len(parts) == 4 and parts[:2] == ["system", "serviceaccount"] and parts[2] and parts[3]:
        return parts[2], parts[3]
    return None


async def _require(
    user: UserInfo,
    authorizer: Authorizer,
    group: str,
    resource: str,
    name: str,
    *,
    subresource: str = "",
    namespace: str = "",
) -> None:
    version = "v1"
    question = Attributes(user, "impersonate", group, version, resource, subresource, namespace, name)
    decision = await authorizer.authorize(question)
    if not decision.allowed:
        raise refusal(question, decision.reason)
