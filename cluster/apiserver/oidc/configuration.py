"""
Whose tokens are believed, and what they make of their holder: `--authentication-config` or the `--oidc-*` flags.

Both become the same settings. Expressions are compiled only to see whether they are any, so the engine is loaded only
for a file that has some.
Source: k8s.io/apiserver, pkg/apis/apiserver/validation; kubernetes, pkg/kubeapiserver/options/authentication.go.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography import x509

from cluster.apiserver.access_options import OidcFlags
from cluster.apiserver.configuration_file import Fields, Reading, read
from cluster.machinery.field_errors import duplicate, invalid, required, too_many
from cluster.machinery.names import dns_subdomain

API_VERSIONS = ("apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1")
ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
"""What a token may be signed with: nothing symmetric, and never `none`."""
_MAX_ISSUERS = 64
_BOTH = "claim and expression can't both be set"
_STRINGS = re.compile(r"""[rRbB]*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_EMAIL = re.compile(r"\bclaims\s*\.\s*\??\s*email\b")
_VERIFIED = re.compile(r"\bclaims\s*\.\s*\??\s*email_verified\b")


@dataclass(frozen=True, slots=True)
class Mapped:
    """Where a value comes from: a claim with a prefix, or an expression. Both empty: from nowhere."""

    claim: str = ""
    prefix: str = ""
    expression: str = ""


@dataclass(frozen=True, slots=True)
class ClaimRule:
    """A claim must have this value, or the expression be true."""

    claim: str = ""
    value: str = ""
    expression: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class UserRule:
    expression: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """One issuer's tokens."""

    url: str
    audiences: tuple[str, ...]
    username: Mapped
    groups: Mapped = Mapped()
    uid: Mapped = Mapped()
    extra: tuple[tuple[str, str], ...] = ()
    """(key, expression)."""
    claim_rules: tuple[ClaimRule, ...] = ()
    user_rules: tuple[UserRule, ...] = ()
    discovery_url: str = ""
    """Where the discovery document is, if not below the issuer's URL."""
    authority_pem: str = ""
    """Who vouches for the issuer's server; empty for the system's authorities."""
    algorithms: tuple[str, ...] = ALGORITHMS


@dataclass(frozen=True, slots=True)
class AnonymousSettings:
    """Who asks without credentials is anonymous: everywhere, or only on `paths`."""

    enabled: bool
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthenticationSettings:
    issuers: tuple[IssuerSettings, ...] = ()
    anonymous: AnonymousSettings | None = None
    """None leaves it to --anonymous-auth."""


def from_flags(flags: OidcFlags, authority_pem: str, disallowed: Sequence[str] = ()) -> AuthenticationSettings:
    """Raises ValueError for flags that do not go together."""
    if not flags.issuer_url and not flags.client_id:
        return AuthenticationSettings()
    if not flags.issuer_url or not flags.client_id:
        raise ValueError("oidc-issuer-url and oidc-client-id must be specified together when any oidc flag is set")
    if unknown := [name for name in flags.signing_algs if name not in ALGORITHMS]:
        raise ValueError(f"oidc: unsupported signing alg: {unknown[0]!r}; there are {', '.join(ALGORITHMS)}")
    reading = Reading("--oidc-issuer-url")
    _check_url(reading, flags.issuer_url, "issuerURL", disallowed)
    reading.finish("issuer")
    prefix = flags.username_prefix
    if not prefix and flags.username_claim != "email":
        # Names of this issuer must not be taken for names of others; `-` asks for none.
        prefix = f"{flags.issuer_url}#"
    rules = []
    for given in flags.required_claims:
        name, separator, value = given.partition("=")
        if not separator:
            raise ValueError(f"--oidc-required-claim {given!r} is no key=value")
        rules.append(ClaimRule(name, value))
    return AuthenticationSettings(
        (
            IssuerSettings(
                flags.issuer_url,
                (flags.client_id,),
                Mapped(flags.username_claim, "" if prefix == "-" else prefix),
                Mapped(flags.groups_claim, flags.groups_prefix) if flags.groups_claim else Mapped(),
                claim_rules=tuple(rules),
                authority_pem=authority_pem,
                algorithms=flags.signing_algs,
            ),
        )
    )


