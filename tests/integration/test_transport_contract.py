"""SSH to a real sshd on loopback, and the fake: both keep the Transport contract. Then what SSH alone must refuse."""

import asyncio
import dataclasses
import pathlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from inventory.model import HostSpec, SshSettings
from provisioner.errors import HostUnreachableError
from provisioner.machines.nspawn import ensure_key
from provisioner.state import LockedError
from provisioner.transports.base import CommandResult, Transport
from provisioner.transports.ssh import AuthenticationFailedError, HostKeyError, SshAccess, connect
from tests.fakes.fake_transport import FakeTransport

SSHD = shutil.which("sshd") or ("/usr/sbin/sshd" if pathlib.Path("/usr/sbin/sshd").exists() else "")

pytestmark = pytest.mark.skipif(not SSHD, reason="sshd is not installed (apt-get install openssh-server)")


@dataclass(frozen=True)
class Sshd:
    folder: pathlib.Path
    port: int
    host_key: str

    def spec(self, key: str = "client") -> HostSpec:
        return HostSpec(
            name="loop", address="127.0.0.1", ssh=SshSettings(user="root", port=self.port, key=str(self.folder / key))
        )

    def access(self, known: str, *, accept: bool = False) -> SshAccess:
        path = self.folder / "known_hosts"
        path.unlink(missing_ok=True)
        if known:
            path.write_text(f"[127.0.0.1]:{self.port} {known}\n")
        return SshAccess(known_hosts=path, accept_new_host_keys=accept)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("sshd")
    host_key = ensure_key(folder / "host")
    (folder / "authorized").write_text(ensure_key(folder / "client") + "\n")
    ensure_key(folder / "stranger")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    settings = [
        f"Port={port}", "ListenAddress=127.0.0.1", f"HostKey={folder}/host", f"AuthorizedKeysFile={folder}/authorized",
        "StrictModes=no", "UsePAM=no", f"PidFile={folder}/pid", "PermitRootLogin=yes", "PasswordAuthentication=no",
    ]  # fmt: skip
    argv = [SSHD, "-D", "-e", "-f", "/dev/null", *(word for setting in settings for word in ("-o", setting))]
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stderr=log) as process:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield Sshd(folder, port, host_key)
        process.terminate()


@pytest_asyncio.fixture(params=["ssh", "fake"])
async def transports(request: pytest.FixtureRequest, sshd: Sshd) -> AsyncIterator[tuple[Transport, Transport]]:
    """Two connections to the same host."""
    pair: tuple[Transport, Transport]
    if request.param == "fake":
        locks: set[str] = set()
        pair = (FakeTransport(locks=locks), FakeTransport(locks=locks))
    else:
        access = sshd.access(sshd.host_key)
        pair = (await connect(sshd.spec(), access), await connect(sshd.spec(), access))
    yield pair
    for transport in pair:
        await transport.close()


async def test_a_command_gives_its_output_and_gets_its_input(transports: tuple[Transport, Transport]) -> None:
    result = await transports[0].run(["cat"], stdin=b"several\nlines")

    assert (result.exit_code, result.stdout) == (0, "several\nlines")


async def test_a_failing_command_is_a_result_and_a_missing_program_is_127(
    transports: tuple[Transport, Transport],
) -> None:
    assert (await transports[0].run(["false"])).exit_code == 1
    assert (await transports[0].run(["no-such-program"])).exit_code == 127


async def test_streamed_content_arrives_whole(transports: tuple[Transport, Transport]) -> None:
    pieces = [b"a" * 100_000, b"b" * 100_000]

    result = await transports[0].stream_in(["cat"], iter(pieces))

    assert result.stdout == b"".join(pieces).decode()


async def test_what_a_command_writes_is_handed_over_whole(transports: tuple[Transport, Transport]) -> None:
    pieces: list[bytes] = []
    transport = transports[0]
    if isinstance(transport, FakeTransport):
        transport.answers["seq"] = lambda argv, given: CommandResult(
            0, "".join(f"{n}\n" for n in range(1, 300_001)), ""
        )

    result = await transport.stream_out(["seq", "1", "300000"], pieces.append)

    assert (result.exit_code, result.stdout) == (0, "")
    assert b"".join(pieces) == b"".join(b"%d\n" % n for n in range(1, 300_001))


