"""
`--encryption-provider-config`: what of the store is sealed, read at the start and again when the file changes.

Called by   cluster.apiserver.app. The work is cluster.store.encryption's.
"""

import hashlib
from pathlib import Path

from cluster.apiserver.file_changes import FileChanges
from cluster.apiserver.options import Options
from cluster.store import encryption_config
from cluster.store.encryption import Chain, Sealing

_METRIC = "apiserver_encryption_config_controller_last_config_info"


class EncryptionAtRest:
    """The configuration in force. Raises OSError or ValueError for a file that is missing or wrong."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._in_force = ""
        self.sealing: Sealing | None = None
        """None without configuration."""
        if options.encryption_provider_config:
            self.sealing = Sealing(self._read())

    def watch_file(self, files: FileChanges) -> None:
        """With `--encryption-provider-config-automatic-reload`, take up a changed file; a wrong one changes nothing."""
        sealing = self.sealing
        if sealing is None or not self._options.encryption_provider_config_automatic_reload:
            return
        path = self._options.encryption_provider_config
        files.on_change("the encryption provider config", [path], lambda: sealing.use(self._read()))

    def lines(self) -> list[str]:
        """
        For /metrics: which file is in force, by its SHA-256. Who rotates keys waits for that on every server.

        Source: k8s.io/apiserver, pkg/server/options/encryptionconfig/metrics; upstream hashes with a prefix of its own.
        """
        if not self._in_force:
            return []
        options = self._options
        server = hashlib.sha256(f"{options.advertise_address}:{options.secure_port}".encode()).hexdigest()
        labels = f'apiserver_id_hash="sha256:{server}",hash="sha256:{self._in_force}"'
        return [f"# TYPE {_METRIC} gauge", f"{_METRIC}{{{labels}}} 1"]

    def _read(self) -> dict[str, Chain]:
        path = self._options.encryption_provider_config
        content = Path(path).read_bytes()
        chains = encryption_config.load(content, path)
        self._in_force = hashlib.sha256(content).hexdigest()
        return chains
