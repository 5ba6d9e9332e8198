"""
Which names a definition gets, and whether it is established: the status that the apiserver keeps on it. Pure.

Source: k8s.io/apiextensions-apiserver, pkg/controller/status, establish and apiapproval.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from cluster.apiserver.custom_resources.definitions import condition, is_true
from cluster.machinery.objects import Object, copy_object

APPROVAL = "api-approved.kubernetes.io"
_MESSAGE_LIMIT = 4096
_CONFORMANT = "KubernetesAPIApprovalPolicyConformant"
PROTECTED_SUFFIXES = ("k8s.io", "kubernetes.io")


def is_protected(group: str) -> bool:
    return any(group == suffix or group.endswith(f".{suffix}") for suffix in PROTECTED_SUFFIXES)


def next_status(definition: Object, others: Iterable[Object], now: str, unenforced: Sequence[str] = ()) -> Object:
    """
    The status a definition should have, given all other definitions. Equal to its present one when it is right.

    `unenforced` are rules that the server cannot evaluate: whoever relies on them has to know.
    """
    status = copy_object(definition.get("status") or {})
    accepted, fault = _accept(definition, others)
    status["acceptedNames"] = accepted
    changed: Object = {**definition, "status": status}
    if fault is None:
        set_condition(changed, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
    else:
        set_condition(changed, "NamesAccepted", "False", *fault, now)
    # Once established, a resource stays so: its clients must not lose it to a later conflict of names.
    if not is_true(changed, "Established"):
        if fault is None:
            text = "the initial names have been accepted"
            set_condition(changed, "Established", "True", "InitialNamesAccepted", text, now)
        else:
            set_condition(changed, "Established", "False", "NotAccepted", "not all names are accepted", now)
    if is_protected(definition["spec"]["group"]):
        _judge_approval(changed, now)
    if unenforced:
        text = f"these rules are not evaluated: {'; '.join(unenforced)}"[:_MESSAGE_LIMIT]
        set_condition(changed, "ValidationRulesEnforced", "False", "UnsupportedExpressions", text, now)
    elif condition(changed, "ValidationRulesEnforced"):
        text = "all rules are evaluated"
        set_condition(changed, "ValidationRulesEnforced", "True", "AllSupported", text, now)
    found: Object = changed["status"]
    return found


def _accept(definition: Object, others: Iterable[Object]) -> tuple[Object, tuple[str, str] | None]:
    """Accepted names, and reason and message of the last conflict."""
    spec, present = definition["spec"], (definition.get("status") or {}).get("acceptedNames") or {}
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        group, uid = (other.get("spec") or {}).get("group"), other["metadata"].get("uid")
        if group != spec["group"] or uid == definition["metadata"].get("uid"):
            continue
        taken = (other.get("status") or {}).get("acceptedNames") or {}
        resources |= {taken.get("plural") or "", taken.get("singular") or "", *(taken.get("shortNames") or ())}
        kinds |= {taken.get("kind") or "", taken.get("listKind") or ""}
    resources.discard("")
    kinds.discard("")
    wanted = spec["names"]
    accepted: Object = {"plural": present.get("plural") or "", "kind": present.get("kind") or ""}
    fault = None
    for key, taken_names, reason in (
        ("plural", resources, "PluralConflict"),
        ("singular", resources, "SingularConflict"),
        ("shortNames", resources, "ShortNamesConflict"),
        ("kind", kinds, "KindConflict"),
        ("listKind", kinds, "ListKindConflict"),
    ):
        clash = _clash(wanted.get(key), present.get(key), taken_names)
        value = wanted.get(key) if clash is None else present.get(key)
        if value:
            accepted[key] = value
        if clash is not None:
            fault = (reason, clash)
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    return accepted, fault


def _clash(wanted: Any, present: Any, taken: set[str]) -> str | None:
    if wanted == present or not wanted:
        return None
    clashes = [name for name in ([wanted] if isinstance(wanted, str) else wanted) if name in taken]
    if not clashes:
        return None
    texts = [f'"{name}" is already in use' for name in clashes]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _judge_approval(definition: Object, now: str) -> None:
    text = (definition["metadata"].get("annotations") or {}).get(APPROVAL) or ""
    if text.startswith("unapproved"):
        why = f"not approved: {text!r}".replace("'", '"')
        set_condition(definition, _CONFORMANT, "False", "UnapprovedAnnotation", why, now)
    elif text.startswith("https://"):
        set_condition(definition, _CONFORMANT, "True", "ApprovedAnnotation", f"approved in {text}", now)
    else:
        why = (
            f'protected groups must have approval annotation "{APPROVAL}", '
            "see https://github.com/kubernetes/enhancements/pull/1111"
        )
        set_condition(definition, _CONFORMANT, "False", "MissingAnnotation", why, now)


def set_condition(definition: Object, name: str, status: str, reason: str, message: str, now: str) -> None:
    """In place, and only when something else than the time differs."""
    wanted = {"type": name, "status": status, "reason": reason, "message": message}
    found = condition(definition, name)
    if all(found.get(key) == value for key, value in wanted.items()):
        return
    when = found["lastTransitionTime"] if found.get("status") == status else now
    entry = {"type": name, "status": status, "lastTransitionTime": when, "reason": reason, "message": message}
    conditions = list((definition["status"].get("conditions")) or [])
    kept = [entry if one.get("type") == name else one for one in conditions]
    definition["status"]["conditions"] = kept if found else [*kept, entry]
