"""
Does somebody give away more than they have? Pure comparison of rules.

Called by   cluster.apiserver.admission.rbac_escalation.
Source: kubernetes, staging/src/k8s.io/component-helpers/auth/rbac/validation.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence

from cluster.apiserver.rbac import PolicyRule


def missing_rules(held: Sequence[PolicyRule], given: Iterable[PolicyRule]) -> list[PolicyRule]:
    """What of the given rules the held ones do not cover, broken down to single verbs, groups and resources."""
    return [part for rule in given for part in _parts(rule) if not any(_covers(own, part) for own in held)]


def describe(rules: Iterable[PolicyRule]) -> str:
    """One line a rule, joined where they differ in verbs alone; as upstream prints what is missing."""
    merged: dict[PolicyRule, list[str]] = {}
    for rule in rules:
        without_verbs = PolicyRule((), rule.api_groups, rule.resources, rule.resource_names, rule.non_resource_urls)
        verbs = merged.setdefault(without_verbs, [])
        verbs.extend(verb for verb in rule.verbs if verb not in verbs)
    lines = {
        _compact(PolicyRule(tuple(verbs), r.api_groups, r.resources, r.resource_names, r.non_resource_urls))
        for r, verbs in merged.items()
    }
    return "\n".join(sorted(lines))


def _parts(rule: PolicyRule) -> Iterator[PolicyRule]:
    for verb, url in itertools.product(rule.verbs, rule.non_resource_urls):
        yield PolicyRule((verb,), non_resource_urls=(url,))
    for group, resource, verb in itertools.product(rule.api_groups, rule.resources, rule.verbs):
        if rule.resource_names:
            for name in rule.resource_names:
                yield PolicyRule((verb,), (group,), (resource,), (name,))
        else:
            yield PolicyRule((verb,), (group,), (resource,))


def _covers(own: PolicyRule, part: PolicyRule) -> bool:
    verb = part.verbs[0]
    if verb not in own.verbs and "*" not in own.verbs:
        return False
    if part.non_resource_urls:
        return any(_url_covered(pattern, part.non_resource_urls[0]) for pattern in own.non_resource_urls)
    group = part.api_groups[0]
    if group not in own.api_groups and "*" not in own.api_groups:
        return False
    if not _resource_covered(own.resources, part.resources[0]):
        return False
    # A rule for every name covers one for some; one for some names covers only those.
    return not own.resource_names or (bool(part.resource_names) and part.resource_names[0] in own.resource_names)


def _resource_covered(patterns: Sequence[str], resource: str) -> bool:
    if "*" in patterns or resource in patterns:
        return True
    _, slash, subresource = resource.partition("/")
    return bool(slash) and f"*/{subresource}" in patterns


def _url_covered(pattern: str, url: str) -> bool:
    return pattern in ("*", url) or (pattern.endswith("*") and url.startswith(pattern[:-1]))


def _compact(rule: PolicyRule) -> str:
    fields = (
        ("APIGroups", rule.api_groups),
        ("Resources", rule.resources),
        ("NonResourceURLs", rule.non_resource_urls),
        ("ResourceNames", rule.resource_names),
        ("Verbs", rule.verbs),
    )
    return "{" + ", ".join(f"{name}:{go_strings(values)}" for name, values in fields if values) + "}"


def go_strings(values: Sequence[str]) -> str:
    """A list of texts as Go's %q prints it: `["a" "b"]`."""
    return "[" + " ".join(json.dumps(value, ensure_ascii=False) for value in values) + "]"
