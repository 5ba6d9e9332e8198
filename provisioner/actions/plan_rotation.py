"""
What rotating the CAs takes: which stages are left, and in what order hosts and members of etcd come to each. Pure.

Why in stages, and what each means for clients: decisions/0005.
"""

from inventory.model import ClusterSpec, Role
from provisioner.errors import InventoryError
from provisioner.execution.actions import Action, ActionPlan, Difference
from provisioner.phases.rotate_authorities import Progress, Stage, trusted

VERB = "rotate-ca"
ORDER = (Stage.START, Stage.TRUST, Stage.SIGN, Stage.DROP, Stage.RETIRE)
_CHANGES = {
    Stage.START: "the old CAs alone are trusted",
    Stage.TRUST: "both generations of CAs are trusted, the old one signs",
    Stage.SIGN: "both generations of CAs are trusted, the new one signs",
    Stage.DROP: "the new CAs alone are trusted",
    Stage.RETIRE: "tokens of the old ServiceAccount key are refused",
}


def stages_ahead(found: Progress, until: Stage | None, *, dead: bool = False) -> tuple[Stage, ...]:
    """
    Which stages are left, the one that was begun included.

    Args:
        found: Where the rotation is.
        until: The last stage wanted; None for all that need no waiting: to DROP, and from there to RETIRE. TRUST from
            DROP begins with another generation.
        dead: A CA has expired: from DROP, another generation is begun.

    Raises:
        InventoryError: `until` lies behind.
    """
    if found == Progress(Stage.DROP) and (until is Stage.TRUST or (dead and until is None)):
        return (Stage.TRUST,) if until else (Stage.TRUST, Stage.SIGN, Stage.DROP)
    at = ORDER.index(found.stage)
    begun = found.stage is not Stage.START and not found.whole
    first = at if begun else at + 1
    wanted = until or (Stage.RETIRE if found.stage in (Stage.DROP, Stage.RETIRE) and first > 3 else Stage.DROP)
    last = ORDER.index(wanted)
    if last < at:
        raise InventoryError(
            f"the rotation is past stage {wanted}", why=f"it is at stage {found.stage}",
            next_step="Go on without --stage, or back one stage with --rollback.",
        )  # fmt: skip
    return ORDER[first : last + 1]


def begins_anew(found: Progress, stages: tuple[Stage, ...]) -> bool:
    """Whether these stages are another rotation's than the one that was found."""
    return found.stage is Stage.DROP and stages[:1] == (Stage.TRUST,)


def stage_before(found: Progress) -> Stage:
    """
    Where `--rollback` goes: one stage back; a return that was cut off is gone on with.

    Raises:
        InventoryError: there is nothing to go back to.
    """
    if found.back and not found.whole:
        return found.stage
    if found.stage is Stage.START:
        raise InventoryError(
            "no rotation of the CAs goes on", why="the CAs in force are the only ones that are known",
            next_step="Look at `provision certs status`.",
        )  # fmt: skip
    if found.stage is Stage.RETIRE:
        raise InventoryError(
            "the rotation cannot be rolled back any more", why="the old generation is being given up",
            next_step="End it with `provision certs rotate-ca`; another rotation replaces the CAs again.",
        )  # fmt: skip
    return ORDER[ORDER.index(found.stage) - 1]


def plan_rotation(spec: ClusterSpec, found: Progress, stages: tuple[Stage, ...], *, dead: bool = False) -> ActionPlan:
    """
    Args:
        spec: The cluster.
        found: Where the rotation is.
        stages: Those to go through, in this order: `stages_ahead`, or the one of `stage_before`.
        dead: A CA has expired, so nothing that speaks TLS answers before new certificates are signed: the stages
            before have no gate, and all members of etcd restart at once.
    """
    actions: list[Action] = []
    before: tuple[str, ...] = ()
    now = found.stage
    for stage in stages:
        blind = dead and stage is Stage.TRUST
        part = _stage(spec, now, stage, before, blind=blind)
        actions += part
        before, now = (part[-1].id,), stage
    return ActionPlan(VERB, spec.name, tuple(actions))


def _stage(spec: ClusterSpec, now: Stage, stage: Stage, before: tuple[str, ...], *, blind: bool) -> list[Action]:
    changes = (Difference("CAs", _CHANGES[now], _CHANGES[stage]),) if now is not stage else ()
    actions = []
    if stage is Stage.RETIRE:
        actions.append(Action(f"{stage}/tokens", "see that no Pod has a token of the old key any more", "", before))
        before = (actions[-1].id,)
    actions.append(Action(f"{stage}/authorities", f"issue what stage {stage} takes", "", before, changes))
    actions.append(Action(f"{stage}/files", "lay down certificates on every host", "", (actions[-1].id,)))
    members = spec.with_role(Role.ETCD) if restarts_etcd(now, stage) else []
    if members and blind:
        actions.append(Action(f"{stage}/etcd", "restart every member of etcd", "", (actions[-1].id,)))
        members = []
    for host in members:
        after = (actions[-1].id,)
        actions.append(Action(f"{stage}/etcd {host.name}", "restart its member of etcd", host.name, after))
    what = "keep what is known so far" if blind else f"see that everything has come to stage {stage}"
    actions.append(Action(f"{stage}/gate", what, "", (actions[-1].id,)))
    return actions


def restarts_etcd(now: Stage, stage: Stage) -> bool:
    """etcd reads certificates at every handshake, and whom it trusts once: at its start."""
    # A stage that was begun may have come to any of its hosts; a member that needs no restart gets none.
    return now is stage or trusted(now) != trusted(stage)


def told(found: Progress, cluster: str) -> str:
    """For people: where the rotation is, and what comes next."""
    if found.stage is Stage.START:
        return "One generation of CAs is in force; no rotation goes on."
    if not found.whole:
        return f"The rotation stopped on its way to stage {found.stage}: `provision certs rotate-ca {cluster}` goes on."
    following = {
        Stage.TRUST: "Restart Pods that read their CAs once, then go on",
        Stage.SIGN: "Give the new kubeconfig to whoever has a copy, then go on",
        Stage.DROP: "Within 50 minutes kubelets have renewed the tokens that the old key signed; end it then",
    }[found.stage]
    changed = _CHANGES[found.stage]
    return f"{changed[0].upper()}{changed[1:]}. {following}: `provision certs rotate-ca {cluster}`."
