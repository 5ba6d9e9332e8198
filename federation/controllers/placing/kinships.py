"""How templates belong together: who needs whom, who is scaled by whom, what a policy selects. Reads templates."""

import logging
from collections.abc import Callable, Iterator

from cluster.machinery.objects import Object
from federation.api.refs import Ref, group_of, ref_of
from federation.controllers.placing.kind_rule_book import KindRuleBook
from federation.controllers.templates import Change, Templates
from federation.placement.dependencies import Reference, dependencies_of
from federation.placement.kind_rules import RuleError, dependencies_by, read_as
from federation.placement.policies import OverridePolicy, PropagationPolicy
from federation.placement.workloads import pod_template

log = logging.getLogger(__name__)

DEFINITION, AUTOSCALER = (
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("autoscaling", "HorizontalPodAutoscaler"),
)
NAMESPACE = ("", "Namespace")


class Kinships:
    def __init__(self, templates: Templates, rules: KindRuleBook) -> None:
        self._templates, self._rules = templates, rules
        self._definitions: dict[tuple[str, str], Ref] = {}
        """By group and kind of the resources that they define."""
        self._targets: dict[Ref, Ref] = {}
        """Autoscaler -> what it scales."""
        self._scaled: dict[Ref, int] = {}
        """How many autoscalers an object has."""
        self.on_scaling: Callable[[Ref], None] = lambda _: None
        """Called for a workload that got an autoscaler or lost one."""
        templates.listen(self._learn)

    def needed(self, ref: Ref, template: Object | None, policy: PropagationPolicy | None) -> frozenset[Ref]:
        """
        What has to be wherever this object is: its namespace, its definition, and what its Pods name.

        Without the template what its name alone says.
        """
        found = set()
        if ref.namespace not in ("", "default"):
            found.add(Ref(*NAMESPACE, "", ref.namespace))
        definition = self.definition_of(ref)
        if definition is not None:
            found.add(definition)
        if template is not None and policy is not None and policy.propagate_dependencies:
            found.update(
                Ref(group_of(one.api_version), one.kind, one.namespace, one.name) for one in self._named(ref, template)
            )
        return frozenset(found)

    def _named(self, ref: Ref, template: Object) -> Iterator[Reference]:
        rule = self._rules.of(ref.group, ref.kind)
        yield from dependencies_of(read_as(template, rule))
        try:
            yield from dependencies_by(rule, template)
        except RuleError as fault:
            log.warning("what %s needs is not known, KindRule %s: %s", ref, rule.name, fault)

    def definition_of(self, ref: Ref) -> Ref | None:
        """The template of the definition of a custom resource."""
        return self._definitions.get((ref.group, ref.kind))

    def defined_by(self, definition: Ref) -> Iterator[Ref]:
        """Custom resources whose definition this is."""
        for (group, kind), ref in self._definitions.items():
            if ref == definition:
                yield from (ref_of(one) for one in self._templates.list_kind(group, kind))

    def is_autoscaled(self, ref: Ref) -> bool:
        return ref in self._scaled

    def priority_of(self, ref: Ref) -> int:
        """Of its Pods; whoever names no PriorityClass, or one that nobody knows, has 0."""
        template = self._templates.get(ref)
        pod = pod_template(template) if template is not None else None
        name = ((pod or {}).get("spec") or {}).get("priorityClassName")
        found = self._templates.get(Ref("scheduling.k8s.io", "PriorityClass", "", name)) if name else None
        value = (found or {}).get("value")
        return value if isinstance(value, int) else 0

    def why_needed(self, ref: Ref, dependents: Iterator[Ref]) -> str:
        if (ref.group, ref.kind) == NAMESPACE:
            return "objects in it are there"
        if (ref.group, ref.kind) == DEFINITION:
            return "its resources are there"
        first = min(dependents, default=None)
        return f"{first.kind} {first.name} names it" if first is not None else "it is named there"

    def selected_by(self, policy: PropagationPolicy | OverridePolicy) -> Iterator[Ref]:
        if isinstance(policy, OverridePolicy) and not policy.selectors:
            yield from (ref_of(one) for one in self._templates.list(policy.namespace))
        for selector in policy.selectors:
            namespace = policy.namespace or selector.namespace
            for one in self._templates.list_kind(group_of(selector.api_version), selector.kind, namespace):
                if selector.specificity(one) is not None:
                    yield ref_of(one)

    def _learn(self, ref: Ref, _change: Change) -> None:
        match ref.group, ref.kind:
            case kind if kind == DEFINITION:
                self._learn_definition(ref)
            case kind if kind == AUTOSCALER:
                self._learn_autoscaler(ref)
            case _:
                pass

    def _learn_definition(self, ref: Ref) -> None:
        for kind in [kind for kind, one in self._definitions.items() if one == ref]:
            del self._definitions[kind]
        definition = self._templates.get(ref)
        if definition is not None:
            spec = definition["spec"]
            self._definitions[spec["group"], spec["names"]["kind"]] = ref

    def _learn_autoscaler(self, ref: Ref) -> None:
        autoscaler = self._templates.get(ref)
        target = _target_of(autoscaler) if autoscaler is not None else None
        before = self._targets.pop(ref, None)
        if target is not None:
            self._targets[ref] = target
            self._scaled[target] = self._scaled.get(target, 0) + 1
        if before is not None:
            self._scaled[before] -= 1
            if not self._scaled[before]:
                del self._scaled[before]
        for one in (target, before):
            if one is not None:
                self.on_scaling(one)


def _target_of(autoscaler: Object) -> Ref:
    target = (autoscaler.get("spec") or {}).get("scaleTargetRef") or {}
    return Ref(
        group_of(target.get("apiVersion") or ""),
        target.get("kind") or "",
        autoscaler["metadata"].get("namespace") or "",
        target.get("name") or "",
    )
