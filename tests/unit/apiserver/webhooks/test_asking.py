"""Whom a write concerns and what a webhook may not be asked; calls themselves are tested with real servers."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.apiserver.requests import AdmissionRequest, UserInfo
from cluster.apiserver.service_resolver import ServiceResolver
from cluster.apiserver.webhooks.admission_review import Seen
from cluster.apiserver.webhooks.asking import Asking
from cluster.apiserver.webhooks.client import WebhookClient
from cluster.apiserver.webhooks.hooks import ConfiguredHooks, Hook
from cluster.apiserver.webhooks.metrics import WebhookMetrics
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, BadRequest
from tests.fakes.object_store import FakeObjects

CONFIGURATIONS = resources.named("validatingwebhookconfigurations.admissionregistration.k8s.io")


class OneVersion:
    """Of resources that have no other."""

    def others(self, resource: Resource) -> tuple[Resource, ...]:
        return ()

    async def bring(self, obj: Object, resource: Resource) -> Object:
        return obj


@pytest.fixture
async def client() -> AsyncIterator[WebhookClient]:
    found = WebhookClient(ServiceResolver(FakeObjects()))
    yield found
    await found.close()


def asking(client: WebhookClient, counts: WebhookMetrics | None = None) -> Asking:
    return Asking("validating", FakeObjects(), None, client, OneVersion(), counts or WebhookMetrics())


def webhook(name: str = "h.example.com", **more: Any) -> Object:
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    known = {"rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail"}
    return {"name": name, "clientConfig": {"url": "https://127.0.0.1:1/x"}, **known, **more}


def request(*, dry_run: bool = False) -> AdmissionRequest:
    obj: Object = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c", "namespace": "ns"}}
    user = UserInfo("u")
    return AdmissionRequest("CREATE", resources.CONFIG_MAPS, "", "ns", "c", obj, None, user, dry_run=dry_run)


async def test_a_webhook_with_side_effects_refuses_a_dry_run_without_being_asked(client: WebhookClient) -> None:
    hook, asked = Hook.of(webhook(sideEffects="Some"), "c/h/0"), request(dry_run=True)

    with pytest.raises(BadRequest) as caught:
        await asking(client).ask(hook, asked, Seen(asked.resource, asked.obj, None), "round_0_index_0")

    assert caught.value.message == 'admission webhook "h.example.com" does not support dry run'


async def test_a_webhook_that_understands_no_review_fails(client: WebhookClient) -> None:
    hook, asked, counts = Hook.of(webhook(admissionReviewVersions=["v9"]), "c/h/0"), request(), WebhookMetrics()

    with pytest.raises(ApiError, match="webhook does not accept known AdmissionReview versions"):
        await asking(client, counts).ask(hook, asked, Seen(asked.resource, asked.obj, None), "round_0_index_0")

    assert any("rejection_count" in line and 'error_type="calling_webhook_error"' in line for line in counts.lines())


async def test_a_failure_that_is_ignored_is_noted_for_the_audit_log(client: WebhookClient) -> None:
    hook, asked = Hook.of(webhook(failurePolicy="Ignore"), "c/h/0"), request()

    assert await asking(client).ask(hook, asked, Seen(asked.resource, asked.obj, None), "round_0_index_0") is None
    assert asked.annotations == {"failed-open.validating.webhook.admission.k8s.io/round_0_index_0": "h.example.com"}


async def test_a_write_concerns_the_webhooks_whose_rules_mean_it(client: WebhookClient) -> None:
    yes, no = Hook.of(webhook(), "c/h/0"), Hook.of(webhook(rules=[]), "c/h/1")

    assert await asking(client).concerns(yes, request()) is not None
    assert await asking(client).concerns(no, request()) is None


def configuration(name: str, *webhooks: Object) -> Object:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": list(webhooks),
    }


def test_hooks_are_ordered_by_configuration_and_read_again_when_one_changes() -> None:
    objects = FakeObjects(configuration("b", webhook("b1.h.io"), webhook("b0.h.io")))
    hooks = ConfiguredHooks(objects, CONFIGURATIONS)
    before = hooks.now()
    assert [hook.name for hook in before] == ["b1.h.io", "b0.h.io"]
    assert hooks.now() is before

    objects.put(configuration("a", webhook("a.h.io")))
    assert [hook.name for hook in hooks.now()] == ["a.h.io", "b1.h.io", "b0.h.io"]


def test_a_configuration_that_makes_no_sense_leaves_the_others_alone() -> None:
    objects = FakeObjects(configuration("a", {"name": "a.h.io"}), configuration("b", webhook()))

    assert [hook.name for hook in ConfiguredHooks(objects, CONFIGURATIONS).now()] == ["h.example.com"]
