"""What goes wrong in the store; apart from the rest, for those who have to know it and no store."""


class StoreError(Exception):
    """The store refused or did not answer. `ambiguous` means that a write may have happened all the same."""

    def __init__(self, message: str, *, ambiguous: bool = False, compacted: bool = False, full: bool = False) -> None:
        super().__init__(message)
        self.ambiguous = ambiguous
        self.compacted = compacted
        """The revision that was asked for is forgotten."""
        self.full = full
        """No space is left: the store takes deletes and no more."""

    @property
    def too_large(self) -> bool:
        """The request was larger than the store takes; etcd says it in two ways, by how much it was."""
        return "request is too large" in str(self) or "message larger than max" in str(self)
