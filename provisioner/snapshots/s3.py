"""
Sealed snapshots in a bucket of S3, or of what speaks its protocol.

Credentials are found where boto3 looks for them (environment, ~/.aws, the machine's role); nobody passes them through
here. What is uploaded is sealed already: the bucket's owner reads names and sizes.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from provisioner.errors import InventoryError, ProvisionError
from provisioner.snapshots.keep import Snapshot, parsed, surplus

SCHEME = "s3://"


class S3Folder:
    """Where snapshots are in a bucket. Raises InventoryError for what is no `s3://BUCKET/PREFIX`, or without boto3."""

    def __init__(self, url: str, *, endpoint: str = "") -> None:
        bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
        if not url.startswith(SCHEME) or not bucket:
            raise InventoryError(
                f"{url} is no place in S3", why="it has to be s3://BUCKET or s3://BUCKET/PREFIX",
                next_step="Correct it; another server than Amazon's is named with --s3-endpoint.",
            )  # fmt: skip
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._endpoint = endpoint
        self._client = _client(endpoint)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"

    def snapshots(self, cluster: str = "") -> list[Snapshot]:
        """Oldest first, of one cluster or of all; `path` is the name alone. Raises ProvisionError."""
        found = []
        with self._explained("list"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
            for page in pages:
                for entry in page.get("Contents", ()):
                    one = parsed(Path(entry["Key"].removeprefix(self.prefix)))
                    if one is not None and one.cluster == (cluster or one.cluster):
                        found.append(one)
        return sorted(found, key=lambda one: (one.taken, one.revision))

    def put(self, snapshot: Path) -> None:
        """Whole under its name, or not at all; S3 compares the SHA-256. Raises ProvisionError."""
        with self._explained("put"):
            self._client.upload_file(
                str(snapshot), self.bucket, self.prefix + snapshot.name, ExtraArgs={"ChecksumAlgorithm": "SHA256"}
            )
            stored = self._client.head_object(Bucket=self.bucket, Key=self.prefix + snapshot.name)["ContentLength"]
        if stored != snapshot.stat().st_size:
            raise ProvisionError(
                f"{snapshot.name} is not whole in {self}", why=f"{stored} of {snapshot.stat().st_size} bytes are there",
                next_step="Run it again.",
            )  # fmt: skip

    def fetch(self, name: str, folder: Path) -> Path:
        """Into the folder, whole under its name. Raises ProvisionError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch, self._explained("get"):
            partial = Path(scratch) / "partial"
            self._client.download_file(self.bucket, self.prefix + name, str(partial))
            return partial.rename(folder / name)

    def prune(self, cluster: str, keep: int) -> list[str]:
        """Names of the cluster's oldest beyond `keep`, which are gone now. Raises ProvisionError."""
        names = [one.name for one in surplus(self.snapshots(cluster), keep)]
        with self._explained("delete"):
            for name in names:
                self._client.delete_object(Bucket=self.bucket, Key=self.prefix + name)
        return names

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError) as error:
            server = self._endpoint or "Amazon"
            raise ProvisionError(
                f"cannot {what} snapshots in {self}", why=f"{server} says: {error}",
                next_step="Check bucket, credentials (AWS_PROFILE or AWS_ACCESS_KEY_ID in the environment) and "
                "--s3-endpoint, then run again.",
            ) from error  # fmt: skip


def _client(endpoint: str) -> Any:
    try:
        import boto3  # half a second, which only those pay who keep snapshots there
        from botocore.config import Config
    except ImportError as error:
        raise InventoryError(
            "S3 cannot be spoken to", why="the package boto3 is not installed",
            next_step="Install it: `pip install hanse[s3]`.",
        ) from error  # fmt: skip
    patience = Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 3, "mode": "standard"})
    return boto3.client("s3", endpoint_url=endpoint or None, config=patience)
