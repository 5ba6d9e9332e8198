"""
Opens the SQLite file: made when it is not there, locked for this process, refused when it is not ours.
"""

import contextlib
import os
import secrets
import sqlite3
from pathlib import Path

from cluster.store.embedded.address import Address

APPLICATION_ID = 0x48414E53
"""In the file's header: says whose format this is."""
FORMAT = 1

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE history (
    id INTEGER PRIMARY KEY,            -- the revision, shifted left, and the place in its transaction
    key BLOB NOT NULL,
    create_revision INTEGER NOT NULL,  -- 0: this is the key's end
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    value BLOB NOT NULL
);
CREATE INDEX history_by_key ON history (key, id, create_revision);
CREATE INDEX history_by_lease ON history (lease) WHERE lease != 0;
CREATE TABLE lease (id INTEGER PRIMARY KEY, seconds INTEGER NOT NULL);
"""


class StoreFileError(ValueError):
    """The file cannot be used. The message names it, the fault and the remedy."""


def open_file(address: Address) -> sqlite3.Connection:
    """
    The store's one connection; it may be used by another thread than this. Raises StoreFileError.

    Locked until closed: a second process, or a second store in this one, is refused.
    """
    if address.path is None:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        _make(connection)
        return connection
    path = address.path
    new = _create(path)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, path, address.synchronous)
    except BaseException as fault:
        connection.close()
        if new:
            with contextlib.suppress(OSError):
                path.unlink()
        if isinstance(fault, sqlite3.Error):
            raise StoreFileError(_explanation(fault, path)) from fault
        raise
    return connection


def _create(path: Path) -> bool:
    """Values are as secret as Secrets: whoever is not the owner may not even read them."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if path.is_file():
            return False
        raise StoreFileError(f"{path} is no file; name one for the store") from None
    except OSError as fault:
        raise StoreFileError(
            f"the store cannot be made at {path}: {fault.strerror}; the folder must exist and be writable"
        ) from fault
    return True


def _prepare(connection: sqlite3.Connection, path: Path, synchronous: str) -> None:
    # The lock also keeps WAL's index in our memory instead of in a third file that a full disk could refuse.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA synchronous = FULL" if synchronous == "full" else "PRAGMA synchronous = NORMAL")
    application = _number(connection, "PRAGMA application_id")
    empty = _number(connection, "SELECT count(*) FROM sqlite_master") == 0
    if not empty and application != APPLICATION_ID:
        raise StoreFileError(f"{path} is an SQLite file of something else; choose another path for the store")
    if empty:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that a full disk can get its room back
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")  # takes the lock, even when there is nothing to write
    connection.execute("COMMIT")
    if empty:
        _make(connection)
        return
    version = _number(connection, "PRAGMA user_version")
    if version != FORMAT:
        raise StoreFileError(
            f"{path} has format {version}, this version of Hanse reads {FORMAT}; use the version that wrote it"
        )
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreFileError(f"{path} is damaged: {found}; restore it from a copy, or move it away to begin anew")


def _make(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.split(";\n"):
        connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('cluster_id', ?)", (secrets.randbits(62) + 1,))
    connection.execute("INSERT INTO meta VALUES ('compacted', 0)")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _explanation(fault: sqlite3.Error, path: Path) -> str:
    code = fault.sqlite_errorcode & 0xFF if hasattr(fault, "sqlite_errorcode") else 0
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"{path} is in use by another process; stop that one, or choose another path"
    if code == sqlite3.SQLITE_NOTADB:
        return f"{path} is no SQLite file; choose another path for the store"
    if code == sqlite3.SQLITE_CORRUPT:
        return f"{path} is damaged: {fault}; restore it from a copy, or move it away to begin anew"
    return f"{path} cannot be opened: {fault}"


class Reserve:
    """
    Room on the disk that is given up when it is full, so that deletes can be written.

    While it stands, everything may be written; without it only what makes room.
    """

    SIZE = 8 * 1024 * 1024

    def __init__(self, store: Path | None) -> None:
        self._path = None if store is None else store.with_name(store.name + "-reserve")
        self.stands = store is None
        self.take()

    def take(self) -> bool:
        """Whether it stands now."""
        if self.stands or self._path is None:
            return True
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(handle, 0, self.SIZE)
            finally:
                os.close(handle)
        except OSError:
            self.give_up()
            return False
        self.stands = True
        return True

    def give_up(self) -> None:
        if self._path is not None:
            self.stands = False
            self._path.unlink(missing_ok=True)
