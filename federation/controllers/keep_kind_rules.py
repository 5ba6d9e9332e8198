"""
Says of every KindRule whether it counts, and why not.

Not here    what rules are (federation.placement.kind_rules).
"""

import datetime as dt

from cluster.client.controller import Controller
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import NotFound
from cluster.machinery.timestamps import format_time
from federation.api.resources import KIND_RULES
from federation.controllers.placing.kind_rule_book import KindRuleBook

ACCEPTED = "Accepted"
_MESSAGE = 32_768


class KeepKindRules:
    """`run` in a task. Who made the informer and the book runs the former."""

    def __init__(self, client: ApiClient, informer: Informer, book: KindRuleBook) -> None:
        self._client, self._rules, self._book = client, informer, book
        self._controller = Controller("kind-rules", self._reconcile, workers=1)
        informer.add_handler(self._changed, lambda _old, new: self._changed(new))
        book.listen(lambda _kind: self._all_changed())

    async def run(self) -> None:
        """Until cancelled."""
        await self._book.wait_synced()
        await self._controller.run()

    def _changed(self, rule: Object) -> None:
        self._controller.queue.add(key_of(rule))

    def _all_changed(self) -> None:
        for rule in self._rules.list():
            self._changed(rule)

    async def _reconcile(self, key: Key) -> None:
        rule = self._rules.get(key)
        if rule is None:
            return
        found = accepted(rule, self._book.fault(key.name), dt.datetime.now(dt.UTC))
        if found is None:
            return
        body = {"metadata": {"uid": rule["metadata"]["uid"]}, "status": {"conditions": [found]}}
        try:
            await self._client.patch(KIND_RULES, key.name, body, subresource="status")
        except NotFound:
            return  # it is gone meanwhile


def accepted(rule: Object, fault: str, now: dt.datetime) -> Object | None:
    """The condition that a rule is to have; None where it has it. Pure."""
    status, reason = ("False", "NotUsable") if fault else ("True", "Usable")
    generation = rule["metadata"].get("generation")
    wanted = {"type": ACCEPTED, "status": status, "reason": reason, "message": fault[:_MESSAGE]}
    known = (rule.get("status") or {}).get("conditions") or ()
    before: Object = next((one for one in known if one["type"] == ACCEPTED), {})
    if all(before.get(name) == value for name, value in wanted.items()):
        return None if before.get("observedGeneration") == generation else before | {"observedGeneration": generation}
    since = before.get("lastTransitionTime") if before.get("status") == status else format_time(now)
    return wanted | {"observedGeneration": generation, "lastTransitionTime": since}
