"""
MutatingAdmissionWebhook and ValidatingAdmissionWebhook: what others have to say about a write.

While there is no configuration a write costs each of them a comparison, and nothing of how webhooks are called is
loaded. What they do then: `cluster.apiserver.webhooks.rounds`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.apiserver.admission.plugin import Plugin, Surroundings
from cluster.apiserver.requests import AdmissionRequest

if TYPE_CHECKING:
    from cluster.apiserver.webhooks.client import WebhookClient
    from cluster.apiserver.webhooks.metrics import WebhookMetrics
    from cluster.apiserver.webhooks.versions import Versions

_MUTATING = resources.named("mutatingwebhookconfigurations.admissionregistration.k8s.io")
_VALIDATING = resources.named("validatingwebhookconfigurations.admissionregistration.k8s.io")


class Work(Protocol):
    async def do(self, request: AdmissionRequest) -> None:
        """Raises ApiError to refuse."""


class Webhooks:
    """Both plugins, and what they count."""

    def __init__(self, around: Surroundings, client: "Callable[[], WebhookClient]", versions: "Versions") -> None:
        """`client` is asked for when there is something to call."""
        self._around = around
        self._client = client
        self._versions = versions
        self._counts: WebhookMetrics | None = None
        self.plugins: tuple[Plugin, Plugin] = (
            MutatingAdmissionWebhook(around, self.mutating),
            ValidatingAdmissionWebhook(around, self.validating),
        )

    def lines(self) -> list[str]:
        """For /metrics."""
        return self._counts.lines() if self._counts is not None else []

    def mutating(self) -> Work:
        from cluster.apiserver.webhooks import asking, hooks, metrics, rounds

        around = self._around
        counts = self._counts = self._counts or metrics.WebhookMetrics()
        asks = asking.Asking("admit", around.reader, around.authorizer, self._client(), self._versions, counts)
        configured = hooks.ConfiguredHooks(around.reader, _MUTATING)
        return rounds.Mutating(MutatingAdmissionWebhook.name, configured, asks, self._versions)

    def validating(self) -> Work:
        from cluster.apiserver.webhooks import asking, hooks, metrics, rounds

        around = self._around
        counts = self._counts = self._counts or metrics.WebhookMetrics()
        asks = asking.Asking("validating", around.reader, around.authorizer, self._client(), self._versions, counts)
        return rounds.Validating(hooks.ConfiguredHooks(around.reader, _VALIDATING), asks)


class _Waiting:
    """Nothing to do until a configuration appears."""

    def __init__(self, around: Surroundings, resource: Resource, make: Callable[[], Work]) -> None:
        self._reader = around.reader
        self._resource = resource
        self._make = make
        self._none_at = -1
        """Version of the configurations at which there were none."""
        self._work: Work | None = None

    def work(self) -> Work | None:
        """Who is to do it; None while there are no configurations."""
        version = self._reader.version(self._resource)
        if version == self._none_at:
            return None
        if not self._reader.list(self._resource):
            self._none_at = version
            return None
        if self._work is None:
            self._work = self._make()
        return self._work


class MutatingAdmissionWebhook(Plugin):
    name = "MutatingAdmissionWebhook"

    def __init__(self, around: Surroundings, make: Callable[[], Work]) -> None:
        super().__init__(around)
        self._waiting = _Waiting(around, _MUTATING, make)

    async def mutate(self, request: AdmissionRequest) -> None:
        if (work := self._waiting.work()) is not None:
            await work.do(request)


class ValidatingAdmissionWebhook(Plugin):
    name = "ValidatingAdmissionWebhook"

    def __init__(self, around: Surroundings, make: Callable[[], Work]) -> None:
        super().__init__(around)
        self._waiting = _Waiting(around, _VALIDATING, make)

    async def validate(self, request: AdmissionRequest) -> None:
        if (work := self._waiting.work()) is not None:
            await work.do(request)
