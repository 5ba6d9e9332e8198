"""Sealed snapshots in a bucket, as moto's server plays it: put, listed, fetched, thrown away; and what goes wrong."""

import datetime as dt
import pathlib
from collections.abc import Iterator

import boto3
import pytest

from provisioner.errors import InventoryError, ProvisionError
from provisioner.snapshots.keep import file_name
from provisioner.snapshots.s3 import S3Folder
from tests.moto_server import moto_server

START = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto_server(tmp_path_factory.mktemp("moto") / "log") as url:
        yield url


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> S3Folder:
    for key, value in (("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "not-to-be-said"),
                       ("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_DEFAULT_REGION", "us-east-1")):  # fmt: skip
        monkeypatch.setenv(key, value)
    boto3.client("s3", endpoint_url=server).create_bucket(Bucket="backups")
    return S3Folder("s3://backups/etcd/", endpoint=server)


def written(folder: pathlib.Path, cluster: str, hours: int) -> pathlib.Path:
    path = folder / file_name(cluster, START + dt.timedelta(hours=hours), 100 + hours)
    path.write_bytes(bytes(range(256)) * 100 * (hours + 1))
    return path


def test_what_is_put_comes_back_and_the_oldest_of_one_cluster_go(bucket: S3Folder, tmp_path: pathlib.Path) -> None:
    mine = [written(tmp_path, "dev", hours) for hours in (2, 0, 1)]
    others = written(tmp_path, "dev-2", 0)
    for path in (*mine, others):
        bucket.put(path)

    assert [one.revision for one in bucket.snapshots("dev")] == [100, 101, 102]
    assert len(bucket.snapshots()) == 4
    fetched = bucket.fetch(mine[0].name, tmp_path / "back")
    assert fetched.read_bytes() == mine[0].read_bytes()
    assert [path.name for path in (tmp_path / "back").iterdir()] == [mine[0].name]

    assert bucket.prune("dev", 1) == [mine[1].name, mine[2].name]
    assert [one.name for one in bucket.snapshots()] == [others.name, mine[0].name]


def test_what_goes_wrong_is_said_without_secrets(bucket: S3Folder, server: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ProvisionError, match=r"cannot get snapshots in s3://backups/etcd/: .*404") as absent:
        bucket.fetch("none.snapshot", tmp_path)
    with pytest.raises(ProvisionError, match=r"cannot list snapshots.*NoSuchBucket") as nowhere:
        S3Folder("s3://nowhere", endpoint=server).snapshots()
    with pytest.raises(InventoryError, match=r"s3://BUCKET/PREFIX"):
        S3Folder("https://backups")
    assert "not-to-be-said" not in f"{absent.value}{nowhere.value}"
    assert not list(tmp_path.iterdir())
