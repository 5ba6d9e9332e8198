"""Rows of role bindings, webhooks, admission policies and device claims."""

from datetime import datetime
from typing import Any

from cluster.api.printers.ages import since
from cluster.api.printers.formats import UNSET, metadata_of, name_of, selector_text, spec_of, status_of
from cluster.machinery.objects import Object


def _age(obj: Object, now: datetime) -> str:
    return since(metadata_of(obj).get("creationTimestamp"), now)


def role_binding_cells(obj: Object, now: datetime) -> list[Any]:
    role = obj.get("roleRef") or {}
    subjects = obj.get("subjects") or ()
    accounts = [
        f"{subject.get('namespace') or ''}/{subject.get('name') or ''}"
        for subject in subjects
        if subject.get("kind") == "ServiceAccount"
    ]
    named = [
        ", ".join(subject.get("name") or "" for subject in subjects if subject.get("kind") == kind)
        for kind in ("User", "Group")
    ]
    return [
        name_of(obj),
        f"{role.get('kind') or ''}/{role.get('name') or ''}",
        _age(obj, now),
        *named,
        ", ".join(accounts),
    ]


def webhooks_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), len(obj.get("webhooks") or ()), _age(obj, now)]


def validating_policy_cells(obj: Object, now: datetime) -> list[Any]:
    return _policy(obj, "validations", now)


def mutating_policy_cells(obj: Object, now: datetime) -> list[Any]:
    return _policy(obj, "mutations", now)


def _policy(obj: Object, rules: str, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    kind = spec.get("paramKind")
    shown = f"{kind.get('apiVersion') or ''}/{kind.get('kind') or ''}" if kind else UNSET
    return [name_of(obj), len(spec.get(rules) or ()), shown, _age(obj, now)]


def policy_binding_cells(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    parameters, shown = spec.get("paramRef") or {}, UNSET
    if parameters.get("name"):
        shown = f"{parameters.get('namespace') or '*'}/{parameters['name']}"
    elif parameters.get("selector") is not None:
        shown = selector_text(parameters["selector"])
    return [name_of(obj), spec.get("policyName") or "", shown, _age(obj, now)]


def resource_claim_cells(obj: Object, now: datetime) -> list[Any]:
    status, deleted = status_of(obj), bool(metadata_of(obj).get("deletionTimestamp"))
    states = ["deleted"] if deleted else []
    if status.get("allocation") is None:
        states += [] if deleted else ["pending"]
    else:
        states.append("allocated")
        states += ["reserved"] if status.get("reservedFor") else []
    return [name_of(obj), ",".join(states), _age(obj, now)]


def resource_slice_cells(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    node = spec.get("nodeName") or ("<all>" if spec.get("allNodes") else UNSET)
    return [name_of(obj), node, spec.get("driver") or "", (spec.get("pool") or {}).get("name") or "", _age(obj, now)]
