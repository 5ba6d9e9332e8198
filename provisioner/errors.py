"""
Errors that `provision` raises on purpose, split by remedy.

The command line prints one without a traceback and ends with its exit code. Each says what failed, why, and what to
do next; a host's name stands in front where there is one.
"""


class ProvisionError(Exception):
    """Base of all. `exit_code` 1: neither the description, a host nor the network is named as the cause."""

    exit_code = 1

    def __init__(self, what: str, *, why: str, next_step: str, host: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.next_step, self.host = what, why, next_step, host

    def __str__(self) -> str:
        where = f"{self.host}: " if self.host else ""
        return f"{where}{self.what}: {self.why.rstrip('.')}. {self.next_step}"


class InventoryError(ProvisionError):
    """The description is wrong. Remedy: edit the inventory; running again changes nothing."""

    exit_code = 2


class HostUnfitError(ProvisionError):
    """The host is reachable but lacks something. Remedy: change the host, then run again."""

    exit_code = 3


class HostUnreachableError(ProvisionError):
    """No answer. Remedy: wait or open the network; the same command resumes where it stopped."""

    exit_code = 4
