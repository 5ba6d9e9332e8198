"""When the federation stops itself: too many deletions at once. Pure."""

DELETIONS_ALWAYS_ALLOWED = 20
DELETED_SHARE = 0.1


def deletions_need_confirmation(deletions: int, held: int) -> bool:
    """
    Whether a plan deletes so much of one member that a person has to confirm it.

    More than a tenth of the `held` objects, and more than twenty: small members would else stop at every change.
    """
    return deletions > DELETIONS_ALWAYS_ALLOWED and deletions > held * DELETED_SHARE


def why_deletions_wait(cluster: str, deletions: int, held: int) -> str:
    """The message of the condition that says so."""
    return (
        f"{deletions} of the {held} objects in cluster {cluster} would be deleted, more than a tenth; "
        "annotate the Cluster with federation.hanse.io/confirm-deletions to go on"
    )
