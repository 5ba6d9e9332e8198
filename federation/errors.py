"""
Errors that `federate` raises on purpose. Each says what failed, why, and what to do next; the command line prints it
without a traceback and ends with its exit code.
"""


class FederateError(Exception):
    """`exit_code` 1: neither what was asked for, this host nor the network is named as the cause."""

    exit_code = 1

    def __init__(self, what: str, *, why: str, next_step: str) -> None:
        super().__init__(what)
        self.what, self.why, self.next_step = what, why, next_step

    def __str__(self) -> str:
        return f"{self.what}: {self.why.rstrip('.')}. {self.next_step}"


class WrongInputError(FederateError):
    """Remedy: ask for something else; nothing was changed."""

    exit_code = 2


class UnfitHostError(FederateError):
    """This host lacks something, or has something in the way."""

    exit_code = 3


class UnreachableError(FederateError):
    """No answer. Remedy: wait, or start it."""

    exit_code = 4
