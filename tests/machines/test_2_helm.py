"""Helm 3 and Helm 4 wait for what really runs: hooks, tests, upgrades, and upgrades that fail and are undone."""

import json
import os
import pathlib
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.helm_programs import PINS, helm_program
from tests.machines.conftest import Done, Operator, run

CHART = pathlib.Path(__file__).parents[1] / "charts" / "shop"
Helm = Callable[..., Done]


@pytest.fixture(params=PINS)
def helm(request: pytest.FixtureRequest, cluster: Operator) -> Iterator[Helm]:
    """Runs this Helm in a namespace of its own."""
    program, name = helm_program(request.param), f"shop-{uuid.uuid4().hex[:6]}"
    environment = {"HOME": str(cluster.home), "KUBECONFIG": str(cluster.kubeconfig), "PATH": os.environ["PATH"]}

    def helm(*args: str, code: int = 0) -> Done:
        done = run([str(program), *args, "-n", name], env=environment, timeout=120)
        assert done.code == code, f"helm {' '.join(args)} ended with {done.code}: {done.err}{done.out}"
        return done

    cluster.kubectl("create", "namespace", name)
    yield helm
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def test_a_release_lives_as_its_pods_do(helm: Helm, cluster: Operator) -> None:
    helm("install", "shop", str(CHART), "--wait", "--timeout=60s")
    helm("test", "shop", "--timeout=60s")
    helm("upgrade", "shop", str(CHART), "--set", "color=green", "--wait", "--timeout=60s")

    failed = helm(
        "upgrade", "shop", str(CHART), "--set", "color=red,migration=false", "--atomic", "--timeout=60s", code=1
    )
    assert "post-upgrade hooks failed" in failed.err
    history = json.loads(helm("history", "shop", "-o", "json").out)
    assert [entry["status"] for entry in history] == ["superseded", "superseded", "failed", "deployed"]
    values = json.loads(helm("get", "values", "shop", "-o", "json").out)
    assert values == {"color": "green"}, "the failed upgrade is undone"

    helm("rollback", "shop", "1", "--wait", "--timeout=60s")
    assert '"readyReplicas": 2' in json.dumps(json.loads(cluster.kubectl(
        "get", "deployments", "-A", "-l", "app.kubernetes.io/instance=shop", "-o", "json"
    )))  # fmt: skip
    helm("uninstall", "shop", "--wait", "--timeout=60s")
    left = cluster.kubectl("get", "deployments", "-A", "-l", "app.kubernetes.io/instance=shop", "-o", "name")
    assert left == "", "uninstall waits until all is gone"
