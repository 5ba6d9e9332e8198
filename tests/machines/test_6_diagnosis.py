"""A diagnosis holds what is needed, from whoever answers, and no secret."""

import pathlib
import tarfile

from tests.machines.conftest import NAME, Operator, carry_out

CANARY = "c4n4ry-0f-a-s3cret"


def test_what_is_known_is_collected_without_secrets(cluster: Operator, tmp_path: pathlib.Path) -> None:
    cluster.kubectl("create", "secret", "generic", "canary", f"--from-literal=password={CANARY}")
    target = tmp_path / "diagnosis.tar.gz"

    done = cluster.provision("diagnose", NAME, "--output", str(target))
    cluster.kubectl("delete", "secret", "canary")

    assert done.code == 0, done.err + done.out
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as tar:
        texts = {name: tar.extractfile(name).read().decode() for name in tar.getnames()}  # type: ignore[union-attr]
    for number in range(1, 6):
        assert f"hosts/{NAME}-{number}/kubelet.log" in {name.removeprefix("diagnosis/") for name in texts}
    assert '"kind"' in texts["diagnosis/api/nodes.json"] or f"{NAME}-1" in texts["diagnosis/api/nodes.json"]
    assert texts["diagnosis/missing.txt"].strip() == ""
    everything = "\n".join(texts.values())
    keys = cluster.home / "clusters" / NAME / "pki"
    lines = [line for path in keys.rglob("*.key") for line in path.read_text("ascii", "ignore").splitlines()]
    assert not [line for line in lines if len(line) > 30 and not line.startswith("-----") and line in everything]
    assert CANARY not in everything
    assert "PRIVATE KEY" not in everything


def test_a_dead_host_is_named_and_keeps_nobody_else_from_telling(cluster: Operator, tmp_path: pathlib.Path) -> None:
    assert cluster.provision("machines", "kill", NAME, f"{NAME}-5").code == 0
    target = tmp_path / "diagnosis.tar.gz"

    done = carry_out(cluster, "diagnostics_bundle", FILE=str(target))
    assert cluster.provision("machines", "start", NAME, f"{NAME}-5").code == 0

    assert done.code == 0, done.err
    with tarfile.open(target) as tar:
        assert f"diagnosis/hosts/{NAME}-1/kubelet.log" in tar.getnames()
        missing = tar.extractfile("diagnosis/missing.txt")
        assert missing is not None
        assert missing.read().decode().startswith(f"{NAME}-5: ")
