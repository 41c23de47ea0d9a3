"""The tables of ReArq, with our columns: made, or extended in place where ReArq made them; and one of our own.

`ensure` only says what to ask and what to run; whoever holds a connection drives it (the store at start, a
migration through Django), so that both ways give the same tables. Every step may be repeated.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from django_cfg_tasks.store.steps import Query, Rows

JOBS = "rearq_job"
RESULTS = "rearq_job_results"
TASKS = "rearq_task"
"""Ours: what is known of a task beside its jobs."""


OPEN = "\"status\" IN ('queued', 'deferred', 'in_progress')"
_REFERENCES = f' REFERENCES "{JOBS}" ("id") ON DELETE CASCADE'


@dataclass(frozen=True)
class _Dialect:
    key: str
    reference: str
    json: str
    time: str
    boolean: str
    list_columns: str
    text: str = "TEXT"
    quote: str = '"'
    references: str = _REFERENCES
    """What a column says of the table that its values come from; `further` where MySQL would overlook it."""
    further: Mapping[str, str] = field(default_factory=dict)
    """By table, what follows its columns."""
    options: str = ""
    """What follows a table's brackets."""
    columns: Sequence[tuple[str, str]] = ()
    """What jobs have here, beside `_our_columns`."""
    open_jobs: str = f'("id") WHERE {OPEN}'
    unique_keys: str = '("unique_key") WHERE "unique_key" IS NOT NULL'
    list_indexes: str | None = None
    """What tells of the indexes that there are, where CREATE INDEX knows no IF NOT EXISTS."""
    exact: str | None = None
    """What lets a table's text be compared as it is, where that depends on who made it."""

    def quoted(self, sql: str) -> str:
        """Write names in this dialect's own quotes."""
        return sql.replace('"', self.quote)


_OF_TABLE = "WHERE table_schema = DATABASE() AND table_name = '{table}'"
_EXACT_COLLATION = "utf8mb4_bin"
_EXACT = f"CHARACTER SET utf8mb4 COLLATE {_EXACT_COLLATION}"
_LIST_COLLATION = f"SELECT table_collation AS name FROM information_schema.tables {_OF_TABLE}"
_DIALECTS = {
    "postgresql": _Dialect(
        *("BIGSERIAL NOT NULL PRIMARY KEY", "BIGINT", "JSONB", "TIMESTAMPTZ", "BOOL"),
        # to_regclass follows the search path, as the statements do.
        list_columns=(
            "SELECT attname AS name FROM pg_attribute "
            "WHERE attrelid = to_regclass('\"{table}\"') AND attnum > 0 AND NOT attisdropped"
        ),
    ),
    "sqlite": _Dialect(
        *("INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL", "INT", "JSON", "TIMESTAMP", "INT"),
        list_columns="SELECT name FROM pragma_table_info('{table}')",
    ),
    "mysql": _Dialect(
        *("BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY", "BIGINT", "JSON", "DATETIME(6)", "BOOL"),
        list_columns=f"SELECT column_name AS name FROM information_schema.columns {_OF_TABLE}",
        text="LONGTEXT",
        quote="`",
        references="",
        further={RESULTS: f'FOREIGN KEY ("job_id"){_REFERENCES}'},
        options=f" ENGINE = InnoDB {_EXACT}",
        # It has no index of some rows; but what is NULL is in the way neither of a unique key, nor of a walk.
        columns=[
            ("is_open", f"BOOL GENERATED ALWAYS AS (CASE WHEN {OPEN} THEN 1 END) VIRTUAL"),
            # By which those who insert tell which jobs are theirs: they hear how many were new, not which.
            ("batch", "BIGINT"),
        ],
        open_jobs='("is_open", "id")',
        unique_keys='("unique_key")',
        list_indexes=f"SELECT DISTINCT index_name AS name FROM information_schema.statistics {_OF_TABLE}",
        exact=f'ALTER TABLE "{{table}}" CONVERT TO {_EXACT}',
    ),
}


def _first_columns(types: _Dialect) -> dict[str, list[tuple[str, str]]]:
    """The columns that ReArq's own models know, in their order; of our table, the key."""
    return {
        JOBS: [
            ("id", types.key),
            ("task", "VARCHAR(200) NOT NULL"),
            ("args", types.json),
            ("kwargs", types.json),
            ("job_retry", "INT NOT NULL"),
            ("job_retries", "INT NOT NULL"),
            ("job_retry_after", "INT NOT NULL"),
            ("job_id", "VARCHAR(200) NOT NULL UNIQUE"),
            ("enqueue_time", f"{types.time} NOT NULL"),
            ("expire_time", types.time),
            ("status", "VARCHAR(11) NOT NULL"),
        ],
        RESULTS: [
            ("id", types.key),
            ("worker", "VARCHAR(200) NOT NULL"),
            ("success", f"{types.boolean} NOT NULL"),
            ("msg_id", "VARCHAR(200) NOT NULL UNIQUE"),
            ("result", types.text),
            ("start_time", types.time),
            ("finish_time", types.time),
            ("job_id", f"{types.reference} NOT NULL{types.references}"),
        ],
        TASKS: [("name", "VARCHAR(200) NOT NULL PRIMARY KEY")],
    }


