"""
What rotating the key of Secrets takes: which files masters need in which order, and when values are sealed anew. Pure.

Every master must be able to open what any other one seals: so the new key comes to all as a second one before it
becomes the first anywhere, and the old one goes when nothing is sealed with it any more.
"""

from collections.abc import Sequence

from provisioner.errors import InventoryError
from provisioner.execution.actions import Action, ActionPlan, Difference, chain

VERB = "rotate-key"


def target_of(keys: Sequence[str], *, back: bool) -> str:
    """
    Which key shall be the only one in the end; empty for one that is still to be made.

    Args:
        keys: Names in the file's order, ages in the order of their numbers.
        back: Return to the oldest.

    Raises:
        InventoryError: there is no rotation to take back.
    """
    ages = sorted(keys, key=lambda name: int(name.removeprefix("key")))
    if len(keys) > 1:
        return ages[0] if back else ages[-1]
    if back:
        raise InventoryError(
            "no rotation of the key goes on", why=f"{keys[0]} is the only key that is in force",
            next_step="`provision secrets status` tells what Secrets are sealed with.",
        )  # fmt: skip
    return ""


def plan_key_rotation(cluster: str, keys: Sequence[str], target: str, *, behind: bool) -> ActionPlan:
    """
    Args:
        cluster: Its name.
        keys: Names in the file's order; the first seals.
        target: The key that shall be the only one; made by the first action if it is not among them.
        behind: A single key is in the file and masters have not all come to that: an earlier run was cut off at its
            end, which is what is left.
    """
    if len(keys) == 1 and behind:
        return ActionPlan(VERB, cluster, chain(_lay_down("drop", (), keys, keys)))
    added = tuple(keys) if target in keys else (*keys, target)
    used = (target, *(name for name in added if name != target))
    actions = [] if keys[0] == target else _lay_down("add", keys, added, added)
    actions += _lay_down("use", added, used, used)
    actions.append(Action("rewrite", f"seal every Secret with {target}"))
    actions += _lay_down("drop", used, (target,), (target,))
    return ActionPlan(VERB, cluster, chain(actions))


def _lay_down(step: str, now: Sequence[str], then: Sequence[str], told: Sequence[str]) -> list[Action]:
    changes = (Difference("keys", ", ".join(now), ", ".join(then)),) if now != then else ()
    return [
        Action(f"{step}/key", f"write down {', '.join(told)}, the first one seals", changes=changes),
        Action(f"{step}/files", "lay down the file on every master"),
        Action(f"{step}/gate", "see that every apiserver has read it"),
    ]
