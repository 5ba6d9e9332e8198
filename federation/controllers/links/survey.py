"""Whether the federation's store may be older than what a member carries, by what the member has. Pure."""

from collections.abc import Iterable

from cluster.machinery.objects import Object
from federation.api.refs import Ref
from federation.controllers.links.brakes import CONFIRM
from federation.controllers.links.copies import Copy
from federation.controllers.links.desk import Reads

SHOWN = 3


def suspicion(cluster: str, copies: Iterable[tuple[Ref, Copy]], sources: Reads) -> str:
    """Why nothing is to be deleted in the member; empty when all is known."""
    strange = [ref for ref, copy in copies if copy.owned and _is_strange(ref, copy, sources)]
    if not strange:
        return ""
    shown = ", ".join(str(ref) for ref in strange[:SHOWN]) + (", …" if len(strange) > SHOWN else "")
    return (
        f"cluster {cluster} has {len(strange)} objects from a federation that knew more than this one ({shown}): its "
        f"store may have been restored. Nothing is deleted there until the Cluster is annotated with {CONFIRM}"
    )


def _is_strange(ref: Ref, copy: Copy, sources: Reads) -> bool:
    """Its template has a uid that no Placement names, or had a generation that the template has not reached."""
    if copy.template_uid not in {uid for one in sources.placements_of(ref) for uid in _uids(one)}:
        return True
    template = sources.template(ref)
    if template is None or template["metadata"].get("uid") != copy.template_uid:
        return False
    return copy.template_generation > (template["metadata"].get("generation") or 0)


def _uids(placement: Object) -> Iterable[str]:
    spec = placement["spec"]
    yield spec["template"].get("uid") or ""
    for one in spec.get("tombstones") or ():
        yield one.get("uid") or ""
