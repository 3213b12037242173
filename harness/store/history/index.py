"""The index of a results folder: a DuckDB file in the user's cache, made of what lies in the folder.

It may be deleted at any time. Its file is never changed but replaced whole, so whoever reads it has the
earlier one, and one process at a time makes the next. It isn't kept in the results folder: that may be
mounted read-only, be a bucket that knows no locks, or come from somebody else, and then its index would, too.

Only folders that are new or were changed (harness.store.history.scan) are read again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import duckdb
import pyarrow as pa

from harness import cache
from harness.plain_text import quoted
from harness.schema.errors import HarnessError, InputError
from harness.store import whole
from harness.store.history.run_rows import ChangeRow, FigureRow, PointRow, Rows, RunRow, rows_of
from harness.store.history.scan import Seen, scan
from harness.store.record import possible

FORMAT = 1
"""To be raised whenever other rows are made of the same records."""

MANY = 200
"""Folders whose reading takes so long that it is announced."""


class SeenRow(NamedTuple):
    folder: str
    mark: str
    settled: bool
    why: str | None
    """Why its figures aren't counted; None where they are."""


TABLES: dict[str, type[Any]] = {
    "seen": SeenRow,
    "runs": RunRow,
    "points": PointRow,
    "figures": FigureRow,
    "changes": ChangeRow,
}

_TYPES = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us"),
}


def _columns(row: type[Any]) -> Any:
    """The columns of a table, by the fields of its rows."""
    hints = get_type_hints(row).items()
    return pa.schema([(name, _TYPES[(*get_args(hint), hint)[0]]) for name, hint in hints])


SCHEMAS = {name: _columns(row) for name, row in TABLES.items()}


@contextmanager
def indexed(results: Path, say: Callable[[str], None], *, anew: bool = False) -> Iterator[Any]:
    """A DuckDB connection to the index of a results folder as it is now, to be read from and nothing else:
    its tables are those of `TABLES`.

    `anew`: every folder is read again. `say` is told what takes long, and where the index can't be kept: then
    it is made for this time only. Raises InputError where there is no such folder or it can't be read.
    """
    connection = duckdb.connect(":memory:", config={"python_enable_replacements": "false"})
    try:
        _bring_up_to_date(connection, results, say, anew=anew)
        _lock_down(connection)
        yield connection
    finally:
        connection.close()


def _bring_up_to_date(connection: Any, results: Path, say: Callable[[str], None], *, anew: bool) -> None:
    folders = _scanned(results)
    file = None
    try:
        file = _place(results)
        if not anew and _attached(connection, file) and not _outdated(connection, folders):
            return
        with cache.lock(f"history-{file.stem}"):
            kept = not anew and _attached(connection, file)  # another process may have been faster
            if kept and not _outdated(connection, folders):
                return
            _renew(connection, folders, say, kept=kept)
            _keep(connection, file)
    except HarnessError as why:
        say(f"the index of {results} isn't kept, and is made again the next time: {why}")
        if "runs" not in _tables(connection):
            kept = file is not None and _attached(connection, file)
            _renew(connection, folders, say, kept=kept)


def _scanned(results: Path) -> dict[str, Seen]:
    try:
        return scan(results)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{results} is no folder: name the one with your runs with --results") from error
    except OSError as error:
        raise whole.unreadable(results, error) from error


def _place(results: Path) -> Path:
    """The index's file. One of other columns, or of another DuckDB, has another name."""
    where = hashlib.sha256(os.fsencode(results.resolve())).hexdigest()[:16]
    what = f"{FORMAT} {duckdb.__version__} {SCHEMAS}"
    return cache.cache_dir() / "history" / f"{where}-{hashlib.sha256(what.encode()).hexdigest()[:8]}.duckdb"


def _tables(connection: Any) -> set[str]:
    found = connection.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'memory'")
    return {name for (name,) in found.fetchall()}


def _attached(connection: Any, file: Path) -> bool:
    """Whether there is an index that can be read; it is then the database in use."""
    with suppress(duckdb.Error):
        connection.execute("USE memory; DETACH DATABASE IF EXISTS kept")
    try:
        connection.execute(f"ATTACH {_literal(file)} AS kept (READ_ONLY); USE kept")
        connection.execute("SELECT folder, mark, settled FROM seen LIMIT 1")
    except duckdb.Error:  # there is none, or it was damaged
        return False
    return True


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _outdated(connection: Any, folders: dict[str, Seen]) -> set[str]:
    """Names of the folders that are new, were changed or went."""
    known = connection.execute("SELECT folder, mark, settled FROM seen").fetchall()
    same = {n for n, mark, settled in known if settled and n in folders and folders[n].mark == mark}
    return (folders.keys() | {name for name, *_ in known}) - same