def load(path: str, disallowed: Sequence[str] = ()) -> AuthenticationSettings:
    """
    Read an AuthenticationConfiguration.

    Args:
        disallowed: Issuers that are somebody else's: that of ServiceAccount tokens.

    Raises:
        OSError, ValueError: The file cannot be read or is wrong; the message has every fault.
    """
    found, reading = read(path, "AuthenticationConfiguration", API_VERSIONS)
    reading.known(found, "", ("kind", "apiVersion", "jwt", "anonymous"))
    listed = reading.objects(found.get("jwt"), "jwt")
    if len(listed) > _MAX_ISSUERS:
        reading.faults.append(too_many("jwt", len(listed), _MAX_ISSUERS))
    issuers = tuple(_issuer(reading, one, at, disallowed) for at, one in listed)
    _check_unlike(reading, [one.url for one in issuers], "url")
    _check_unlike(reading, [one.discovery_url for one in issuers], "discoveryURL")
    anonymous = _anonymous(reading, found["anonymous"]) if found.get("anonymous") is not None else None
    reading.finish("AuthenticationConfiguration")
    return AuthenticationSettings(issuers, anonymous)


def _anonymous(reading: Reading, given: object) -> AnonymousSettings:
    fields = reading.fields(given, "anonymous")
    reading.known(fields, "anonymous", ("enabled", "conditions"))
    paths = []
    for at, condition in reading.objects(fields.get("conditions"), "anonymous.conditions"):
        reading.known(condition, at, ("path",))
        paths.append(reading.text(condition.get("path"), f"{at}.path"))
    enabled = reading.flag(fields.get("enabled"), "anonymous.enabled")
    if paths and not enabled:
        why = "enabled should be set to true when conditions are defined"
        reading.faults.append(invalid("anonymous.conditions", paths, why))
    return AnonymousSettings(enabled, tuple(paths))


def _issuer(reading: Reading, given: Fields, path: str, disallowed: Sequence[str]) -> IssuerSettings:
    reading.known(given, path, ("issuer", "claimValidationRules", "claimMappings", "userValidationRules"))
    issuer = reading.fields(given.get("issuer"), f"{path}.issuer")
    reading.known(
        issuer,
        f"{path}.issuer",
        ("url", "discoveryURL", "certificateAuthority", "audiences", "audienceMatchPolicy", "egressSelectorType"),
    )
    url = reading.text(issuer.get("url"), f"{path}.issuer.url")
    if url:
        _check_url(reading, url, f"{path}.issuer.url", disallowed)
    else:
        reading.faults.append(required(f"{path}.issuer.url"))
    discovery = reading.text(issuer.get("discoveryURL"), f"{path}.issuer.discoveryURL")
    if discovery:
        if discovery.rstrip("/") == url.rstrip("/"):
            why = "discoveryURL must be different from URL"
            reading.faults.append(invalid(f"{path}.issuer.discoveryURL", discovery, why))
        _check_url(reading, discovery, f"{path}.issuer.discoveryURL", ())
    authority = reading.text(issuer.get("certificateAuthority"), f"{path}.issuer.certificateAuthority")
    if authority and not _holds_certificates(authority):
        why = "data does not contain any valid RSA or ECDSA certificates"
        reading.faults.append(invalid(f"{path}.issuer.certificateAuthority", "<omitted>", why))
    mappings = reading.fields(given.get("claimMappings"), f"{path}.claimMappings")
    claim_rules = _claim_rules(reading, given.get("claimValidationRules"), f"{path}.claimValidationRules")
    settings = IssuerSettings(
        url,
        _audiences(reading, issuer, f"{path}.issuer"),
        _mapped(reading, mappings.get("username"), f"{path}.claimMappings.username", needed=True),
        _mapped(reading, mappings.get("groups"), f"{path}.claimMappings.groups"),
        _uid(reading, mappings.get("uid"), f"{path}.claimMappings.uid"),
        _extra(reading, mappings.get("extra"), f"{path}.claimMappings.extra"),
        claim_rules,
        _user_rules(reading, given.get("userValidationRules"), f"{path}.userValidationRules"),
        discovery,
        authority,
    )
    reading.known(mappings, f"{path}.claimMappings", ("username", "groups", "uid", "extra"))
    _check_email(reading, settings, f"{path}.claimMappings")
    return settings


