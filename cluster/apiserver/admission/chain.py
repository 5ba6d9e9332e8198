"""
The chain of admission plugins, in upstream's order.

The registry calls `Admission.mutate` before and `Admission.validate` after it has defaulted and validated an object.
Which plugins concern a (resource, operation) is worked out once and remembered.

Not here    webhooks and CEL policies: the apiserver hands those in as `extra` plugins.
Source: kubernetes, pkg/kubeapiserver/options/plugins.go.
"""

from collections.abc import Collection, Iterable, Sequence

from cluster.apiserver.admission import (
    certificates,
    event_rate_limit,
    ingress_class,
    limit_ranger,
    namespace_lifecycle,
    node_defaults,
    node_restriction,
    pod_security,
    pod_topology,
    priority,
    rbac_escalation,
    resource_quota,
    runtime_class,
    service_account,
    services_and_images,
    storage,
)
from cluster.apiserver.admission.configuration import Configurations
from cluster.apiserver.admission.plugin import Plugin, Surroundings
from cluster.apiserver.requests import AdmissionRequest, Authorizer, ObjectReader, ObjectWriter

PLUGINS: tuple[type[Plugin], ...] = (
    namespace_lifecycle.NamespaceLifecycle,
    limit_ranger.LimitRanger,
    service_account.ServiceAccount,
    node_restriction.NodeRestriction,
    node_defaults.TaintNodesByCondition,
    services_and_images.AlwaysPullImages,
    pod_security.PodSecurity,
    priority.Priority,
    node_defaults.DefaultTolerationSeconds,
    storage.DefaultStorageClass,
    storage.StorageObjectInUseProtection,
    storage.PersistentVolumeClaimResize,
    runtime_class.RuntimeClass,
    certificates.CertificateApproval,
    certificates.CertificateSigning,
    certificates.CertificateSubjectRestriction,
    ingress_class.DefaultIngressClass,
    pod_topology.PodTopologyLabels,
    services_and_images.DenyServiceExternalIPs,
    event_rate_limit.EventRateLimit,
    # Upstream checks escalation in the storage of the RBAC kinds; here it is a plugin that cannot be turned off.
    rbac_escalation.RbacEscalation,
    resource_quota.ResourceQuota,
)
"""Every built-in plugin, in the order in which they run."""

OFF_BY_DEFAULT = frozenset({"NodeRestriction", "AlwaysPullImages", "DenyServiceExternalIPs", "EventRateLimit"})
ALWAYS_ON = frozenset({"RbacEscalation"})

_LATE = (
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
)
"""The order of `extra` plugins."""

OUTSIDE = frozenset(
    {
        "MutatingAdmissionPolicy",
        "MutatingAdmissionWebhook",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionWebhook",
        "PodGroupProtection",
        "PodGroupWorkloadExists",
        "JobValidation",
        "ClusterTrustBundleAttest",
        "NodeDeclaredFeatureValidator",
        "PodResizeValidator",
        "AlwaysAdmit",
    }
)
"""Upstream's names that a flag may mention: served elsewhere, or without effect in a server without their features."""


class AdmissionChain:
    """All plugins that are on. Satisfies `cluster.apiserver.requests.Admission`."""

    def __init__(self, plugins: Sequence[Plugin], last: Sequence[Plugin] = ()) -> None:
        """`last` run after `plugins`; ResourceQuota belongs there, since it counts what the others made."""
        self._plugins = (*plugins, *last)
        self._chosen: dict[tuple[str, str], tuple[Plugin, ...]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(plugin.name for plugin in self._plugins)

    async def mutate(self, request: AdmissionRequest) -> None:
        concerned = self._concerned(request)
        for plugin in concerned:
            await plugin.mutate(request)
        again = request.reinvocation
        if again is not None and again.wanted:
            again.second = True
            for plugin in concerned:
                await plugin.mutate(request)

    async def validate(self, request: AdmissionRequest) -> None:
        for plugin in self._concerned(request):
            await plugin.validate(request)

    def _concerned(self, request: AdmissionRequest) -> tuple[Plugin, ...]:
        key = (request.resource.qualified, request.operation)
        chosen = self._chosen.get(key)
        if chosen is None:
            chosen = self._chosen[key] = tuple(
                plugin
                for plugin in self._plugins
                if key[1] in plugin.operations and (plugin.resources is None or key[0] in plugin.resources)
            )
        return chosen


def build_admission(
    enabled_extra: Iterable[str],
    disabled: Iterable[str],
    reader: ObjectReader,
    writer: ObjectWriter,
    *,
    authorizer: Authorizer | None = None,
    extra: Sequence[Plugin] = (),
    configurations: Configurations | None = None,
    kept_namespaces: Collection[str] = (),
    more: Sequence[type[Plugin]] = (),
) -> AdmissionChain:
    """
    The chain for `--enable-admission-plugins` and `--disable-admission-plugins`.

    Args:
        enabled_extra: Plugins to run on top of the default ones, e.g. NodeRestriction.
        disabled: Default plugins not to run.
        reader: The watch cache.
        writer: For plugins that write (ResourceQuota keeps the used amounts).
        authorizer: For plugins that ask whether the user may (certificates, roles); None lets everything pass.
        extra: Webhooks and policies; in upstream's order they run before ResourceQuota, those that are disabled never.
        configurations: What the plugins' configuration file says.
        kept_namespaces: Which may not be deleted, besides those of every cluster.
        more: Plugins of the profile, which no flag turns off.

    Raises:
        ValueError: A plugin is unknown, is enabled and disabled at once, or is configured wrongly.
    """
    wanted, unwanted = set(enabled_extra), set(disabled)
    known = {plugin.name for plugin in PLUGINS} | OUTSIDE
    if unknown := sorted((wanted | unwanted) - known):
        raise ValueError(f"admission plugins {', '.join(unknown)} are unknown; there are {', '.join(sorted(known))}")
    if both := sorted(wanted & unwanted):
        raise ValueError(f"admission plugins {', '.join(both)} are both enabled and disabled; decide for one")
    around = Surroundings(reader, writer, authorizer, configurations or {}, kept_namespaces)
    on = [
        plugin(around)
        for plugin in PLUGINS
        if plugin.name in ALWAYS_ON
        or (plugin.name not in unwanted and (plugin.name in wanted or plugin.name not in OFF_BY_DEFAULT))
    ]
    last = [plugin for plugin in on if isinstance(plugin, resource_quota.ResourceQuota)]
    first = [plugin for plugin in on if plugin not in last]
    late = sorted((plugin for plugin in extra if plugin.name not in unwanted), key=lambda one: _LATE.index(one.name))
    return AdmissionChain((*first, *(plugin(around) for plugin in more), *late), last)
