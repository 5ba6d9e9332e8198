"""etcd on a host: its health and members, snapshots and what is made of them."""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cluster import settings
from provisioner.errors import ProvisionError
from provisioner.transports.base import CommandResult, Transport

HEALTH_PATIENCE = 60.0  # seconds for a quorum to form; it takes one or two when nothing is wrong
_ASK_AGAIN = 0.2  # seconds


class EtcdMember(NamedTuple):
    name: str
    id: str
    peer_urls: tuple[str, ...]
    is_learner: bool


OWN_MEMBER = f"https://127.0.0.1:{settings.ETCD_CLIENT_PORT}"


async def etcdctl(transport: Transport, *arguments: str, endpoint: str = OWN_MEMBER) -> CommandResult:
    """etcdctl of the current release, against the host's own member."""
    pki = settings.ETCD_PKI_DIR
    return await transport.run(
        [
            str(settings.CURRENT_RELEASE / "bin" / "etcdctl"),
            f"--endpoints={endpoint}",
            f"--cacert={pki}/ca.crt",
            f"--cert={pki}/healthcheck-client.crt",
            f"--key={pki}/healthcheck-client.key",
            "--command-timeout=3s",
            *arguments,
        ]
    )


async def is_healthy(transport: Transport) -> bool:
    """Whether the member answers a linearizable read, which needs the quorum."""
    return (await etcdctl(transport, "endpoint", "health")).exit_code == 0


async def takes_part(transport: Transport) -> bool:
    """As `is_healthy`, but an alarm about space, which leaves reads alone, is no reason to say no."""
    return (await etcdctl(transport, "get", "hanse-asks-whether-there-is-a-quorum")).exit_code == 0


async def wait_healthy(transport: Transport) -> None:
    """Raises ProvisionError after HEALTH_PATIENCE, with etcd's own words."""
    said = ""
    try:
        async with asyncio.timeout(HEALTH_PATIENCE):
            while True:
                result = await etcdctl(transport, "endpoint", "health")
                if result.exit_code == 0:
                    return
                said = (result.stderr or result.stdout).strip()[-300:]
                await asyncio.sleep(_ASK_AGAIN)
    except TimeoutError as error:
        raise ProvisionError(
            f"etcd is not healthy after {HEALTH_PATIENCE:g} s", why=said or "no answer",
            next_step="Read `journalctl -u etcd` on the host; TCP 2380 must be open between members.",
            host=transport.host,
        ) from error  # fmt: skip


async def members(transport: Transport) -> list[EtcdMember]:
    """Empty when etcd does not answer."""
    result = await etcdctl(transport, "member", "list", "-w", "json")
    if result.exit_code != 0:
        return []
    return [
        EtcdMember(m.get("name", ""), f"{m['ID']:x}", tuple(m.get("peerURLs", ())), m.get("isLearner", False))
        for m in json.loads(result.stdout)["members"]
    ]


class EtcdState(NamedTuple):
    """What one member says of itself."""

    version: str
    db_bytes: int
    db_in_use: int
    is_leader: bool
    term: int
    applied: int
    """Raft index that it has applied; the members' differences are how far they lag."""
    revision: int
    alarms: tuple[str, ...] = ()
    is_learner: bool = False
    """It has no vote yet."""
    id: str = ""
    """In hexadecimal."""


async def state(transport: Transport) -> EtcdState | None:
    """None when it does not answer."""
    result = await etcdctl(transport, "endpoint", "status", "-w", "json")
    if result.exit_code != 0:
        return None
    [told] = json.loads(result.stdout)
    status = told["Status"]
    own = status["header"]["member_id"]
    return EtcdState(
        version=status["version"],
        db_bytes=status["dbSize"],
        db_in_use=status.get("dbSizeInUse", 0),
        is_leader=status.get("leader") == own,
        term=status.get("raftTerm", 0),
        applied=status.get("raftAppliedIndex", 0),
        revision=status["header"].get("revision", 0),
        alarms=await alarms(transport, own),
        is_learner=status.get("isLearner", False),
        id=f"{own:x}",
    )


async def alarms(transport: Transport, member_id: int | None = None) -> tuple[str, ...]:
    """Names, as in NOSPACE or CORRUPT, of one member or of all."""
    result = await etcdctl(transport, "alarm", "list")
    raised = re.findall(r"memberID:(\d+) alarm:(\w+)", result.stdout)
    return tuple(sorted({alarm for member, alarm in raised if member_id in (None, int(member))}))


