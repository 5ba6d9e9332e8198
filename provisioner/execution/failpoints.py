"""
Places where tests end or hold a run: the environment's PROVISION_FAILPOINT, nothing when it is not set.

    NAME=kill        end this process at once, as kill -9 does
    NAME=pause       stop it (SIGSTOP); whoever set it wakes it
    #N=kill          the same at the Nth place that is reached, whatever it is called
    trace=FILE       write down every name that is reached
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "PROVISION_FAILPOINT"
_SIGNALS = {"kill": signal.SIGKILL, "pause": signal.SIGSTOP}


@dataclass(slots=True)
class _Failpoints:
    place: str
    does: str
    reached: int = 0

    def reach(self, name: str) -> None:
        self.reached += 1
        if self.place == "trace":
            with Path(self.does).open("a") as file:
                file.write(name + "\n")
        elif self.place in (name, f"#{self.reached}"):
            os.kill(os.getpid(), _SIGNALS[self.does])


def _from_environment() -> _Failpoints | None:
    place, _, does = os.environ.get(VARIABLE, "").rpartition("=")
    if not place:
        return None
    if place != "trace" and does not in _SIGNALS:
        raise ValueError(f"{VARIABLE}={place}={does}: a failpoint can {' or '.join(_SIGNALS)}")
    return _Failpoints(place, does)


_FAILPOINTS = _from_environment()


def reach(name: str) -> None:
    """Say that this place is reached."""
    if _FAILPOINTS is not None:
        _FAILPOINTS.reach(name)