async def test_a_lock_is_held_against_others_and_free_afterwards(
    transports: tuple[Transport, Transport], tmp_path: pathlib.Path
) -> None:
    path = str(tmp_path / "lock")
    first, second = transports

    async with first.hold_lock(path):
        with pytest.raises(LockedError):
            async with second.hold_lock(path):
                pass

    async with second.hold_lock(path):
        pass


async def test_a_lock_falls_with_the_connection(sshd: Sshd, tmp_path: pathlib.Path) -> None:
    access = sshd.access(sshd.host_key)
    first, second = await connect(sshd.spec(), access), await connect(sshd.spec(), access)
    lock = first.hold_lock(str(tmp_path / "lock"))
    await lock.__aenter__()

    await first.close()

    async with asyncio.timeout(5):
        while True:
            try:
                async with second.hold_lock(str(tmp_path / "lock")):
                    break
            except LockedError:
                await asyncio.sleep(0.02)
    await second.close()


async def test_cancelling_ends_the_remote_command(sshd: Sshd, tmp_path: pathlib.Path) -> None:
    transport = await connect(sshd.spec(), sshd.access(sshd.host_key))
    marker = tmp_path / "alive"
    script = f"while :; do touch {marker}; sleep 0.05; done"

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await transport.run(["sh", "-c", script])

    await transport.run(["true"])
    await asyncio.sleep(0.2)
    marker.unlink(missing_ok=True)
    await asyncio.sleep(0.3)
    assert not marker.exists()
    await transport.close()


async def test_many_commands_at_once_get_their_own_answers(sshd: Sshd) -> None:
    transport = await connect(sshd.spec(), sshd.access(sshd.host_key))

    results = await asyncio.gather(*(transport.run(["cat"], stdin=str(n).encode()) for n in range(20)))

    assert [result.stdout for result in results] == [str(n) for n in range(20)]
    await transport.close()


async def test_a_changed_host_key_is_refused_even_when_new_ones_are_accepted(sshd: Sshd) -> None:
    other = (sshd.folder / "stranger.pub").read_text().strip()

    with pytest.raises(HostKeyError, match="the host's key has changed"):
        await connect(sshd.spec(), sshd.access(other, accept=True))


async def test_a_changed_host_key_is_pinned_when_somebody_vouches_for_it(sshd: Sshd) -> None:
    other = (sshd.folder / "stranger.pub").read_text().strip()
    access = sshd.access(other)
    with pytest.raises(HostKeyError) as refused:
        await connect(sshd.spec(), access)
    new, old = re.findall(r"SHA256:[^ ,]+", refused.value.why)
    verb = f"accept-key {access.known_hosts.parent.name} {sshd.spec().name} --fingerprint {new}"
    assert verb in refused.value.next_step

    with pytest.raises(HostKeyError):
        await connect(sshd.spec(), dataclasses.replace(access, accepted_fingerprint=old))
    await (await connect(sshd.spec(), dataclasses.replace(access, accepted_fingerprint=new))).close()

    assert other.split()[1] not in access.known_hosts.read_text()
    await (await connect(sshd.spec(), access)).close()


async def test_an_unknown_host_key_is_refused_with_its_fingerprint(sshd: Sshd) -> None:
    with pytest.raises(HostKeyError, match="SHA256:"):
        await connect(sshd.spec(), sshd.access(""))


async def test_first_contact_is_pinned_when_asked_for(sshd: Sshd) -> None:
    access = sshd.access("", accept=True)

    await (await connect(sshd.spec(), access)).close()

    assert sshd.host_key.split()[1] in access.known_hosts.read_text()
    await (await connect(sshd.spec(), SshAccess(known_hosts=access.known_hosts))).close()


async def test_a_key_that_is_not_accepted_is_an_authentication_failure(sshd: Sshd) -> None:
    with pytest.raises(AuthenticationFailedError, match="does not let us in"):
        await connect(sshd.spec("stranger"), sshd.access(sshd.host_key))


async def test_nobody_listening_is_unreachable_with_exit_code_4(sshd: Sshd) -> None:
    spec = HostSpec(name="gone", address="127.0.0.1", ssh=SshSettings(port=1, key=str(sshd.folder / "client")))

    with pytest.raises(HostUnreachableError) as caught:
        await connect(spec, sshd.access(sshd.host_key))

    assert caught.value.exit_code == 4
    assert str(caught.value).startswith("gone: no answer: 127.0.0.1:1")
