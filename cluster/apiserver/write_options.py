"""
The parameters of create, update, patch and delete, checked.

Pure. Texts: k8s.io/apimachinery, pkg/apis/meta/v1/validation.
"""

from cluster.api.schema import schemas
from cluster.apiserver.list_options import integer
from cluster.apiserver.router import Route
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import BadRequest, invalid

IGNORE, WARN, STRICT = "Ignore", "Warn", "Strict"
_POLICIES = ("Foreground", "Background", "Orphan")
Causes = list[tuple[str, str, str]]


def _dry_run_causes(values: list[str]) -> Causes:
    if not values or values == ["All"]:
        return []
    shown = "[" + ",".join(f'"{value}"' for value in values) + "]"
    return [("FieldValueNotSupported", f'Unsupported value: {shown}: supported values: "All"', "dryRun")]


def check_write(route: Route, kind: str) -> Object:
    """The options of a create, update or patch as an object (`kind` CreateOptions …). Raises Invalid."""
    query = route.query
    options: Object = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    causes: Causes = []
    if query.get("dryRun"):
        options["dryRun"] = [query["dryRun"]]
        causes += _dry_run_causes(options["dryRun"])
    manager = query.get("fieldManager", "")
    if manager:
        options["fieldManager"] = manager
        if len(manager) > 128:
            causes.append(("FieldValueTooLong", "Too long: may not be more than 128 bytes", "fieldManager"))
        if not manager.isprintable():
            causes.append(
                (
                    "FieldValueInvalid",
                    f'Invalid value: "{manager}": should only contain printable characters',
                    "fieldManager",
                )
            )
    validation = query.get("fieldValidation", "")
    if validation:
        options["fieldValidation"] = validation
        if validation not in (IGNORE, WARN, STRICT):
            text = f'Unsupported value: "{validation}": supported values: "", "Ignore", "Strict", "Warn"'
            causes.append(("FieldValueNotSupported", text, "fieldValidation"))
    if causes:
        raise invalid("meta.k8s.io", kind, "", causes)
    return options


def check_patch(route: Route, *, apply: bool) -> Object:
    """As check_write, with what server-side apply demands."""
    options = check_write(route, "PatchOptions")
    causes: Causes = []
    if apply:
        if not options.get("fieldManager"):
            causes.append(("FieldValueRequired", "Required value: is required for apply patch", "fieldManager"))
        options["force"] = route.flag("force")
    elif "force" in route.query:
        causes.append(("FieldValueForbidden", "Forbidden: may not be specified for non-apply patch", "force"))
    if causes:
        raise invalid("meta.k8s.io", "PatchOptions", "", causes)
    return options


class _DeleteOptions:
    api_version, kind = "v1", "DeleteOptions"


def normalize_delete(body: Object) -> None:
    """
    Bring DeleteOptions from a body into their shape, in place; unknown fields are dropped.

    Every group has them under its own version, so that one does not count. Raises BadRequest.
    """
    kind = body.get("kind") or _DeleteOptions.kind
    if kind != _DeleteOptions.kind:
        raise BadRequest("decoded object cannot be converted to DeleteOptions")
    version = body.pop("apiVersion", None)
    schemas().normalize(_DeleteOptions(), body)
    if version:
        body["apiVersion"] = version


def check_delete(route: Route, body: Object) -> Object:
    """DeleteOptions from the body (normalize_delete), else from the URL. Raises BadRequest, Invalid."""
    options: Object = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    query = route.query
    if body:
        options.update({k: v for k, v in body.items() if v is not None})
    else:
        if (seconds := integer(route, "gracePeriodSeconds")) is not None:
            options["gracePeriodSeconds"] = seconds
        if query.get("propagationPolicy"):
            options["propagationPolicy"] = query["propagationPolicy"]
        if "orphanDependents" in query:
            options["orphanDependents"] = route.flag("orphanDependents")
        if query.get("dryRun"):
            options["dryRun"] = [query["dryRun"]]
    causes: Causes = []
    policy = options.get("propagationPolicy")
    if policy is not None and options.get("orphanDependents") is not None:
        text = 'Invalid value: "%s": orphanDependents and deletionPropagation cannot be both set'
        causes.append(("FieldValueInvalid", text % policy, "propagationPolicy"))
    if policy is not None and policy not in _POLICIES:
        text = f'Unsupported value: "{policy}": supported values: "Foreground", "Background", "Orphan", "nil"'
        causes.append(("FieldValueNotSupported", text, "propagationPolicy"))
    causes += _dry_run_causes(list(options.get("dryRun") or []))
    if causes:
        raise invalid("meta.k8s.io", "DeleteOptions", "", causes)
    return options
