"""
`--encryption-provider-config`: what of the store is sealed, read at the start and again when the file changes.

Called by   cluster.apiserver.app. The work is cluster.store.encryption's.
"""

from pathlib import Path

from cluster.apiserver.file_changes import FileChanges
from cluster.apiserver.options import Options
from cluster.store import encryption_config
from cluster.store.encryption import Chain, Sealing


def build(options: Options) -> Sealing | None:
    """None without configuration. Raises OSError or ValueError for a file that is missing or wrong."""
    if not options.encryption_provider_config:
        return None
    return Sealing(_read(options.encryption_provider_config))


def watch_file(options: Options, sealing: Sealing | None, files: FileChanges) -> None:
    """With `--encryption-provider-config-automatic-reload`, take up a changed file; a wrong one changes nothing."""
    if sealing is None or not options.encryption_provider_config_automatic_reload:
        return
    path = options.encryption_provider_config
    files.on_change("the encryption provider config", [path], lambda: sealing.use(_read(path)))


def _read(path: str) -> dict[str, Chain]:
    return encryption_config.load(Path(path).read_bytes(), path)
