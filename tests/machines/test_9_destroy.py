"""What `provision` made it takes away, and nothing else."""

from tests.machines.conftest import NAME, Operator, leftovers


def test_destroy_leaves_nothing_behind(cluster: Operator, before: dict[str, list[str]]) -> None:
    done = cluster.provision("destroy", NAME)

    assert done.code == 0, done.err
    after = leftovers()
    for kind, was in before.items():
        assert [entry for entry in after[kind] if entry not in was] == [], f"{kind} are left"
    assert not (cluster.home / "clusters" / NAME).exists()


def test_destroying_again_says_that_there_is_nothing(cluster: Operator) -> None:
    done = cluster.provision("destroy", NAME)

    assert done.code == 2
    assert f"there is no cluster {NAME}" in done.err
