"""Helm 3 and Helm 4 keep a release of ours: every verb that needs no running Pod."""

import json
import pathlib
from typing import Any

import pytest

from tests.helm_programs import PINS, helm_program
from tests.integration.clients.conftest import Run

CHART = pathlib.Path(__file__).parents[2] / "charts" / "shop"
QUIET = ("--set", "jobs=false")  # without nodes no hook's Job would ever end


@pytest.fixture(params=PINS)
def helm(request: pytest.FixtureRequest) -> pathlib.Path:
    return helm_program(request.param)


def get(person: Run, namespace: str, *what: str) -> Any:
    return json.loads(person("kubectl", "get", *what, "-n", namespace, "-o", "json").stdout)


def test_a_release_is_installed_upgraded_rolled_back_and_removed(
    person: Run, namespace: str, helm: pathlib.Path
) -> None:
    here = ("-n", namespace)
    installed = json.loads(person(helm, "install", "shop", CHART, *QUIET, *here, "-o", "json").stdout)
    assert installed["info"]["status"] == "deployed"
    settings = get(person, namespace, "configmap", "shop-settings")["data"]
    assert (settings["color"], settings["hasDeployments"]) == ("blue", "true")
    assert settings["version"].startswith("v1.36.")
    assert get(person, namespace, "basket", "shop")["spec"] == {"size": 2, "items": ["apple", "pear"]}

    person(helm, "upgrade", "shop", CHART, *QUIET, "--set", "color=green,replicas=3", *here)
    assert get(person, namespace, "configmap", "shop-settings")["data"]["color"] == "green"
    assert get(person, namespace, "deployment", "shop")["spec"]["replicas"] == 3

    person(helm, "rollback", "shop", "1", *here)
    assert get(person, namespace, "deployment", "shop")["spec"]["replicas"] == 2
    assert get(person, namespace, "basket", "shop")["spec"]["size"] == 2

    history = json.loads(person(helm, "history", "shop", *here, "-o", "json").stdout)
    assert [(entry["revision"], entry["status"]) for entry in history] == [
        (1, "superseded"), (2, "superseded"), (3, "deployed"),
    ]  # fmt: skip
    listed = json.loads(person(helm, "list", *here, "-o", "json").stdout)
    assert [(release["name"], release["revision"]) for release in listed] == [("shop", "3")]
    assert "STATUS: deployed" in person(helm, "status", "shop", *here).stdout
    assert "kind: Basket" in person(helm, "get", "manifest", "shop", *here).stdout
    assert json.loads(person(helm, "get", "values", "shop", *here, "-o", "json").stdout) == {"jobs": False}

    person(helm, "uninstall", "shop", *here)
    for kind in ("deployments", "services", "baskets", "secrets"):
        assert get(person, namespace, kind)["items"] == [], kind
    assert json.loads(person(helm, "list", *here, "-o", "json").stdout) == []


def test_a_dry_run_on_the_server_shows_and_stores_nothing(person: Run, namespace: str, helm: pathlib.Path) -> None:
    shown = person(helm, "install", "shop", CHART, *QUIET, "--dry-run=server", "-n", namespace).stdout

    assert "kind: Deployment" in shown
    assert get(person, namespace, "deployments")["items"] == []
    assert get(person, namespace, "secrets")["items"] == []


def test_an_upgrade_that_the_server_refuses_rolls_back(person: Run, namespace: str, helm: pathlib.Path) -> None:
    here = ("-n", namespace)
    person(helm, "install", "shop", CHART, *QUIET, *here)

    refused = person(
        helm, "upgrade", "shop", CHART, *QUIET, "--set", "color=red,replicas=100", "--atomic", "--timeout=2s",
        *here, code=1,
    )  # fmt: skip

    assert "should be less than or equal to 99" in refused.stderr
    assert get(person, namespace, "configmap", "shop-settings")["data"]["color"] == "blue"


def test_what_is_already_there_is_adopted_only_by_its_owner(person: Run, namespace: str, helm: pathlib.Path) -> None:
    here = ("-n", namespace)
    person("kubectl", "create", "configmap", "shop-settings", "--from-literal=a=b", *here)

    refused = person(helm, "install", "shop", CHART, *QUIET, *here, code=1)

    assert "invalid ownership metadata" in refused.stderr
    person(helm, "install", "shop", CHART, *QUIET, "--take-ownership", *here)
    assert get(person, namespace, "configmap", "shop-settings")["data"]["color"] == "blue"


def test_a_rendered_chart_is_applied_by_kubectl(person: Run, namespace: str, helm: pathlib.Path) -> None:
    rendered = person(helm, "template", "shop", CHART, *QUIET, "--include-crds", "-n", namespace).stdout
    crds, rest = (person("kubectl", "apply", "-n", namespace, "-f", "-", stdin=rendered, code=None) for _ in range(2))
    assert rest.returncode == 0, crds.stderr + rest.stderr

    assert "deployment.apps/shop unchanged" in rest.stdout
    person("kubectl", "wait", "--for=condition=Established", "crd/baskets.shop.hanse.test", "--timeout=10s")
    assert get(person, namespace, "basket", "shop")["spec"]["size"] == 2
    person("kubectl", "apply", "--server-side", "--force-conflicts", "-n", namespace, "-f", "-", stdin=rendered)
    assert person("kubectl", "diff", "-n", namespace, "-f", "-", stdin=rendered).stdout == ""
