"""One control plane with its controllers for every foreign client of this folder; they keep apart by namespaces."""

import os
import pathlib
import subprocess
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.integration.control_plane_processes import ControlPlane, running

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="package")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with running(tmp_path_factory.mktemp("plane"), "controller_manager") as served:
        yield served


@pytest.fixture(scope="package")
def person(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a program as a person with this cluster's kubeconfig does; fails unless it ends with `code`."""
    home = tmp_path_factory.mktemp("home")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": str(plane.kubeconfig)}

    def run(*argv: str | pathlib.Path, stdin: str = "", code: int | None = 0) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [str(part) for part in argv], env=environment, input=stdin, capture_output=True, text=True, timeout=90,
            check=False,
        )  # fmt: skip
        if code is not None and done.returncode != code:
            pytest.fail(f"{argv} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done

    return run


@pytest.fixture
def namespace(person: Run) -> Iterator[str]:
    name = f"guests-{uuid.uuid4().hex[:6]}"
    person("kubectl", "create", "namespace", name)
    yield name
    person("kubectl", "delete", "namespace", name, "--wait=false")
