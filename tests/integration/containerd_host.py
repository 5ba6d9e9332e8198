"""
A containerd of the tests' own: private root, state, socket and CNI, ended with the block. Needs root.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.kubelet.mounts import mounts_below
from tests.fakes.oci_images import busybox_image, pause_image

NEEDED = ("containerd", "runc", "ctr", "busybox", "catatonit")
SHELL_IMAGE = "hanse.local/busybox:1"


def missing_programs() -> list[str]:
    """What this machine lacks; with root missing named too."""
    lacking = [program for program in NEEDED if shutil.which(program) is None]
    if not Path("/usr/lib/cni/bridge").exists():
        lacking.append("/usr/lib/cni/bridge")
    return [*lacking, *(["root"] if os.geteuid() else [])]


@dataclass(frozen=True)
class ContainerdHost:
    directory: Path

    @property
    def endpoint(self) -> str:
        return f"unix://{self.directory}/c.sock"


@contextlib.contextmanager
def running_containerd() -> Iterator[ContainerdHost]:
    # On a real file system: overlay on overlay fails, and /tmp may be one.
    directory = Path(tempfile.mkdtemp(prefix="hanse-test-", dir="/var/tmp"))
    bridge = f"ht{os.getpid() % 100000}"
    _configure(directory, bridge)
    with (directory / "containerd.log").open("wb") as log:
        process = subprocess.Popen(["containerd", "--config", str(directory / "config.toml")], stdout=log, stderr=log)
    try:
        for number, image in enumerate((pause_image(), busybox_image(SHELL_IMAGE))):
            archive = directory / f"{number}.tar"
            archive.write_bytes(image)
            _import(directory, archive)
        yield ContainerdHost(directory)
    finally:
        # Shims outlive containerd: pods go while it can still end them.
        command = [sys.executable, "-m", "tests.integration.remove_pods", f"unix://{directory}/c.sock"]
        subprocess.run(command, cwd=Path(__file__).parents[2], check=False, capture_output=True, timeout=30)
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)
        for mount_point in mounts_below(directory):
            subprocess.run(["umount", mount_point], check=False, capture_output=True)
        _remove_cgroups(directory / "kubelet" / "pods")
        shutil.rmtree(directory, ignore_errors=True)


def _remove_cgroups(pods: Path) -> None:
    """Of the pods that a kubelet left here."""
    for pod in pods.iterdir() if pods.exists() else ():
        for group in sorted(Path("/sys/fs/cgroup").glob(f"**/kubepods/**/pod{pod.name}"), reverse=True):
            with contextlib.suppress(OSError):
                group.rmdir()


def _configure(directory: Path, bridge: str) -> None:
    subnet = f"10.{240 + os.getpid() % 10}.{os.getpid() % 250}.0/24"
    (directory / "cni").mkdir()
    (directory / "cni" / "10-test.conflist").write_text(
        json.dumps(
            {
                "cniVersion": "0.4.0",
                "name": "hanse-test",
                "plugins": [
                    {
                        "type": "bridge",
                        "bridge": bridge,
                        "isGateway": True,
                        "ipam": {
                            "type": "host-local",
                            "dataDir": f"{directory}/ipam",
                            "ranges": [[{"subnet": subnet}]],
                        },
                    }
                ],
            }
        )
    )
    (directory / "config.toml").write_text(
        f"""version = 2
root = "{directory}/root"
state = "{directory}/state"
[grpc]
  address = "{directory}/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "hanse.local/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{directory}/cni"
"""
    )


def _import(directory: Path, archive: Path) -> None:
    command = ["ctr", "--address", f"{directory}/c.sock", "--namespace", "k8s.io", "images", "import", str(archive)]
    deadline = time.monotonic() + 20
    while True:
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode == 0:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"cannot import {archive}: {done.stderr.decode()}")
        time.sleep(0.2)
