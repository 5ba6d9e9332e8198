"""
etcd's semantics on one SQLite connection: revisions, history, transactions, leases, compaction.

Every change is a row of `history`, whose id is its revision and its place in the transaction; the newest row of a
key is what the key is. Used by the writer's thread alone, inside a transaction of SQLite that the writer begins and
ends; a StoreError is raised before anything is changed.
"""

import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.store.backend import StoreError
from cluster.store.embedded import conditions
from cluster.store.generated import etcd_pb2 as pb

_SHIFT = 20
_MAX_CHANGES = 1 << _SHIFT
_ROW = "h.key, h.create_revision, h.id, h.version, h.lease, h.value"
_KEYS_ROW = "h.key, h.create_revision, h.id, h.version, h.lease, x''"
_NEWEST = """
SELECT {row} FROM (
    SELECT max(id) AS newest FROM history INDEXED BY history_by_key
    WHERE {bounds} AND id < :before GROUP BY key HAVING create_revision > 0 ORDER BY key LIMIT :limit
) CROSS JOIN history AS h ON h.id = newest
"""
_COUNT = """
SELECT count(*) FROM (
    SELECT max(id), create_revision AS live FROM history INDEXED BY history_by_key
    WHERE {bounds} AND id < :before GROUP BY key
) WHERE live > 0
"""
_EVENTS = "SELECT {row} FROM history AS h WHERE id >= :first AND id < :before AND {bounds} ORDER BY id"
_CURRENT = "SELECT {row} FROM history AS h WHERE key = ? ORDER BY id DESC LIMIT 1".replace("{row}", _ROW)
_PURGE = """
DELETE FROM history WHERE id IN (
    SELECT id FROM history AS h WHERE id >= :first AND id < :last AND (
        (create_revision = 0 AND id < :compacted)
        OR EXISTS (SELECT 1 FROM history AS n WHERE n.key = h.key AND n.id > h.id AND n.id < :before)
    )
)
"""
_PURGE_ROWS = 4000


def _bounded(query: str, row: str = _ROW) -> tuple[str, str]:
    """With an upper bound, and without."""
    query = query.replace("{row}", row)
    return query.replace("{bounds}", "key >= :key AND key < :end"), query.replace("{bounds}", "key >= :key")


_ROWS, _KEYS, _COUNTS, _CHANGES = _bounded(_NEWEST), _bounded(_NEWEST, _KEYS_ROW), _bounded(_COUNT), _bounded(_EVENTS)


@dataclass(slots=True)
class Purge:
    """A compaction that is under way: rows before `before` are looked at, from `first` on."""

    first: int
    before: int


