"""PodSecurity: the namespace's labels say which standard its pods must meet, and which they are warned about."""

from collections.abc import Mapping

from cluster.api import resources
from cluster.apiserver.admission.plugin import CREATE, UPDATE, Plugin, Surroundings, metadata_of, refuse, spec_of
from cluster.apiserver.admission.pod_security_checks import violations
from cluster.apiserver.admission.pod_security_configuration import LEVELS, MODES, Policy, settings_of
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.field_errors import invalid, invalid_from
from cluster.machinery.objects import Object

LABEL_PREFIX = "pod-security.kubernetes.io/"
MAX_REPORTED_PODS = 10

# Resources with a pod template, and the way to it.
TEMPLATES = {
    "replicationcontrollers": ("spec", "template"),
    "podtemplates": ("template",),
    "replicasets.apps": ("spec", "template"),
    "deployments.apps": ("spec", "template"),
    "statefulsets.apps": ("spec", "template"),
    "daemonsets.apps": ("spec", "template"),
    "jobs.batch": ("spec", "template"),
    "cronjobs.batch": ("spec", "jobTemplate", "spec", "template"),
}


class PodSecurity(Plugin):
    name = "PodSecurity"
    operations = frozenset({CREATE, UPDATE})
    resources = frozenset({"pods", "namespaces", *TEMPLATES})

    def __init__(self, around: Surroundings) -> None:
        """Raises ValueError for a wrong configuration."""
        super().__init__(around)
        self._settings = settings_of(around.configurations.get(self.name))

    async def validate(self, request: AdmissionRequest) -> None:
        if request.obj is None:
            return
        if request.resource.plural == "namespaces":
            if not request.subresource:
                self._namespace(request, request.obj)
        elif request.resource.plural == "pods":
            if request.subresource in ("", "ephemeralcontainers"):
                self._pod(request, request.obj)
        elif not request.subresource:
            self._template(request, request.obj)

    def _pod(self, request: AdmissionRequest, pod: Object) -> None:
        if request.operation == UPDATE and spec_of(request.old) == spec_of(pod):
            return
        if self._is_exempt(request, spec_of(pod)):
            return
        policy = self._policy(request.namespace)
        request.annotations[LABEL_PREFIX + "enforce-policy"] = ":".join(policy["enforce"])
        if found := _describe(policy["audit"], pod):
            request.annotations[LABEL_PREFIX + "audit-violations"] = f"would violate PodSecurity {found}"
        if found := _describe(policy["enforce"], pod):
            raise refuse(request, f"violates PodSecurity {found}")
        if found := _describe(policy["warn"], pod):
            request.warnings.append(f"would violate PodSecurity {found}")

    def _is_exempt(self, request: AdmissionRequest, spec: Object) -> bool:
        settings = self._settings
        for what, exempt in (
            ("namespace", request.namespace in settings.namespaces),
            ("user", request.user.name in settings.usernames),
            ("runtimeClass", (spec.get("runtimeClassName") or "") in settings.runtime_classes),
        ):
            if exempt:
                request.annotations[LABEL_PREFIX + "exempt"] = what
                return True
        return False

    def _template(self, request: AdmissionRequest, obj: Object) -> None:
        template: Object = obj
        for field in TEMPLATES[request.resource.qualified]:
            template = template.get(field) or {}
        if not template.get("spec"):
            return
        if self._is_exempt(request, template["spec"]):
            return
        policy = self._policy(request.namespace)
        if found := _describe(policy["audit"], template):
            request.annotations[LABEL_PREFIX + "audit-violations"] = f"would violate PodSecurity {found}"
        # Only warned about: the pods made from it are refused, and the controller reports that.
        if found := _describe(policy["warn"], template):
            request.warnings.append(f"would violate PodSecurity {found}")

    def _namespace(self, request: AdmissionRequest, namespace: Object) -> None:
        labels = metadata_of(request).get("labels") or {}
        old_labels = ((request.old or {}).get("metadata") or {}).get("labels") or {}
        faults = []
        for mode in MODES:
            key = LABEL_PREFIX + mode
            level = labels.get(key)
            if level is not None and level not in LEVELS and level != old_labels.get(key):
                # The path is upstream's: the label's key in brackets.
                faults.append(invalid(f"metadata.labels[{key}]", level, f"must be one of {', '.join(LEVELS)}"))
            version = labels.get(key + "-version")
            if version is not None and not _is_version(version) and version != old_labels.get(key + "-version"):
                faults.append(invalid(f"metadata.labels[{key}-version]", version, 'must be "latest" or "v1.x"'))
        if faults:
            raise invalid_from(request.resource, str(namespace["metadata"].get("name") or ""), faults)
        if str(namespace["metadata"].get("name") or "") in self._settings.namespaces:
            return
        defaults = self._settings.defaults
        new, old = policy_of(labels, defaults)["enforce"], policy_of(old_labels, defaults)["enforce"]
        if request.operation == UPDATE and new != old and new[0] != "privileged":
            self._report_existing(request, str(namespace["metadata"]["name"]), new)

    def _report_existing(self, request: AdmissionRequest, namespace: str, policy: tuple[str, str]) -> None:
        """Tell whoever raises the level which pods would not be let in any more."""
        by_fault: dict[str, list[str]] = {}
        for pod in self.reader.list(resources.PODS, namespace):
            found = violations(policy[0], pod["metadata"], spec_of(pod))
            if found:
                by_fault.setdefault(", ".join(v.reason for v in found), []).append(pod["metadata"]["name"])
        if not by_fault:
            return
        request.warnings.append(
            f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level'
            f' "{policy[0]}:{policy[1]}"'
        )
        for fault, pods in sorted(by_fault.items())[:MAX_REPORTED_PODS]:
            first, more = sorted(pods)[0], len(pods) - 1
            others = "" if not more else f" (and {more} other pod{'' if more == 1 else 's'})"
            request.warnings.append(f"{first}{others}: {fault}")

    def _policy(self, namespace: str) -> dict[str, tuple[str, str]]:
        found = self.reader.get(resources.NAMESPACES, "", namespace)
        return policy_of(((found or {}).get("metadata") or {}).get("labels") or {}, self._settings.defaults)


def policy_of(labels: Object, defaults: Mapping[str, Policy]) -> dict[str, Policy]:
    """mode -> (level, version). A level nobody knows is taken as the strictest; none at all as the configured one."""
    policy = {}
    for mode in MODES:
        level = labels.get(LABEL_PREFIX + mode, defaults[mode][0])
        version = labels.get(f"{LABEL_PREFIX}{mode}-version", defaults[mode][1])
        policy[mode] = (level if level in LEVELS else "restricted", version)
    return policy


def _describe(policy: tuple[str, str], pod: Object) -> str:
    """`"restricted:latest": a (…), b (…)`, or empty for a pod that is fine."""
    level, version = policy
    found = violations(level, pod.get("metadata") or {}, pod.get("spec") or {})
    return f'"{level}:{version}": {", ".join(map(str, found))}' if found else ""


def _is_version(text: str) -> bool:
    return text == "latest" or (text.startswith("v1.") and text[3:].isdigit())
