"""
Members as the command line asks for them: errors of the federation's own turned into what to do about them.
"""

from pathlib import Path

from cluster.client.kubeconfig import KubeconfigError, load_kubeconfig
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from federation.errors import FederateError, UnreachableError, WrongInputError
from federation.host.control_plane import client
from federation.host.home import Home
from federation.membership import join as joining, leave as leaving


async def join(home: Home, name: str, kubeconfig: Path, context: str | None) -> Object:
    """The Cluster as it was made. Raises FederateError."""
    home.require()
    try:
        config = load_kubeconfig(kubeconfig, context or "")
    except KubeconfigError as fault:
        raise WrongInputError(
            f"cluster {name} cannot join", why=str(fault), next_step="Give a kubeconfig that kubectl works with."
        ) from fault
    async with client(home) as federation:
        try:
            return await joining.join(federation, name, config)
        except joining.JoinError as fault:
            raise FederateError(
                f"cluster {name} is no member", why=str(fault), next_step="Mend that, and join again; nothing is left."
            ) from fault


async def leave(home: Home, name: str, *, force: bool) -> list[str]:
    """What remains in the cluster, in words. Raises FederateError."""
    home.require()
    async with client(home) as federation:
        try:
            return await leaving.leave(federation, name, force=force)
        except NotFound as fault:
            raise WrongInputError(
                f"cluster {name} cannot leave", why="there is no such member", next_step="`federate status` lists them."
            ) from fault
        except leaving.LeaveError as fault:
            raise UnreachableError(
                f"cluster {name} has not left", why=str(fault), next_step="Nothing was changed in the federation."
            ) from fault
        except ApiError as fault:
            raise UnreachableError(
                f"cluster {name} cannot leave", why=str(fault), next_step="`federate status` tells what runs."
            ) from fault