class Database:
    def __init__(self, connection: sqlite3.Connection, quota: int) -> None:
        self._connection = connection
        self._quota = quota
        meta = dict(connection.execute("SELECT name, number FROM meta").fetchall())
        self.cluster_id = int(meta["cluster_id"])
        self.compacted = int(meta["compacted"])
        newest = connection.execute("SELECT max(id) FROM history").fetchone()[0]
        self.revision = 1 if newest is None else int(newest) >> _SHIFT
        self.leases: dict[int, int] = dict(connection.execute("SELECT id, seconds FROM lease").fetchall())
        """Seconds by id."""
        self.events: list[Any] = []
        """What the present transaction of SQLite has changed."""
        self.takes_puts = True
        self._place = 0
        self._before = (self.revision, self.compacted, dict(self.leases))

    # The transaction of SQLite, which may hold many of ours.

    def begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self.events = []
        self._before = (self.revision, self.compacted, dict(self.leases))

    def commit(self) -> None:
        self._connection.execute("COMMIT")

    def roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self.events = []
        self._place = 0
        self.revision, self.compacted, self.leases = self._before

    def close(self) -> None:
        self._connection.close()

    # What is asked for.

    def range(self, request: Any) -> Any:
        """A RangeResponse."""
        self._check_readable(request.revision)
        return self._range(request, request.revision or self.revision)

    def _check_readable(self, revision: int) -> None:
        if revision > self.revision:
            raise StoreError(conditions.FUTURE)
        if 0 < revision < self.compacted:
            raise StoreError(conditions.COMPACTED, compacted=True)

    def _range(self, request: Any, revision: int) -> Any:
        at, values = _values(request)
        values["before"] = (revision + 1) << _SHIFT
        answer = pb.RangeResponse(header=self.header())
        if not request.count_only:
            values["limit"] = request.limit or -1
            query = (_KEYS if request.keys_only else _ROWS)[at]
            rows = self._connection.execute(query, values).fetchall()
            rows.sort(key=lambda row: bytes(row[0]))
            answer.kvs.extend([_key_value(row) for row in rows])
            answer.count = len(rows)
            if not request.limit or len(rows) < request.limit:
                return answer
        answer.count = self._connection.execute(_COUNTS[at], values).fetchone()[0]
        answer.more = not request.count_only and answer.count > len(answer.kvs)
        return answer

    def txn(self, request: Any) -> Any:
        """A TxnResponse. Either all of the taken branch is done, or StoreError is raised and none of it."""
        succeeded = all(conditions.holds(compare, self._current(compare.key)) for compare in request.compare)
        operations = request.success if succeeded else request.failure
        for read in conditions.check(operations, self.leases, takes_puts=self.takes_puts):
            self._check_readable(read)
        self._place = 0
        answer = pb.TxnResponse(succeeded=succeeded)
        for operation in operations:
            response = answer.responses.add()
            if operation.HasField("request_put"):
                self._put(operation.request_put)
                response.response_put.SetInParent()
            elif operation.HasField("request_delete_range"):
                response.response_delete_range.deleted = self._delete(operation.request_delete_range)
            else:
                wanted = operation.request_range
                response.response_range.CopyFrom(self._range(wanted, wanted.revision or self._writing))
        self._end_write()
        answer.header.CopyFrom(self.header())
        return answer

    def delete(self, request: Any) -> Any:
        """A DeleteRangeResponse."""
        self._place = 0
        deleted = self._delete(request)
        self._end_write()
        return pb.DeleteRangeResponse(header=self.header(), deleted=deleted)

    def header(self) -> Any:
        return pb.ResponseHeader(cluster_id=self.cluster_id, member_id=1, revision=self.revision)

    def status(self) -> Any:
        return pb.StatusResponse(
            header=self.header(),
            version=f"embedded, SQLite {sqlite3.sqlite_version}",
            db_size=self._number("PRAGMA page_count") * self._number("PRAGMA page_size"),
            db_size_in_use=self.used(),
            leader=1,
        )

    def changes(self, request: Any, revisions: int) -> tuple[list[Any], int]:
        """
        Events of a range from request.revision on.

        Returns:
            The events of at most so many `revisions`, and the last of these.
        """
        first = request.revision
        if first < self.compacted:
            raise StoreError(conditions.COMPACTED, compacted=True)
        last = min(first + revisions - 1, self.revision)
        at, values = _values(request)
        values |= {"first": first << _SHIFT, "before": (last + 1) << _SHIFT}
        return [_event(row) for row in self._connection.execute(_CHANGES[at], values)], last

    def used(self) -> int:
        """Bytes of the file that hold something."""
        free = self._number("PRAGMA freelist_count")
        return (self._number("PRAGMA page_count") - free) * self._number("PRAGMA page_size")

    @property
    def over_quota(self) -> bool:
        return self.used() >= self._quota

    def shrink(self) -> None:
        """Give free pages back to the disk; outside of a transaction. Raises sqlite3.Error."""
        for statement in ("wal_checkpoint(TRUNCATE)", "incremental_vacuum", "wal_checkpoint(TRUNCATE)"):
            self._connection.execute(f"PRAGMA {statement}").fetchall()

    # Leases.

    def grant(self, seconds: int) -> int:
        if not self.takes_puts:
            raise StoreError(conditions.NO_SPACE, full=True)
        lease = secrets.randbits(62) + 1
        self._connection.execute("INSERT INTO lease VALUES (?, ?)", (lease, seconds))
        self.leases[lease] = seconds
        return lease

    def end_lease(self, lease: int) -> None:
        """All keys that hang on it go, under one revision."""
        candidates = self._connection.execute("SELECT DISTINCT key FROM history WHERE lease = ?", (lease,)).fetchall()
        self._place = 0
        for (key,) in sorted(candidates):
            current = self._current(key)
            if current is not None and current.lease == lease:
                self._write(key, b"", create_revision=0, version=0, lease=0)
        self._end_write()
        self._connection.execute("DELETE FROM lease WHERE id = ?", (lease,))
        self.leases.pop(lease, None)

    # Compaction.

    def compact(self, revision: int) -> Purge:
        """Reads before `revision` are refused from now on; the rows go with `purge`, called until it is done."""
        if revision > self.revision:
            raise StoreError(conditions.FUTURE)
        if revision <= self.compacted:
            raise StoreError(conditions.COMPACTED, compacted=True)
        self._connection.execute("UPDATE meta SET number = ? WHERE name = 'compacted'", (revision,))
        self.compacted = revision
        return Purge(0, (revision + 1) << _SHIFT)

    def purge(self, purge: Purge) -> bool:
        """Look at some thousand rows; True when those were the last."""
        values = {"first": purge.first, "before": purge.before, "rows": _PURGE_ROWS}
        found = self._connection.execute(
            "SELECT id FROM history WHERE id >= :first AND id < :before ORDER BY id LIMIT 1 OFFSET :rows", values
        ).fetchone()
        last = purge.before if found is None else int(found[0])
        compacted = (purge.before >> _SHIFT) - 1
        self._connection.execute(_PURGE, values | {"last": last, "compacted": compacted << _SHIFT})
        purge.first = last
        return found is None

    # Parts of transactions.

    @property
    def half_done(self) -> bool:
        """Whether a transaction of ours has written and not ended."""
        return self._place > 0

    @property
    def _writing(self) -> int:
        """The revision that the present transaction of ours sees: the next one, once it has written."""
        return self.revision + 1 if self._place else self.revision

    def _end_write(self) -> None:
        if self._place:
            self.revision += 1
            self._place = 0

    def _current(self, key: bytes) -> Any | None:
        """The KeyValue, or None when the key does not exist."""
        row = self._connection.execute(_CURRENT, (key,)).fetchone()
        return None if row is None or row[1] == 0 else _key_value(row)

    def _put(self, request: Any) -> None:
        current = self._current(request.key)
        self._write(
            request.key,
            request.value,
            create_revision=self.revision + 1 if current is None else current.create_revision,
            version=1 if current is None else current.version + 1,
            lease=request.lease,
        )

    def _delete(self, request: Any) -> int:
        found = self._range(
            pb.RangeRequest(key=request.key, range_end=request.range_end, keys_only=True), self._writing
        )
        if self._place + len(found.kvs) > _MAX_CHANGES:
            raise StoreError(f"one transaction changes at most {_MAX_CHANGES} keys, this one {len(found.kvs)}")
        for kv in found.kvs:
            self._write(kv.key, b"", create_revision=0, version=0, lease=0)
        return len(found.kvs)

    def _write(self, key: bytes, value: bytes, *, create_revision: int, version: int, lease: int) -> None:
        row = (key, create_revision, (self.revision + 1) << _SHIFT | self._place, version, lease, value)
        self._connection.execute(
            "INSERT INTO history (key, create_revision, id, version, lease, value) VALUES (?, ?, ?, ?, ?, ?)", row
        )
        self._place += 1
        self.events.append(_event(row))

    def _number(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])


def _values(request: Any) -> tuple[int, dict[str, Any]]:
    """Which of two queries, and its bounds."""
    end = request.range_end or request.key + b"\0"
    return (1, {"key": request.key}) if end == b"\0" else (0, {"key": request.key, "end": end})


def _key_value(row: Sequence[Any]) -> Any:
    key, create_revision, at, version, lease, value = row
    return pb.KeyValue(
        key=key, value=value, create_revision=create_revision, mod_revision=at >> _SHIFT, version=version, lease=lease
    )


def _event(row: Sequence[Any]) -> Any:
    return pb.Event(type=pb.Event.PUT if row[1] else pb.Event.DELETE, kv=_key_value(row))
