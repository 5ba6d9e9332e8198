"""What a member's refusal means for the object that it is about."""

from cluster.machinery.status_errors import BadRequest, Conflict, Invalid
from federation.controllers.links.failures import failure_of


def test_an_object_that_went_behind_our_back_is_looked_at_again_and_not_given_up() -> None:
    mismatch = "uid mismatch: the provided object specified uid, and no existing object was found"
    assert failure_of(BadRequest(mismatch)).look
    assert failure_of(BadRequest(mismatch)).after is None
    assert failure_of(Conflict("the object has been modified")).look
    assert not failure_of(BadRequest("unknown field")).look
    assert failure_of(Invalid("spec.x: Invalid value")).after == 300.0