def _check_url(reading: Reading, url: str, path: str, disallowed: Sequence[str]) -> None:
    if url in disallowed:
        listed = " ".join(sorted(disallowed))
        reading.faults.append(invalid(path, url, f"URL must not overlap with disallowed issuers: [{listed}]"))
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as fault:
        reading.faults.append(invalid(path, url, str(fault)))
        return
    for wrong, why in (
        (parts.scheme != "https" or not host, "URL scheme must be https"),
        (parts.username is not None, "URL must not contain a username or password"),
        (bool(parts.query), "URL must not contain a query"),
        (bool(parts.fragment), "URL must not contain a fragment"),
    ):
        if wrong:
            reading.faults.append(invalid(path, url, why))


def _check_unlike(reading: Reading, values: Sequence[str], field: str) -> None:
    for at, value in enumerate(values):
        if value and value in values[:at]:
            reading.faults.append(duplicate(f"jwt[{at}].issuer.{field}", value))


def _audiences(reading: Reading, issuer: Fields, path: str) -> tuple[str, ...]:
    audiences = reading.words(issuer.get("audiences"), f"{path}.audiences")
    policy = reading.text(issuer.get("audienceMatchPolicy"), f"{path}.audienceMatchPolicy")
    if not audiences:
        reading.faults.append(required(f"{path}.audiences", f"at least one {path}.audiences is required"))
    for at, audience in enumerate(audiences):
        if not audience:
            reading.faults.append(required(f"{path}.audiences[{at}]"))
        elif audience in audiences[:at]:
            reading.faults.append(duplicate(f"{path}.audiences[{at}]", audience))
    if len(audiences) > 1 and policy != "MatchAny":
        why = "audienceMatchPolicy must be MatchAny for multiple audiences"
        reading.faults.append(invalid(f"{path}.audienceMatchPolicy", policy, why))
    elif policy not in ("", "MatchAny"):
        why = "audienceMatchPolicy must be empty or MatchAny for single audience"
        reading.faults.append(invalid(f"{path}.audienceMatchPolicy", policy, why))
    return audiences


def _mapped(reading: Reading, given: object, path: str, *, needed: bool = False) -> Mapped:
    fields = reading.fields(given, path)
    reading.known(fields, path, ("claim", "prefix", "expression"))
    claim = reading.text(fields.get("claim"), f"{path}.claim")
    expression = reading.text(fields.get("expression"), f"{path}.expression")
    prefix = fields.get("prefix")
    if claim and expression:
        reading.faults.append(invalid(path, "", _BOTH))
    elif expression:
        if prefix is not None:
            reading.faults.append(invalid(f"{path}.prefix", prefix, "may not be specified when expression is set"))
        _check_expression(reading, expression, f"{path}.expression")
    elif claim:
        if prefix is None:
            why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing"
            reading.faults.append(required(f"{path}.prefix", why))
    elif needed:
        reading.faults.append(required(path, "claim or expression is required"))
    return Mapped(claim, reading.text(prefix, f"{path}.prefix"), expression)


def _uid(reading: Reading, given: object, path: str) -> Mapped:
    fields = reading.fields(given, path)
    reading.known(fields, path, ("claim", "expression"))
    claim = reading.text(fields.get("claim"), f"{path}.claim")
    expression = reading.text(fields.get("expression"), f"{path}.expression")
    if claim and expression:
        reading.faults.append(invalid(path, "", _BOTH))
    elif expression:
        _check_expression(reading, expression, f"{path}.expression")
    return Mapped(claim, "", expression)


