"""
Another release on a cluster that is written to all the while; and a broken one, from which it comes back by itself.

The other releases are the one at hand with a file changed: what matters here is how hosts get from one to another.
"""

import asyncio
import hashlib
import io
import json
import pathlib
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator

import pytest

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import AlreadyExists, ApiError
from tests.machines.conftest import NAME, Operator, carry_out, long_run, run

WRITE_EVERY = 0.05  # seconds


def other_release(cluster: Operator, folder: pathlib.Path, name: str, changes: dict[str, str]) -> str:
    """Import a release in which these files are different; returns its digest."""
    digest, file = release_file(cluster, folder, name, changes)
    done = cluster.provision("bundle", "import", str(file))
    assert done.code == 0, done.err
    file.unlink()
    return digest


def release_file(
    cluster: Operator, folder: pathlib.Path, name: str, changes: dict[str, str]
) -> tuple[str, pathlib.Path]:
    """A release in which these files are different: its digest, and the file that is carried about."""
    [archive] = (cluster.home / "cache" / "bundles").glob("*.tar.zst")
    tree = folder / "tree"
    if not tree.exists():
        tree.mkdir()
        subprocess.run(["tar", "--zstd", "-xf", str(archive), "-C", str(tree)], check=True)
    before = {path: (tree / path).read_text() if (tree / path).exists() else None for path in changes}
    for path, content in changes.items():
        (tree / path).unlink(missing_ok=True)
        (tree / path).write_text(content)
        for compiled in (tree / path).parent.glob(f"__pycache__/{(tree / path).stem}.*"):
            compiled.unlink()
    digest = hashlib.sha256(f"{archive.name}{name}".encode()).hexdigest()[:16]
    packed = folder / "release.tar.zst"
    subprocess.run(["tar", "-C", str(tree), "-I", "zstd -1 -T0", "-cf", str(packed), "."], check=True)
    for path, earlier in before.items():
        if earlier is None:
            (tree / path).unlink()
        else:
            (tree / path).write_text(earlier)
    note = json.dumps({"digest": digest, "sha256": hashlib.sha256(packed.read_bytes()).hexdigest()}).encode()
    file = folder / f"{name}.bundle"
    with tarfile.open(file, "w") as tar:
        entry = tarfile.TarInfo("bundle.json")
        entry.size = len(note)
        tar.addfile(entry, io.BytesIO(note))
        tar.add(packed, "release.tar.zst")
    return digest, file


class Writer:
    """Creates ConfigMaps all the while, as a client with retries does; knows which were acknowledged."""

    def __init__(self, kubeconfig: pathlib.Path) -> None:
        self._kubeconfig = kubeconfig
        self._stop = threading.Event()
        self.acknowledged: list[str] = []
        self.failed: list[str] = []
        self.longest_gap = 0.0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._write()))

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _write(self) -> None:
        async with ApiClient.from_kubeconfig(str(self._kubeconfig), user_agent="writer") as client:
            last, number = asyncio.get_running_loop().time(), 0
            while not self._stop.is_set():
                name = f"written-{number}"
                if await self._create(client, name):
                    now = asyncio.get_running_loop().time()
                    self.longest_gap, last = max(self.longest_gap, now - last), now
                number += 1
                await asyncio.sleep(WRITE_EVERY)

    async def _create(self, client: ApiClient, name: str) -> bool:
        said = ""
        for _ in range(40):
            try:
                await client.create(
                    resources.CONFIG_MAPS,
                    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}},
                )
            except AlreadyExists:  # an attempt before was carried out, and its answer lost
                break
            except (ApiError, OSError) as error:
                said = str(error)
                await asyncio.sleep(0.25)
            else:
                break
        else:
            self.failed.append(f"{name}: {said}")
            return False
        self.acknowledged.append(name)
        return True


def releases(cluster: Operator) -> set[str]:
    done = cluster.provision("status", NAME, "--json")
    return {host["release"] for host in json.loads(done.out.splitlines()[-1])["hosts"]}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("releases")


def test_a_release_that_does_not_serve_is_taken_back(cluster: Operator, work: pathlib.Path) -> None:
    [now] = releases(cluster)
    broken = other_release(
        cluster,
        work,
        "broken",
        {"site-packages/cluster/kubelet/__main__.py": "raise SystemExit('broken on purpose')\n"},
    )

    with Writer(cluster.kubeconfig) as writer:
        done = cluster.provision("upgrade", NAME, "--to", broken, timeout=900)

    assert done.code == 1
    assert "every host runs the old one again" in done.err
    assert writer.failed == []
    assert releases(cluster) == {now}
    cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
    assert cluster.provision("verify", NAME).code == 0


