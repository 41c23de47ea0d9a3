"""The tables of ReArq, with our columns: made, or extended in place where ReArq made them; and one of our own.

`ensure` only says what to ask and what to run; whoever holds a connection drives it (the store at start, a
migration through Django), so that both ways give the same tables. Every step may be repeated.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from django_cfg_tasks.store.steps import Query, Rows

JOBS = "rearq_job"
RESULTS = "rearq_job_results"
TASKS = "rearq_task"
"""Ours: what is known of a task beside its jobs."""


@dataclass(frozen=True)
class _Types:
    key: str
    reference: str
    json: str
    time: str
    boolean: str
    text: str = "TEXT"
    references: str = f' REFERENCES "{JOBS}" ("id") ON DELETE CASCADE'
    """What a column says of the table that its values come from."""


_TYPES = {
    "postgresql": _Types("BIGSERIAL NOT NULL PRIMARY KEY", "BIGINT", "JSONB", "TIMESTAMPTZ", "BOOL"),
    "sqlite": _Types("INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL", "INT", "JSON", "TIMESTAMP", "INT"),
    "mysql": _Types(
        *("BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY", "BIGINT", "JSON", "DATETIME(6)", "BOOL", "LONGTEXT"),
        references="",  # MySQL overlooks it there
    ),
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
            ("result", types.text),
            ("start_time", types.time),
            ("finish_time", types.time),
            ("job_id", f"{types.reference} NOT NULL{types.references}"),
        ],
        TASKS: [("name", "VARCHAR(200) NOT NULL PRIMARY KEY")],
    }


def _our_columns(vendor: str) -> dict[str, list[tuple[str, str]]]:
    """What ReArq's code ignores: all nullable, so that its producers can go on inserting."""
    types = _TYPES[vendor]
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
            *_EXTRA_COLUMNS.get(vendor, []),
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


_OPEN_STATUSES = "('queued', 'deferred', 'in_progress')"
OPEN = f'"status" IN {_OPEN_STATUSES}'

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


# MySQL has no index of some rows. What is NULL is not in the way there: neither of a key that is to be unique, nor of
# a walk over what is not.
_EXTRA_COLUMNS = {
    "mysql": [
        ("is_open", f"BOOL GENERATED ALWAYS AS (CASE WHEN `status` IN {_OPEN_STATUSES} THEN 1 END) VIRTUAL"),
        # By which those who insert tell which jobs are theirs: they hear how many were new, not which.
        ("batch", "BIGINT"),
    ]
}
_MYSQL_INDEXES = {
    "rearq_job_open": (JOBS, f"CREATE INDEX `rearq_job_open` ON `{JOBS}` (`is_open`, `id`)"),
    "rearq_job_enqueued": (JOBS, f"CREATE INDEX `rearq_job_enqueued` ON `{JOBS}` (`enqueue_time`, `id`)"),
    "rearq_job_results_job": (RESULTS, f"CREATE INDEX `rearq_job_results_job` ON `{RESULTS}` (`job_id`, `id`)"),
    "rearq_job_unique": (JOBS, f"CREATE UNIQUE INDEX `rearq_job_unique` ON `{JOBS}` (`unique_key`)"),
}
# Names are what they are: "A" is not "a", and neither is "\xe4".
_MYSQL_TEXT = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
_MYSQL_REFERENCE = f'FOREIGN KEY ("job_id") REFERENCES "{JOBS}" ("id") ON DELETE CASCADE'


def create_statements(vendor: str) -> list[str]:
    """Return the statements that make all tables and their indexes from nothing."""
    return _tables(vendor) + (_INDEXES if vendor != "mysql" else [sql for _, sql in _MYSQL_INDEXES.values()])


def _tables(vendor: str) -> list[str]:
    ours = _our_columns(vendor)
    tables = []
    for table, columns in _first_columns(_TYPES[vendor]).items():
        lines = [f'"{name}" {kind}' for name, kind in [*columns, *ours[table]]]
        if vendor == "mysql" and table == RESULTS:
            lines.append(_MYSQL_REFERENCE)
        body = ",\n    ".join(lines)
        tables.append(f'CREATE TABLE IF NOT EXISTS "{table}" (\n    {body}\n)')
    if vendor == "mysql":
        return [f"{_in_mysql(table)} ENGINE = InnoDB {_MYSQL_TEXT}" for table in tables]
    return tables


def _in_mysql(sql: str) -> str:
    return sql.replace('"', "`")


def drop_statements(vendor: str) -> list[str]:
    """Return the statements that remove the tables with everything in them."""
    statements = [f'DROP TABLE IF EXISTS "{table}"' for table in (TASKS, RESULTS, JOBS)]
    return [_in_mysql(sql) for sql in statements] if vendor == "mysql" else statements


def ensure(vendor: str) -> Generator[Query, Rows, None]:
    """Yield what to run, one query at a time, and take the rows of those that return some."""
    for statement in _tables(vendor):
        yield Query(statement)
    for table, columns in _our_columns(vendor).items():
        rows = yield Query(_LIST_COLUMNS[vendor].format(table=table), returns=True)
        present = {row["name"] for row in rows}
        for name, kind in columns:
            if name not in present:
                statement = f'ALTER TABLE "{table}" ADD COLUMN "{name}" {kind}'
                yield Query(_in_mysql(statement) if vendor == "mysql" else statement)
    if vendor == "mysql":
        yield from _finish_mysql()
    else:
        for statement in _INDEXES:
            yield Query(statement)


def _finish_mysql() -> Generator[Query, Rows, None]:
    """Compare all text as it is, where ReArq made the tables; then the indexes, which know no IF NOT EXISTS."""
    for table in (JOBS, RESULTS, TASKS):
        [found] = yield Query(_MYSQL_COLLATION.format(table=table), returns=True)
        if found["name"] != "utf8mb4_bin":
            yield Query(f"ALTER TABLE `{table}` CONVERT TO {_MYSQL_TEXT}")
    for name, (table, statement) in _MYSQL_INDEXES.items():
        rows = yield Query(_MYSQL_LIST_INDEXES.format(table=table), returns=True)
        if name not in {row["name"] for row in rows}:
            yield Query(statement)


def is_complete(vendor: str) -> Generator[Query, Rows, bool]:
    """Yield what to ask, and return whether the tables have all of our columns."""
    for table, columns in _our_columns(vendor).items():
        rows = yield Query(_LIST_COLUMNS[vendor].format(table=table), returns=True)
        if not {name for name, _ in columns} <= {row["name"] for row in rows}:
            return False
    return True


_MYSQL_COLLATION = (
    "SELECT table_collation AS name FROM information_schema.tables "
    "WHERE table_schema = DATABASE() AND table_name = '{table}'"
)
_MYSQL_LIST_INDEXES = (
    "SELECT DISTINCT index_name AS name FROM information_schema.statistics "
    "WHERE table_schema = DATABASE() AND table_name = '{table}'"
)
_LIST_COLUMNS = {
    # to_regclass follows the search path, as the statements above do.
    "postgresql": (
        "SELECT attname AS name FROM pg_attribute "
        "WHERE attrelid = to_regclass('\"{table}\"') AND attnum > 0 AND NOT attisdropped"
    ),
    "sqlite": "SELECT name FROM pragma_table_info('{table}')",
    "mysql": (
        "SELECT column_name AS name FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND table_name = '{table}'"
    ),
}
