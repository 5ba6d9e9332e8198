"""A user's own kubeconfig follows a rotation where it names the cluster, and nowhere else."""

import pathlib

from provisioner import kubeconfig


def config(name: str, authority: str) -> kubeconfig.Config:
    return {
        "clusters": [{"name": name, "cluster": {"certificate-authority-data": authority}}],
        "users": [{"name": name, "user": {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def test_the_cluster_is_renewed_and_what_is_current_stays(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config"
    kubeconfig.merge_into_file(path, config("hanse-a", "old"))
    kubeconfig.merge_into_file(path, config("other", "theirs"))

    assert kubeconfig.refresh_in_file(path, config("hanse-a", "new"))

    found = kubeconfig.read(path)
    assert {one["name"]: one["cluster"]["certificate-authority-data"] for one in found["clusters"]} == {
        "hanse-a": "new",
        "other": "theirs",
    }
    assert found["current-context"] == "other"


def test_a_file_without_the_cluster_is_left_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config"
    assert not kubeconfig.refresh_in_file(path, config("hanse-a", "new"))
    assert not path.exists()
    kubeconfig.merge_into_file(path, config("other", "theirs"))
    before = path.read_bytes()
    assert not kubeconfig.refresh_in_file(path, config("hanse-a", "new"))
    assert path.read_bytes() == before
