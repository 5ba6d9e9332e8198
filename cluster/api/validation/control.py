"""Validation of leases, flow control, signing requests and device classes."""

from cluster.api.validation.rules import Errors, immutable, listed, mapping, named, not_negative, one_of, positive, text
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

_USAGES = ("any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
           "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system",
           "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc",
           "ocsp signing", "s/mime", "server auth", "signing", "timestamping")  # fmt: skip


def validate_lease(lease: Object) -> Errors:
    spec = mapping(lease, "spec")
    errors: Errors = []
    if (seconds := spec.get("leaseDurationSeconds")) is not None:
        errors += positive("spec.leaseDurationSeconds", seconds)
    errors += not_negative("spec.leaseTransitions", spec.get("leaseTransitions"))
    if spec.get("preferredHolder") and not spec.get("strategy"):
        detail = "may only be specified if `strategy` is defined"
        errors.append(field_errors.forbidden("spec.preferredHolder", detail))
    return errors


def validate_flow_schema(schema: Object) -> Errors:
    spec = mapping(schema, "spec")
    precedence = spec.get("matchingPrecedence") or 0
    errors: Errors = []
    if precedence <= 0 or precedence > 10_000:
        detail = "must be a value between 1 and 10000, inclusive"
        errors.append(field_errors.invalid("spec.matchingPrecedence", precedence, detail))
    if (method := spec.get("distinguisherMethod")) is not None:
        errors += one_of("spec.distinguisherMethod.type", text(method, "type"), ("ByNamespace", "ByUser"))
    level = text(mapping(spec, "priorityLevelConfiguration"), "name")
    path = "spec.priorityLevelConfiguration.name"
    errors += (
        named(path, level, names.dns_subdomain)
        if level
        else [field_errors.required(path, "must reference a priority level")]
    )
    for index, rule in enumerate(listed(spec, "rules")):
        where = f"spec.rules[{index}]"
        if not listed(rule, "subjects"):
            detail = "subjects must contain at least one value"
            errors.append(field_errors.required(f"{where}.subjects", detail))
        if not listed(rule, "resourceRules") and not listed(rule, "nonResourceRules"):
            detail = "at least one of resourceRules and nonResourceRules has to be non-empty"
            errors.append(field_errors.required(where, detail))
    return errors


def validate_priority_level(level: Object) -> Errors:
    spec = mapping(level, "spec")
    kind = text(spec, "type")
    match kind:
        case "Exempt":
            if spec.get("limited") is not None:
                detail = "must be nil if the type is Exempt"
                return [field_errors.forbidden("spec.limited", detail)]
        case "Limited":
            if spec.get("exempt") is not None:
                detail = "must be nil if the type is Limited"
                return [field_errors.forbidden("spec.exempt", detail)]
            if spec.get("limited") is None:
                detail = "must not be empty when type is Limited"
                return [field_errors.required("spec.limited", detail)]
            return _check_limited("spec.limited", mapping(spec, "limited"))
        case _:
            return [field_errors.not_supported("spec.type", kind, ("Exempt", "Limited"))]
    return []


def _check_limited(path: str, limited: Object) -> Errors:
    errors: Errors = []
    shares = limited.get("nominalConcurrencyShares")
    if shares is not None and shares < 0:
        detail = "must be a non-negative integer"
        errors.append(field_errors.invalid(f"{path}.nominalConcurrencyShares", shares, detail))
    response = mapping(limited, "limitResponse")
    kind = text(response, "type")
    where = f"{path}.limitResponse"
    if kind == "Queue":
        if response.get("queuing") is None:
            detail = "must not be empty if limitResponse.type is Limited"
            errors.append(field_errors.required(f"{where}.queuing", detail))
    elif kind == "Reject":
        if response.get("queuing") is not None:
            detail = "must be nil if limitResponse.type is not Limited"
            errors.append(field_errors.forbidden(f"{where}.queuing", detail))
    else:
        errors.append(field_errors.not_supported(f"{where}.type", kind, ("Queue", "Reject")))
    return errors


def validate_signing_request(request: Object) -> Errors:
    spec = mapping(request, "spec")
    errors: Errors = []
    if not spec.get("request"):
        detail = "PEM block type must be CERTIFICATE REQUEST"
        errors.append(field_errors.invalid("spec.request", "", detail))
    usages = listed(spec, "usages")
    if not usages:
        errors.append(field_errors.required("spec.usages"))
    for index, usage in enumerate(usages):
        errors += one_of(f"spec.usages[{index}]", usage, _USAGES)
        if usage in usages[:index]:
            errors.append(field_errors.duplicate(f"spec.usages[{index}]", usage))
    signer = text(spec, "signerName")
    errors += _check_signer("spec.signerName", signer) if signer else [field_errors.required("spec.signerName")]
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < 600:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(field_errors.invalid("spec.expirationSeconds", seconds, detail))
    return errors


def _check_signer(path: str, signer: str) -> Errors:
    domain, slash, rest = signer.partition("/")
    if not slash or not rest or "/" in rest:
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [field_errors.invalid(path, signer, detail)]
    if "." not in domain:
        return [field_errors.invalid(path, signer, "should be a domain with at least two segments separated by dots")]
    return [field_errors.invalid(path, domain, fault) for fault in names.dns_subdomain(domain)]


def validate_signing_request_update(new: Object, old: Object) -> Errors:
    return immutable("spec", new.get("spec"), old.get("spec"))


def validate_immutable_spec(new: Object, old: Object) -> Errors:
    """Device claims and templates: what was asked for stays as it was."""
    return immutable("spec", new.get("spec"), old.get("spec"))
