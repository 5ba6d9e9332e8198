"""`python -m federation.apiserver --etcd-servers=…`: the federation's API, with the flags of a cluster's."""

import sys
from typing import TYPE_CHECKING

from cluster.apiserver import process

if TYPE_CHECKING:
    from cluster.apiserver.profile import Profile


def _profile() -> "Profile":
    from federation.apiserver.profile import profile  # a wrong flag is told without loading any of it

    return profile()


if __name__ == "__main__":
    sys.exit(process.run(sys.argv[1:], "federation-apiserver", _profile))