def _renew(connection: Any, folders: dict[str, Seen], say: Callable[[str], None], *, kept: bool) -> None:
    """Make the next index in memory, from the one that is attached and what the folders hold."""
    outdated, before = set(folders), set[str]()
    if kept:
        outdated = _outdated(connection, folders)
        before = {name for (name,) in connection.execute("SELECT folder FROM seen").fetchall()}
        connection.execute("USE memory; COPY FROM DATABASE kept TO memory; DETACH kept")
        gone = pa.table({"folder": pa.array(sorted(outdated), pa.string())})
        connection.register("gone", gone)
        for table in TABLES:
            connection.execute(f"DELETE FROM {table} WHERE folder IN (SELECT folder FROM gone)")
        connection.unregister("gone")
    else:
        connection.execute("USE memory")
    now = sorted(outdated & folders.keys())
    if len(now) > MANY:
        say(f"reading {len(now):,} folders, once: later only those that have changed")
    read = [_read(name, folders[name], thorough=name in before) for name in now]
    made: dict[str, list[Any]] = {name: [] for name in TABLES}
    for seen, rows in read:
        made["seen"].append(seen)
        if rows is not None:
            made["runs"].append(rows.run)
            for table, more in (
                ("points", rows.points),
                ("figures", rows.figures),
                ("changes", rows.changes),
            ):
                made[table] += more
    for table, columns in SCHEMAS.items():
        _insert(connection, table, columns, made[table], create=not kept)


def _insert(connection: Any, table: str, columns: Any, rows: Sequence[Any], *, create: bool) -> None:
    each = zip(*rows, strict=True) if rows else ((),) * len(columns)
    arrays = [pa.array(values, field.type) for values, field in zip(each, columns, strict=True)]
    connection.register("made", pa.Table.from_arrays(arrays, schema=columns))
    verb = f"CREATE TABLE {table} AS" if create else f"INSERT INTO {table} BY NAME"
    connection.execute(f"{verb} SELECT * FROM made")
    connection.unregister("made")


def _read(name: str, seen: Seen, *, thorough: bool) -> tuple[SeenRow, Rows | None]:
    """What the index holds of a folder, or why it counts nothing of it."""
    rows, why = None, None
    try:
        if seen.link:
            raise InputError(
                f"{seen.path} is a link, and none is followed: name the folder it leads to as --results"
            )
        rows = rows_of(Path(seen.path), name, thorough=thorough)
        every = ((rows.run,), rows.points, rows.figures, rows.changes)
        if not possible([list(row) for part in every for row in part]):
            raise InputError(f"{seen.path} has numbers that nothing can have: take it from a copy of the run")
    except InputError as fault:
        rows, why = None, quoted(str(fault))
    except OSError as error:
        rows, why = None, quoted(str(whole.unreadable(Path(seen.path), error)))
    return SeenRow(name, seen.mark, seen.settled, why), rows


def _keep(connection: Any, file: Path) -> None:
    """Make what is in memory the index's file; its lock is held. Raises HarnessError where the cache can't be
    written."""
    made = file.with_suffix(".making")  # a killed process may have left one
    left = (made, made.with_suffix(".making.wal"))
    with cache.written():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            _remove(*left)
            connection.execute(f"ATTACH {_literal(made)} AS next; COPY FROM DATABASE memory TO next")
            connection.execute("CHECKPOINT next; DETACH next")  # all of it is in the file then
            made.replace(file)
        except duckdb.Error as error:
            raise OSError(str(error).splitlines()[0]) from error
        finally:
            with suppress(duckdb.Error):
                connection.execute("DETACH DATABASE IF EXISTS next")
            _remove(*left)
        others = file.parent.glob(f"{file.stem.partition('-')[0]}-*.duckdb")
        _remove(*(other for other in others if other != file))


def _remove(*files: Path) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _lock_down(connection: Any) -> None:
    """From here on nothing outside the index can be read or written, whatever is asked."""
    connection.execute(
        "SET memory_limit = '1GB'; SET temp_directory = ''; SET enable_external_access = false; "
        "SET lock_configuration = true"
    )