def test_every_host_gets_the_other_release_and_no_write_is_lost(cluster: Operator, work: pathlib.Path) -> None:
    digest = other_release(cluster, work, "other", {"site-packages/cluster/other.txt": "another release\n"})
    pods = {pod["metadata"]["uid"] for pod in cluster.get("pods", "-A")["items"]}

    with Writer(cluster.kubeconfig) as writer:
        done = carry_out(cluster, "upgrade", RELEASE=digest)

    assert done.code == 0, done.err + done.out
    print(f"{len(writer.acknowledged)} writes, the longest gap {writer.longest_gap:.1f} s")
    assert writer.failed == []
    assert releases(cluster) == {digest}
    found = {one["metadata"]["name"] for one in cluster.get("configmaps")["items"]}
    assert set(writer.acknowledged) <= found
    assert {pod["metadata"]["uid"] for pod in cluster.get("pods", "-A")["items"]} >= pods
    again = cluster.provision("upgrade", NAME, "--to", digest)
    assert (again.code, again.out) == (0, f"Nothing to do: Cluster {NAME} runs release {digest}.\n"), again.err


def test_the_cluster_stays_on_its_release_until_it_is_upgraded(cluster: Operator) -> None:
    [now] = releases(cluster)

    done = cluster.provision("cluster", NAME)

    assert done.code == 0, done.err
    assert "Nothing to do" in done.out
    assert f"stays on its release {now}; `provision upgrade {NAME}`" in done.err


@pytest.mark.parametrize(("version", "said"), [("1.35.4", "cannot go back to"), ("1.38.0", "at once")])
def test_a_release_of_another_age_is_refused(cluster: Operator, work: pathlib.Path, version: str, said: str) -> None:
    strange = other_release(cluster, work, version, {"release.json": json.dumps({"kubernetes": version})})

    done = cluster.provision("upgrade", NAME, "--to", strange)

    assert done.code == 2
    assert said in done.err


@pytest.fixture
def way_out(cluster: Operator) -> Iterator[Callable[[], int]]:
    """Hosts reach each other and this machine alone; tells how many packets wanted more than that."""
    record = json.loads((cluster.home / "clusters" / NAME / "cluster.json").read_text())
    subnet = record["subnet"]
    rules = f"""
table inet air-gap {{
    chain out {{
        type filter hook forward priority -200
        ip saddr {subnet} ip daddr != {subnet} counter drop
    }}
}}
"""
    assert run(["nft", "-f", "-"], stdin=rules).code == 0

    def counted() -> int:
        listed = json.loads(run(["nft", "--json", "list", "table", "inet", "air-gap"]).out)
        [rule] = [one["rule"] for one in listed["nftables"] if "rule" in one]
        return sum(part["counter"]["packets"] for part in rule["expr"] if "counter" in part)

    yield counted
    run(["nft", "delete", "table", "inet", "air-gap"])


@pytest.fixture
def no_cache(cluster: Operator) -> Iterator[pathlib.Path]:
    """The operator's home as it is on a machine that never built anything."""
    cache, away = cluster.home / "cache", cluster.home / "cache-away"
    cache.rename(away)
    cache.mkdir()
    yield cache
    shutil.rmtree(cache)
    away.rename(cache)


@long_run
def test_no_packet_leaves_while_a_release_comes_from_a_file(
    cluster: Operator, work: pathlib.Path, way_out: Callable[[], int], request: pytest.FixtureRequest
) -> None:
    digest, file = release_file(cluster, work, "gap", {"site-packages/cluster/gap.txt": "carried here\n"})
    cache = request.getfixturevalue("no_cache")

    done = carry_out(cluster, "air_gapped_upgrade", FILE=str(file))

    assert done.code == 0, done.err + done.out
    assert releases(cluster) == {digest}
    assert way_out() == 0
    assert sorted(path.name for path in cache.iterdir()) == ["imported"], "nothing was built or fetched"


@long_run
def test_the_earlier_release_is_gone_back_to(cluster: Operator) -> None:
    [later] = releases(cluster)

    done = carry_out(cluster, "roll_back")

    assert done.code == 0, done.err + done.out
    assert releases(cluster) != {later}
