"""What verbs that carry out plans share: the API as its administrator, and who hears of each action."""

from cluster.client.rest import ApiClient
from provisioner.execution.carry_out import Told
from provisioner.execution.ledger import HOST_LEDGER, Entry, line_of
from provisioner.phases.run import Run

_APPEND = 'mkdir -p "$(dirname "$1")" && cat >> "$1"'


def admin_client(run: Run) -> ApiClient:
    return ApiClient.from_kubeconfig(str(run.home.path / "admin.conf"), user_agent="provision")


def told_by(run: Run) -> Told:
    """Each action's end as a line for the operator, and each entry in the ledger of its host, while that is reached."""

    async def tell(entry: Entry) -> None:
        if entry.event == "done":
            run.progress.line(entry.what, entry.host)
        transport = run.transports.get(entry.host)
        if transport is not None:
            await transport.run(["sh", "-c", _APPEND, "sh", HOST_LEDGER], stdin=line_of(entry).encode())

    return tell