def _our_columns(vendor: str) -> dict[str, list[tuple[str, str]]]:
    """What ReArq's code ignores: all nullable, so that its producers can go on inserting."""
    types = _DIALECTS[vendor]
    return {
        JOBS: [
            ("queue", "VARCHAR(100)"),
            ("due_time", types.time),
            ("start_time", types.time),
            ("owner", "VARCHAR(200)"),
            ("attempt", "INT"),
            ("deliveries", "INT"),
            ("options", types.json),
            ("unique_key", "VARCHAR(100)"),
            ("unique_until", types.time),
            ("progress", "DOUBLE PRECISION"),
            ("progress_message", "VARCHAR(255)"),
            *types.columns,
        ],
        RESULTS: [
            ("attempt", "INT"),
            ("outcome", "VARCHAR(20)"),
            ("error_class", "VARCHAR(255)"),
            ("error_message", types.text),
            ("traceback", types.text),
        ],
        TASKS: [
            ("disabled_since", types.time),
            ("paused_since", types.time),
            ("fired_until", types.time),
            ("fired_job", "VARCHAR(200)"),
        ],
    }


def _indexes(dialect: _Dialect) -> dict[str, tuple[str, str]]:
    """By name: the table of an index, and the statement that makes it."""
    parts = {
        # What the sweeper walks: jobs that are not final, oldest first. Finished ones leave the index, or stand aside.
        "rearq_job_open": (JOBS, "INDEX", dialect.open_jobs),
        # What retention walks, page by page.
        "rearq_job_enqueued": (JOBS, "INDEX", '("enqueue_time", "id")'),
        # The attempts of a job, and the cascade when it is deleted.
        "rearq_job_results_job": (RESULTS, "INDEX", '("job_id", "id")'),
        # What is unique is so by this, whoever races with whom. Only jobs that claim to be are in it.
        "rearq_job_unique": (JOBS, "UNIQUE INDEX", dialect.unique_keys),
    }
    there_or_not = "" if dialect.list_indexes else "IF NOT EXISTS "
    return {
        name: (table, dialect.quoted(f'CREATE {kind} {there_or_not}"{name}" ON "{table}" {columns}'))
        for name, (table, kind, columns) in parts.items()
    }


def create_statements(vendor: str) -> list[str]:
    """Return the statements that make all tables and their indexes from nothing."""
    return _tables(vendor) + [statement for _, statement in _indexes(_DIALECTS[vendor]).values()]


def _tables(vendor: str) -> list[str]:
    dialect, ours = _DIALECTS[vendor], _our_columns(vendor)
    tables = []
    for table, columns in _first_columns(dialect).items():
        lines = [f'"{name}" {kind}' for name, kind in [*columns, *ours[table]]]
        lines += [dialect.further[table]] if table in dialect.further else []
        body = ",\n    ".join(lines)
        tables.append(dialect.quoted(f'CREATE TABLE IF NOT EXISTS "{table}" (\n    {body}\n){dialect.options}'))
    return tables


def drop_statements(vendor: str) -> list[str]:
    """Return the statements that remove the tables with everything in them."""
    return [_DIALECTS[vendor].quoted(f'DROP TABLE IF EXISTS "{table}"') for table in (TASKS, RESULTS, JOBS)]


def ensure(vendor: str) -> Generator[Query, Rows, None]:
    """Yield what to run, one query at a time, and take the rows of those that return some."""
    dialect = _DIALECTS[vendor]
    for statement in _tables(vendor):
        yield Query(statement)
    for table, columns in _our_columns(vendor).items():
        present = yield from _names(dialect.list_columns, table)
        for name, kind in columns:
            if name not in present:
                yield Query(dialect.quoted(f'ALTER TABLE "{table}" ADD COLUMN "{name}" {kind}'))
        if dialect.exact and _EXACT_COLLATION not in (yield from _names(_LIST_COLLATION, table)):
            yield Query(dialect.quoted(dialect.exact.format(table=table)))
    for name, (table, statement) in _indexes(dialect).items():
        if not dialect.list_indexes or name not in (yield from _names(dialect.list_indexes, table)):
            yield Query(statement)


def is_complete(vendor: str) -> Generator[Query, Rows, bool]:
    """Yield what to ask, and return whether the tables have all of our columns."""
    for table, columns in _our_columns(vendor).items():
        if not {name for name, _ in columns} <= (yield from _names(_DIALECTS[vendor].list_columns, table)):
            return False
    return True


def _names(sql: str, table: str) -> Generator[Query, Rows, set[str]]:
    rows = yield Query(sql.format(table=table), returns=True)
    return {row["name"] for row in rows}
