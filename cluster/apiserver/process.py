"""
An apiserver as a process: from its arguments to its exit code.
"""

import gc
import logging
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import uvloop

from cluster.apiserver import options

if TYPE_CHECKING:
    from cluster.apiserver.profile import Profile


def run(
    arguments: Sequence[str], program: str = "kube-apiserver", profile: "Callable[[], Profile] | None" = None
) -> int:
    """
    Until SIGTERM or SIGINT. Returns the exit code.

    Args:
        profile: makes that of something else than a cluster; called once the arguments are known to be good.
    """
    gc.disable()  # what imports leave behind is little, and looking for it would take a tenth of the start
    parsed = options.parse(list(arguments), program)
    logging.basicConfig(
        level=logging.DEBUG if parsed.verbosity >= 4 else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    from cluster.apiserver import app
    from cluster.apiserver.profile import CLUSTER

    made = profile() if profile is not None else CLUSTER
    # Objects live long here and are no cycles; frequent full collections would only cost time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()
    failed = False
    try:
        uvloop.run(app.serve(parsed, made))
    except* (OSError, ValueError) as faults:
        failed = True
        for fault in faults.exceptions:
            sys.stderr.write(f"{program} cannot run: {fault}\n")
    return 1 if failed else 0
