"""
Questions that are posted as objects: who am I, may I, may they, is this token good. Nothing is stored.

Called by   the registry for creates of the resources in REVIEWS.
Source: kubernetes, pkg/registry/authentication and pkg/registry/authorization.
"""

import datetime as dt
from collections.abc import Callable, Mapping

from cluster.api.resources import Resource
from cluster.apiserver.authentication import Authenticator
from cluster.apiserver.authorization import UnionAuthorizer
from cluster.apiserver.requests import Attributes, UserInfo, user_info as user_info
from cluster.apiserver.service_account_tokens import TokenRejected
from cluster.machinery.field_errors import FieldError, invalid, invalid_from
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import BadRequest, NotFound
from cluster.machinery.timestamps import format_time

REVIEWS = frozenset(
    {
        ("authentication.k8s.io", "tokenreviews"),
        ("authentication.k8s.io", "selfsubjectreviews"),
        ("authorization.k8s.io", "subjectaccessreviews"),
        ("authorization.k8s.io", "localsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"),
    }
)
"""(group, plural) of what `Reviews.handle_review` answers."""


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Reviews:
    def __init__(
        self,
        authenticator: Authenticator,
        authorizer: UnionAuthorizer,
        *,
        clock: Callable[[], dt.datetime] = _now,
    ) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._clock = clock

    async def handle_review(self, resource: Resource, obj: Object, user: UserInfo, namespace: str = "") -> Object:
        """
        Answer a posted review with the object to send back (201): what was asked, with `status`.

        Raises:
            Invalid, BadRequest: The question is incomplete or contradicts itself.
            NotFound: The resource is no review.
        """
        match resource.plural:
            case "tokenreviews":
                return await self._token(obj)
            case "selfsubjectreviews":
                return self._self(obj, user)
            case "subjectaccessreviews":
                return await self._access(resource, obj, _asked_user(resource, obj))
            case "localsubjectaccessreviews":
                _require_namespace(obj, namespace)
                return await self._access(resource, obj, _asked_user(resource, obj))
            case "selfsubjectaccessreviews":
                return await self._access(resource, obj, user)
            case "selfsubjectrulesreviews":
                return self._rules(obj, user)
            case _:
                raise NotFound(f"{resource.qualified} is no review")

    async def _token(self, obj: Object) -> Object:
        spec = obj.get("spec") or {}
        token = spec.get("token")
        if not token:
            raise BadRequest("token is required for TokenReview in authentication")
        audiences = list(spec.get("audiences") or self._authenticator.audiences)
        try:
            found = await self._authenticator.authenticate_token(token, audiences)
        except TokenRejected as rejected:
            return {**obj, "status": {"user": {}, "error": f"[invalid bearer token, {rejected}]"}}
        if found is None:
            return {**obj, "status": {"user": {}, "error": "invalid bearer token"}}
        status: Object = {"authenticated": True, "user": user_info(found.user)}
        if found.audiences:
            status["audiences"] = list(found.audiences)
        return {**obj, "status": status}

    def _self(self, obj: Object, user: UserInfo) -> Object:
        metadata = {**(obj.get("metadata") or {}), "creationTimestamp": format_time(self._clock())}
        return {**obj, "metadata": metadata, "status": {"userInfo": user_info(user)}}

    async def _access(self, resource: Resource, obj: Object, user: UserInfo) -> Object:
        decision = await self._authorizer.authorize(_question(resource, obj, user))
        status: Object = {"allowed": decision.allowed}
        if decision.denied:
            status["denied"] = True
        if decision.reason:
            status["reason"] = decision.reason
        return {**obj, "status": status}

    def _rules(self, obj: Object, user: UserInfo) -> Object:
        namespace = (obj.get("spec") or {}).get("namespace")
        if not namespace:
            raise BadRequest("no namespace on request")
        rules, incomplete, error = self._authorizer.rules_for(user, namespace)
        status: Object = {"resourceRules": [], "nonResourceRules": [], "incomplete": incomplete}
        for rule in rules:
            given = rule.to_object()
            if rule.resources:
                given.pop("nonResourceURLs", None)
                status["resourceRules"].append(given)
            if rule.non_resource_urls:
                urls = {"verbs": given["verbs"], "nonResourceURLs": list(rule.non_resource_urls)}
                status["nonResourceRules"].append(urls)
        if error:
            status["evaluationError"] = error
        # Upstream answers with a new object: neither the asked spec nor any metadata comes back.
        return {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "metadata": {}, "spec": {}, "status": status}


def _asked_user(resource: Resource, obj: Object) -> UserInfo:
    spec = obj.get("spec") or {}
    name, groups = spec.get("user") or "", tuple(spec.get("groups") or ())
    if not name and not groups:
        fault = invalid("spec.user", "", "at least one of user or group must be specified")
        raise invalid_from(resource, "", [fault, *_attribute_faults(spec)])
    extra = {key.lower(): tuple(values or ()) for key, values in (spec.get("extra") or {}).items()}
    return UserInfo(name, groups, spec.get("uid") or "", extra)


def _question(resource: Resource, obj: Object, user: UserInfo) -> Attributes:
    spec = obj.get("spec") or {}
    if faults := _attribute_faults(spec):
        raise invalid_from(resource, "", faults)
    if asked := spec.get("resourceAttributes"):
        return Attributes(
            user=user,
            verb=asked.get("verb") or "",
            group=asked.get("group") or "",
            version=asked.get("version") or "",
            resource=asked.get("resource") or "",
            subresource=asked.get("subresource") or "",
            namespace=asked.get("namespace") or "",
            name=asked.get("name") or "",
            label_selector=_selector(asked.get("labelSelector")),
            field_selector=_selector(asked.get("fieldSelector")),
        )
    asked = spec.get("nonResourceAttributes") or {}
    return Attributes(user=user, verb=asked.get("verb") or "", path=asked.get("path") or "")


def _attribute_faults(spec: Mapping[str, object]) -> list[FieldError]:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        return [
            invalid("spec.nonResourceAttributes", path, "cannot be specified in combination with resourceAttributes")
        ]
    if resource is None and path is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid("spec.resourceAttributes", None, why)]
    return []


def _selector(selector: Object | None) -> str:
    """A selector as text: `rawSelector` as it is, or requirements spelled out; one of several values is `in`."""
    if not selector:
        return ""
    if raw := selector.get("rawSelector"):
        return str(raw)
    terms = []
    for requirement in selector.get("requirements") or ():
        key, operator = requirement.get("key") or "", requirement.get("operator")
        values = requirement.get("values") or []
        match operator:
            case "In" if len(values) == 1:
                terms.append(f"{key}={values[0]}")
            case "NotIn" if len(values) == 1:
                terms.append(f"{key}!={values[0]}")
            case "In" | "NotIn":
                terms.append(f"{key} {operator.lower()} ({','.join(values)})")
            case "Exists":
                terms.append(key)
            case "DoesNotExist":
                terms.append(f"!{key}")
            case _:
                continue  # unknown operators narrow nothing: upstream drops them too
    return ",".join(terms)


def _require_namespace(obj: Object, namespace: str) -> None:
    spec = obj.get("spec") or {}
    asked = spec.get("resourceAttributes")
    if asked is None:
        raise BadRequest("must specify resourceAttributes")
    given = (obj.get("metadata") or {}).get("namespace") or namespace
    if given != namespace:
        raise BadRequest("namespace on object does not match namespace on request")
    if (asked.get("namespace") or "") != namespace:
        raise BadRequest(f"spec.resourceAttributes.namespace must match namespace: {namespace}")
