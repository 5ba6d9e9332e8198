"""Names of images, and where they come from."""

import pytest

from cluster.kubelet.images import name_fault, pull_policy, registry_of


@pytest.mark.parametrize(
    "name",
    ["busybox", "busybox:1.2_x-y", "a/b/c", "localhost:5000/x", "Registry.example.com:443/a--b/c__d:V1",
     "x@sha256:" + "0" * 64, "r.io/x:t@sha256:" + "a" * 64, "[::1]:5000/x"],
)  # fmt: skip
def test_good_names_are_taken(name: str) -> None:
    assert name_fault(name) == ""


@pytest.mark.parametrize("name", ["", "a b", "-a", "a:", "a//b", "a@sha256:1", "x:" + "t" * 129, "http://a/b"])
def test_bad_names_are_refused(name: str) -> None:
    assert name_fault(name) == "invalid reference format"


@pytest.mark.parametrize(
    ("name", "shown"), [("Web:1", "library/Web"), ("me/Web", "me/Web"), ("r.io/me/Web:1", "me/Web")]
)
def test_capitals_are_named(name: str, shown: str) -> None:
    assert name_fault(name) == f"invalid reference format: repository name ({shown}) must be lowercase"


def test_policy_follows_the_tag_where_none_is_given() -> None:
    assert pull_policy({"image": "a"}) == pull_policy({"image": "a:latest"}) == "Always"
    assert pull_policy({"image": "r:5000/a"}) == "Always"
    assert pull_policy({"image": "a:1"}) == pull_policy({"image": "a@sha256:x"}) == "IfNotPresent"
    assert registry_of("a/b") == "docker.io"
