"""The tables of ReArq, with our columns: made, or extended in place where ReArq made them; and one of our own.

`ensure` only says what to ask and what to run; whoever holds a connection drives it (the store at start, a
migration through Django), so that both ways give the same tables. Every step may be repeated.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JOBS = "rearq_job"
RESULTS = "rearq_job_results"
TASKS = "rearq_task"
"""Ours: what is known of a task beside its jobs."""

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Query:
    """One statement; ``returns`` says whether its rows are wanted."""

    sql: str
    returns: bool = False


@dataclass(frozen=True)
class _Types:
    key: str
    reference: str
    json: str
    time: str
    boolean: str


_TYPES = {
    "postgresql": _Types("BIGSERIAL NOT NULL PRIMARY KEY", "BIGINT", "JSONB", "TIMESTAMPTZ", "BOOL"),
    "sqlite": _Types("INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL", "INT", "JSON", "TIMESTAMP", "INT"),
}


def _first_columns(types: _Types) -> dict[str, list[tuple[str, str]]]:
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
            ("result", "TEXT"),
            ("start_time", types.time),
            ("finish_time", types.time),
            ("job_id", f'{types.reference} NOT NULL REFERENCES "{JOBS}" ("id") ON DELETE CASCADE'),
        ],
        TASKS: [("name", "VARCHAR(200) NOT NULL PRIMARY KEY")],
    }


def _our_columns(types: _Types) -> dict[str, list[tuple[str, str]]]:
    """What ReArq's code ignores: all nullable, so that its producers can go on inserting."""
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
        ],
        RESULTS: [
            ("attempt", "INT"),
            ("outcome", "VARCHAR(20)"),
            ("error_class", "VARCHAR(255)"),
            ("error_message", "TEXT"),
            ("traceback", "TEXT"),
        ],
        TASKS: [
            ("disabled_since", types.time),
            ("paused_since", types.time),
            ("fired_until", types.time),
            ("fired_job", "VARCHAR(200)"),
        ],
    }


OPEN = "\"status\" IN ('queued', 'deferred', 'in_progress')"

_INDEXES = [
    # What the sweeper walks: jobs that are not final, oldest first. Finished ones leave the index.
    f'CREATE INDEX IF NOT EXISTS "rearq_job_open" ON "{JOBS}" ("id") WHERE {OPEN}',
    # What retention walks, page by page.
    f'CREATE INDEX IF NOT EXISTS "rearq_job_enqueued" ON "{JOBS}" ("enqueue_time", "id")',
    # The attempts of a job, and the cascade when it is deleted.
    f'CREATE INDEX IF NOT EXISTS "rearq_job_results_job" ON "{RESULTS}" ("job_id", "id")',
    # What is unique is so by this, whoever races with whom. Only jobs that claim to be are in it.
    f'CREATE UNIQUE INDEX IF NOT EXISTS "rearq_job_unique" ON "{JOBS}" ("unique_key") WHERE "unique_key" IS NOT NULL',
]


def create_statements(vendor: str) -> list[str]:
    """Return the statements that make all tables and their indexes from nothing."""
    return _tables(vendor) + _INDEXES


def _tables(vendor: str) -> list[str]:
    types = _TYPES[vendor]
    ours = _our_columns(types)
    tables = []
    for table, columns in _first_columns(types).items():
        body = ",\n    ".join(f'"{name}" {kind}' for name, kind in [*columns, *ours[table]])
        tables.append(f'CREATE TABLE IF NOT EXISTS "{table}" (\n    {body}\n)')
    return tables


def drop_statements() -> list[str]:
    """Return the statements that remove the tables with everything in them."""
    return [f'DROP TABLE IF EXISTS "{table}"' for table in (TASKS, RESULTS, JOBS)]


def ensure(vendor: str) -> Generator[Query, Rows, None]:
    """Yield what to run, one query at a time, and take the rows of those that return some."""
    for statement in _tables(vendor):
        yield Query(statement)
    for table, columns in _our_columns(_TYPES[vendor]).items():
        rows = yield Query(_LIST_COLUMNS[vendor].format(table=table), returns=True)
        present = {row["name"] for row in rows}
        for name, kind in columns:
            if name not in present:
                yield Query(f'ALTER TABLE "{table}" ADD COLUMN "{name}" {kind}')
    for statement in _INDEXES:
        yield Query(statement)


def is_complete(vendor: str) -> Generator[Query, Rows, bool]:
    """Yield what to ask, and return whether the tables have all of our columns."""
    for table, columns in _our_columns(_TYPES[vendor]).items():
        rows = yield Query(_LIST_COLUMNS[vendor].format(table=table), returns=True)
        if not {name for name, _ in columns} <= {row["name"] for row in rows}:
            return False
    return True


_LIST_COLUMNS = {
    # to_regclass follows the search path, as the statements above do.
    "postgresql": (
        "SELECT attname AS name FROM pg_attribute "
        "WHERE attrelid = to_regclass('\"{table}\"') AND attnum > 0 AND NOT attisdropped"
    ),
    "sqlite": "SELECT name FROM pragma_table_info('{table}')",
}