def _extra(reading: Reading, given: object, path: str) -> tuple[tuple[str, str], ...]:
    extra: dict[str, str] = {}
    for at, fields in reading.objects(given, path):
        reading.known(fields, at, ("key", "valueExpression"))
        key = reading.text(fields.get("key"), f"{at}.key")
        expression = reading.text(fields.get("valueExpression"), f"{at}.valueExpression")
        domain, _, rest = key.partition("/")
        if not rest or dns_subdomain(domain):
            reading.faults.append(invalid(f"{at}.key", key, 'must be a domain-prefixed path (such as "acme.io/foo")'))
        if key != key.lower():
            reading.faults.append(invalid(f"{at}.key", key, "must be lowercase"))
        if f".{domain}".endswith((".kubernetes.io", ".k8s.io")):
            why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
            reading.faults.append(invalid(f"{at}.key", key, why))
        if key in extra:
            reading.faults.append(duplicate(f"{at}.key", key))
        elif not expression:
            reading.faults.append(required(f"{at}.valueExpression"))
        else:
            _check_expression(reading, expression, f"{at}.valueExpression")
            extra[key] = expression
    return tuple(extra.items())


def _claim_rules(reading: Reading, given: object, path: str) -> tuple[ClaimRule, ...]:
    rules: list[ClaimRule] = []
    for at, fields in reading.objects(given, path):
        reading.known(fields, at, ("claim", "requiredValue", "expression", "message"))
        texts = {name: reading.text(fields.get(name), f"{at}.{name}") for name in
                 ("claim", "requiredValue", "expression", "message")}  # fmt: skip
        rule = ClaimRule(texts["claim"], texts["requiredValue"], texts["expression"], texts["message"])
        if rule.claim and rule.expression:
            reading.faults.append(invalid(at, rule.claim, _BOTH))
        elif not rule.claim and not rule.expression:
            reading.faults.append(required(at, "claim or expression is required"))
        elif rule.claim:
            if rule.message:
                reading.faults.append(invalid(f"{at}.message", rule.message, "may not be specified when claim is set"))
            if rule.claim in [one.claim for one in rules]:
                reading.faults.append(duplicate(f"{at}.claim", rule.claim))
        else:
            if rule.value:
                why = "may not be specified when expression is set"
                reading.faults.append(invalid(f"{at}.requiredValue", rule.value, why))
            if rule.expression in [one.expression for one in rules]:
                reading.faults.append(duplicate(f"{at}.expression", rule.expression))
            _check_expression(reading, rule.expression, f"{at}.expression")
        rules.append(rule)
    return tuple(rules)


def _user_rules(reading: Reading, given: object, path: str) -> tuple[UserRule, ...]:
    rules: list[UserRule] = []
    for at, fields in reading.objects(given, path):
        reading.known(fields, at, ("expression", "message"))
        expression = reading.text(fields.get("expression"), f"{at}.expression")
        if not expression:
            reading.faults.append(required(f"{at}.expression"))
            continue
        if expression in [one.expression for one in rules]:
            reading.faults.append(duplicate(f"{at}.expression", expression))
        _check_expression(reading, expression, f"{at}.expression", "user")
        rules.append(UserRule(expression, reading.text(fields.get("message"), f"{at}.message")))
    return tuple(rules)


def _check_email(reading: Reading, settings: IssuerSettings, path: str) -> None:
    """An address that nobody has verified is no name: whoever takes it as one has to look at that claim too."""
    name = settings.username.expression
    if not name or not _EMAIL.search(_STRINGS.sub("", name)):
        return
    others = [expression for _, expression in settings.extra] + [rule.expression for rule in settings.claim_rules]
    if not any(_VERIFIED.search(_STRINGS.sub("", text)) for text in (name, *others)):
        why = (
            "claims.email_verified must be used in claimMappings.username.expression or"
            " claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in"
            " claimMappings.username.expression"
        )
        reading.faults.append(invalid(f"{path}.username.expression", name, why))


def _check_expression(reading: Reading, expression: str, path: str, variable: str = "claims") -> None:
    from cluster.apiserver.oidc import expressions  # loads the engine, for who has expressions

    try:
        expressions.check(expression, variable)
    except ValueError as fault:
        reading.faults.append(invalid(path, expression, f"compilation failed: {fault}"))


def _holds_certificates(pem: str) -> bool:
    try:
        return bool(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError:
        return False
