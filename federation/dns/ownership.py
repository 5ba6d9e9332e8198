"""
Whose a name in a zone is: a TXT record below it. Pure.

    _fedowner.web.shop.fed.svc.example.com  TXT  "heritage=hanse,owner=<federation uid>,gen=<n>,obj=shop/web"

Below the name, not at it, so that it may stand beside a CNAME. The generation only grows: its upper part is the
leader's epoch, so that whoever led before cannot write any more.
"""

from dataclasses import dataclass

PREFIX = "_fedowner."
EPOCH_SIZE = 1 << 32
"""Changes within one leader's time."""


@dataclass(frozen=True, slots=True)
class Owner:
    federation: str
    """UID."""
    generation: int
    obj: str
    """namespace/name of the Service."""

    def text(self) -> str:
        return f"heritage=hanse,owner={self.federation},gen={self.generation},obj={self.obj}"


def owner_name(name: str) -> str:
    return PREFIX + name


def read_owner(text: str) -> Owner | None:
    """What an owner record says; None when it is somebody else's text."""
    fields = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    number = fields.get("gen", "")
    if fields.get("heritage") != "hanse" or not fields.get("owner") or not (number.isascii() and number.isdigit()):
        return None
    return Owner(fields["owner"], int(number), fields.get("obj", ""))


def next_generation(epoch: int | None, before: int | None) -> int | None:
    """
    The generation for a change by the leader of `epoch` after `before` (None: nobody's name).

    None when `before` is of a later leader: this one has been replaced and must not write. Without an election,
    epoch None, there is one writer alone, who goes on from whatever there is.
    """
    if epoch is None:
        return 0 if before is None else before + 1
    first = epoch * EPOCH_SIZE
    if before is None:
        return first
    if before // EPOCH_SIZE > epoch:
        return None
    return max(first, before + 1)
