"""
Who is asked whether a user may, and in which order: the file of `--authorization-config`.

Source: k8s.io/apiserver, pkg/apis/apiserver/validation (ValidateAuthorizationConfiguration).
"""

from dataclasses import dataclass
from pathlib import Path

from cluster.apiserver.configuration_file import Fields, Reading, read
from cluster.apiserver.durations import duration
from cluster.apiserver.webhooks.access_review import DENY, NO_OPINION, AccessWebhookSettings
from cluster.machinery.field_errors import duplicate, invalid, not_supported, required, too_many
from cluster.machinery.names import dns_subdomain

API_VERSIONS = ("apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1")
TYPES = ("ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook")
_WEBHOOK = (
    "authorizedTTL", "cacheAuthorizedRequests", "unauthorizedTTL", "cacheUnauthorizedRequests", "timeout",
    "subjectAccessReviewVersion", "matchConditionSubjectAccessReviewVersion", "failurePolicy", "connectionInfo",
    "matchConditions",
)  # fmt: skip
_MAX_CONDITIONS = 64
_MAX_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    kubeconfig: str
    timeout: float
    """Seconds."""
    review: AccessWebhookSettings


@dataclass(frozen=True, slots=True)
class AuthorizerSettings:
    kind: str
    """Of TYPES."""
    name: str
    webhook: WebhookSettings | None = None


def load(path: str) -> tuple[AuthorizerSettings, ...]:
    """Raises OSError, or ValueError with every fault of the file."""
    found, reading = read(path, "AuthorizationConfiguration", API_VERSIONS)
    reading.known(found, "", ("kind", "apiVersion", "authorizers"))
    listed = reading.objects(found.get("authorizers"), "authorizers")
    if not listed:
        reading.faults.append(required("authorizers", "at least one authorization mode must be defined"))
    settings: list[AuthorizerSettings] = []
    for at, one in listed:
        chosen = _authorizer(reading, one, at)
        if chosen.kind != "Webhook" and chosen.kind in [other.kind for other in settings]:
            reading.faults.append(duplicate(f"{at}.type", chosen.kind))
        if chosen.name and chosen.name in [other.name for other in settings]:
            reading.faults.append(duplicate(f"{at}.name", chosen.name))
        settings.append(chosen)
    reading.finish("AuthorizationConfiguration")
    return tuple(settings)


def _authorizer(reading: Reading, given: Fields, path: str) -> AuthorizerSettings:
    reading.known(given, path, ("type", "name", "webhook"))
    kind = reading.text(given.get("type"), f"{path}.type")
    name = reading.text(given.get("name"), f"{path}.name")
    if not kind:
        reading.faults.append(required(f"{path}.type"))
    elif kind not in TYPES:
        reading.faults.append(not_supported(f"{path}.type", kind, TYPES))
    if not name:
        reading.faults.append(required(f"{path}.name"))
    elif wrong := dns_subdomain(name):
        reading.faults.append(invalid(f"{path}.name", name, f"authorizer name is invalid: {', '.join(wrong)}"))
    if kind != "Webhook":
        if given.get("webhook") is not None:
            reading.faults.append(invalid(f"{path}.webhook", "non-null", "may only be specified when type=Webhook"))
        return AuthorizerSettings(kind, name)
    if given.get("webhook") is None:
        reading.faults.append(required(f"{path}.webhook", "required when type=Webhook"))
        return AuthorizerSettings(kind, name)
    webhook = reading.fields(given["webhook"], f"{path}.webhook")
    return AuthorizerSettings(kind, name, _webhook(reading, webhook, f"{path}.webhook"))


