"""The example of the pytest plugin in README.md works as it is printed."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
POINTS = "[pytest11]\nhanse = cluster.testing\n"


@pytest.mark.timeout(120)
def test_the_example_passes_in_a_suite_of_its_own(tmp_path: pathlib.Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    info = tmp_path / "site" / "example-1.dist-info"  # as an installation would have it
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1\n")
    (info / "entry_points.txt").write_text(POINTS)
    (tmp_path / "test_example.py").write_text(example)
    (tmp_path / "pytest.ini").write_text("[pytest]\nhanse_nodes = 1\n")
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ.get("PATH", "")])
    python_path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:asyncio", "-p", "no:cacheprovider", "test_example.py"],
        cwd=tmp_path, env={**os.environ, "PATH": path, "PYTHONPATH": python_path},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
