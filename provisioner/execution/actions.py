"""
What a verb would do: actions, what each needs before it, what each changes. Pure.

A plan is a function of the description and of what was found, so the same world gives the same plan and digest.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that an action changes. Secrets have no business here: plans are printed."""

    field: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.field}: {self.before or '(none)'} -> {self.after or '(none)'}"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do. `id` is the same in every run that has to do it: `node-3/drain`, `etcd/remove node-3`."""

    id: str
    what: str
    """A sentence without a full stop: `drain the node`."""
    host: str = ""
    """Empty for what concerns the operator's machine or the API."""
    after: tuple[str, ...] = ()
    """Ids of the actions that have to be done before."""
    changes: tuple[Difference, ...] = ()

    def __str__(self) -> str:
        return f"{self.host}: {self.what}" if self.host else self.what


class PlanFault(ValueError):
    """A plan that cannot be carried out: a bug of the verb that made it."""


@dataclass(frozen=True, slots=True)
class ActionPlan:
    """
    Actions in an order in which they could be done one by one.

    Raises PlanFault for an id that is there twice, or a need that no earlier action meets.
    """

    verb: str
    cluster: str
    actions: tuple[Action, ...] = ()

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for action in self.actions:
            if action.id in seen:
                raise PlanFault(f"action {action.id} is planned twice")
            if missing := [need for need in action.after if need not in seen]:
                raise PlanFault(f"action {action.id} needs {', '.join(missing)}, which no earlier action does")
            seen.add(action.id)

    def __iter__(self) -> Iterator[Action]:
        return iter(self.actions)

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def digest(self) -> str:
        """12 hex digits that change with anything in the plan."""
        told = json.dumps([self.verb, self.cluster, [asdict(action) for action in self.actions]], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:12]

    def lines(self) -> list[str]:
        """For people: each action, and below it what it changes."""
        return [line for action in self.actions for line in (str(action), *(f"  {one}" for one in action.changes))]


def chain(actions: Sequence[Action]) -> tuple[Action, ...]:
    """The same actions, each after the one before it."""
    found: list[Action] = []
    for action in actions:
        before = (found[-1].id,) if found else ()
        after = tuple(dict.fromkeys((*action.after, *before)))
        found.append(Action(action.id, action.what, action.host, after, action.changes))
    return tuple(found)