class SnapshotFacts(NamedTuple):
    """What `etcdutl snapshot status` says of a file that is whole."""

    hash: int
    revision: int
    keys: int
    bytes: int
    """Of the file."""


async def save_snapshot(transport: Transport, path: str, *, endpoint: str = OWN_MEMBER) -> SnapshotFacts:
    """Take one from the host's own member and check it. Raises ProvisionError."""
    folder = path.rpartition("/")[0]
    await must(transport, ["install", "-d", "-m", "0700", folder], "make the folder of snapshots")
    result = await etcdctl(transport, "--command-timeout=300s", "snapshot", "save", path, endpoint=endpoint)
    if result.exit_code != 0:
        raise _failed(transport, "take a snapshot", result)
    return await snapshot_facts(transport, path)


async def count_objects(transport: Transport, revision: int = 0, *, endpoint: str = OWN_MEMBER) -> int:
    """How many keys there are, or were at a revision. Raises ProvisionError, also when it is compacted."""
    argv = ["--command-timeout=60s", "get", "", "--prefix", "--count-only", "-w", "fields", f"--rev={revision}"]
    result = await etcdctl(transport, *argv, endpoint=endpoint)
    counted = re.search(r'^"Count" : (\d+)$', result.stdout, re.M)
    if result.exit_code != 0 or counted is None:
        raise _failed(transport, "count objects", result)
    return int(counted[1])


async def receive_snapshot(transport: Transport, path: str, pieces: Iterator[bytes]) -> SnapshotFacts:
    """Write it on the host, readable by root alone, and check it. Raises ProvisionError."""
    script = 'umask 077; mkdir -p "$(dirname "$1")" && cat > "$1.part" && mv "$1.part" "$1"'
    result = await transport.stream_in(["sh", "-c", script, "sh", path], pieces)
    if result.exit_code != 0:
        raise ProvisionError(
            "the snapshot could not be sent", why=result.stderr.strip()[-300:] or f"exit code {result.exit_code}",
            next_step="Check the free space below /var/lib on the host, then run again.", host=transport.host,
        )  # fmt: skip
    return await snapshot_facts(transport, path)


async def snapshot_facts(transport: Transport, path: str) -> SnapshotFacts:
    """Raises ProvisionError for a file that is damaged."""
    result = await transport.run([_etcdutl(), "snapshot", "status", path, "-w", "json"])
    if result.exit_code != 0:
        raise _failed(transport, "read the snapshot", result)
    told = json.loads(result.stdout)
    # Its totalSize is the database's, without the digest that stands at the end of the file.
    size = int(await must(transport, ["stat", "--format=%s", path], "look at the snapshot"))
    return SnapshotFacts(told["hash"], told["revision"], told["totalKey"], size)


async def defragment(transport: Transport) -> None:
    """Give the space of deleted keys back to the disk; the member does not answer meanwhile. Raises ProvisionError."""
    result = await etcdctl(transport, "--command-timeout=120s", "defrag")
    if result.exit_code != 0:
        raise _failed(transport, "defragment", result)


async def compact(transport: Transport, revision: int) -> None:
    """Forget what was before; whoever follows from there lists anew. Raises ProvisionError."""
    result = await etcdctl(transport, "--command-timeout=60s", "compact", "--physical", str(revision))
    if result.exit_code != 0 and "has been compacted" not in result.stderr + result.stdout:
        raise _failed(transport, "compact", result)


async def disarm(transport: Transport) -> None:
    """Take alarms back, so that a member that had no space writes again. Raises ProvisionError."""
    result = await etcdctl(transport, "alarm", "disarm")
    if result.exit_code != 0:
        raise _failed(transport, "disarm alarms", result)


async def must(transport: Transport, argv: Sequence[str], what: str) -> str:
    """What the command says; it has to end well. Raises ProvisionError."""
    result = await transport.run(argv)
    if result.exit_code != 0:
        raise _failed(transport, what, result)
    return result.stdout


def _failed(transport: Transport, what: str, result: CommandResult) -> ProvisionError:
    return ProvisionError(
        f"etcd could not {what}" if not what.startswith("make") else f"could not {what}",
        why=(result.stderr or result.stdout).strip()[-300:] or f"exit code {result.exit_code}",
        next_step="Read `journalctl -u etcd` on the host, correct the cause, then run again.", host=transport.host,
    )  # fmt: skip


def _etcdutl() -> str:
    return str(settings.CURRENT_RELEASE / "bin" / "etcdutl")