def _webhook(reading: Reading, given: Fields, path: str) -> WebhookSettings:
    reading.known(given, path, _WEBHOOK)
    timeout = _seconds(reading, given, path, "timeout", 0.0)
    if timeout > _MAX_TIMEOUT:
        reading.faults.append(invalid(f"{path}.timeout", str(given["timeout"]), "must be > 0s and <= 30s"))
    allowed = _seconds(reading, given, path, "authorizedTTL", 300.0)
    denied = _seconds(reading, given, path, "unauthorizedTTL", 30.0)
    version = _choice(reading, given, path, "subjectAccessReviewVersion", ("v1", "v1beta1"))
    policy = _choice(reading, given, path, "failurePolicy", (NO_OPINION, DENY))
    conditions = _conditions(reading, given, path)
    remembers_allowed = reading.flag(given.get("cacheAuthorizedRequests"), f"{path}.cacheAuthorizedRequests", True)
    remembers_denied = reading.flag(given.get("cacheUnauthorizedRequests"), f"{path}.cacheUnauthorizedRequests", True)
    return WebhookSettings(
        _kubeconfig(reading, given, f"{path}.connectionInfo"),
        timeout,
        AccessWebhookSettings(
            version, allowed if remembers_allowed else 0.0, denied if remembers_denied else 0.0, policy, conditions
        ),
    )


def _seconds(reading: Reading, given: Fields, path: str, name: str, default: float) -> float:
    text = reading.text(given.get(name), f"{path}.{name}")
    if not text:
        if not default:
            reading.faults.append(required(f"{path}.{name}"))
        return default
    try:
        seconds = duration(text)
    except ValueError as fault:
        reading.faults.append(invalid(f"{path}.{name}", text, str(fault)))
        return default
    if seconds <= 0:
        reading.faults.append(invalid(f"{path}.{name}", text, "must be > 0s"))
    return seconds


def _choice(reading: Reading, given: Fields, path: str, name: str, choices: tuple[str, ...]) -> str:
    chosen = reading.text(given.get(name), f"{path}.{name}")
    if not chosen:
        reading.faults.append(required(f"{path}.{name}"))
    elif chosen not in choices:
        reading.faults.append(not_supported(f"{path}.{name}", chosen, choices))
    return chosen


def _conditions(reading: Reading, given: Fields, path: str) -> tuple[str, ...]:
    listed = reading.objects(given.get("matchConditions"), f"{path}.matchConditions")
    if len(listed) > _MAX_CONDITIONS:
        reading.faults.append(too_many(f"{path}.matchConditions", len(listed), _MAX_CONDITIONS))
    if listed:
        _choice(reading, given, path, "matchConditionSubjectAccessReviewVersion", ("v1",))
    found: list[str] = []
    for at, one in listed:
        reading.known(one, at, ("expression",))
        expression = reading.text(one.get("expression"), f"{at}.expression")
        if not expression.strip():
            reading.faults.append(required(f"{at}.expression"))
        elif expression in found:
            reading.faults.append(duplicate(f"{at}.expression", expression))
        else:
            _check_expression(reading, expression, f"{at}.expression")
        found.append(expression)
    return tuple(found)


def _check_expression(reading: Reading, expression: str, path: str) -> None:
    from cluster.apiserver.webhooks import access_conditions  # loads the engine, for who has conditions

    try:
        access_conditions.check(expression)
    except ValueError as fault:
        reading.faults.append(invalid(path, expression, f"compilation failed: {fault}"))


def _kubeconfig(reading: Reading, given: Fields, path: str) -> str:
    info = reading.fields(given.get("connectionInfo"), path)
    reading.known(info, path, ("type", "kubeConfigFile"))
    kind = reading.text(info.get("type"), f"{path}.type")
    file = reading.text(info.get("kubeConfigFile"), f"{path}.kubeConfigFile")
    if not kind:
        reading.faults.append(required(f"{path}.type"))
    elif kind != "KubeConfigFile":
        # InClusterConfig is for servers that run as Pods of another cluster.
        reading.faults.append(not_supported(f"{path}.type", kind, ("KubeConfigFile",)))
    elif not file:
        reading.faults.append(required(f"{path}.kubeConfigFile"))
    elif not Path(file).is_absolute():
        reading.faults.append(invalid(f"{path}.kubeConfigFile", file, "must be an absolute path"))
    elif not Path(file).is_file():
        reading.faults.append(invalid(f"{path}.kubeConfigFile", file, "must be a regular file"))
    return file
