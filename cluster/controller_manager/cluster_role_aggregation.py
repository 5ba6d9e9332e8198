"""
Fill ClusterRoles that gather the rules of others. `gathered_rules` is pure.

Source: kube-controller-manager, pkg/controller/clusterroleaggregation.
"""

from collections.abc import Iterable

from cluster.api import resources
from cluster.client.controller import Controller
from cluster.controller_manager.context import Context
from cluster.machinery.labels import selector_of
from cluster.machinery.objects import Key, Object, key_of

CLUSTER_ROLES = resources.named("clusterroles.rbac.authorization.k8s.io")


def gathered_rules(role: Object, others: Iterable[Object]) -> list[Object]:
    """The rules of all roles that the selectors choose, by name, each once."""
    selectors = [selector_of(s) for s in role["aggregationRule"].get("clusterRoleSelectors") or ()]
    rules: list[Object] = []
    for other in sorted(others, key=lambda o: str(o["metadata"]["name"])):
        if other["metadata"]["name"] == role["metadata"]["name"]:
            continue
        if any(s.matches(other["metadata"].get("labels")) for s in selectors):
            rules += [rule for rule in other.get("rules") or () if rule not in rules]
    return rules


class ClusterRoleAggregationController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._roles = context.informers.of(CLUSTER_ROLES)
        self.controller = Controller("clusterrole-aggregation", self.reconcile, workers=1)
        self._roles.add_handler(self._any_changed, lambda _, new: self._any_changed(new), self._any_changed)

    def _any_changed(self, _: Object) -> None:
        for role in self._roles.list():
            if role.get("aggregationRule"):
                self.controller.queue.add(key_of(role))

    async def run(self) -> None:
        await self.controller.run()

    async def reconcile(self, key: Key) -> None:
        role = self._roles.get(key)
        if role is None or not role.get("aggregationRule"):
            return
        rules = gathered_rules(role, self._roles.list())
        if rules == (role.get("rules") or []):
            return
        applied = {
            "apiVersion": CLUSTER_ROLES.api_version,
            "kind": CLUSTER_ROLES.kind,
            "metadata": {"name": key.name},
            "rules": rules,
        }
        await self._client.patch(
            CLUSTER_ROLES, key.name, applied, patch_type="apply", field_manager="clusterrole-aggregation-controller",
            force=True,
        )  # fmt: skip
