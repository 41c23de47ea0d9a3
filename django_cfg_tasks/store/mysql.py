"""The SQL of MySQL and MariaDB: `statements` in their dialect.

They tell of what a statement changed no more than how many rows it were. So rows are locked and read as they are going
to be, and then made so; and new jobs have the number of their batch. Some texts name their parameters, ``$1``, ``$2``,
in the order in which `Statements` has them. Times are kept in UTC: DATETIME knows no zone.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Generator, Sequence
from typing import Any

from pydantic_core import from_json

from django_cfg_tasks.serialization import dumps
from django_cfg_tasks.store.errors import TooLargeError
from django_cfg_tasks.store.schema import JOBS, RESULTS, TASKS
from django_cfg_tasks.store.statements import (
    ALL_TASKS,
    COLUMNS,
    INSERTED,
    IS_DISABLED,
    IS_FINAL,
    KEY_AFTER_END,
    KEY_AFTER_OUTCOME,
    KEY_AFTER_START,
    OPEN_COLUMNS,
    RESULT_COLUMNS,
    Procedure,
    Statements,
    has_ended,
    switch_on,
)
from django_cfg_tasks.store.steps import Query, Rows

Steps = Generator[Query, Rows, Rows]

MOST_CHARACTERS = 1_000_000
"""Of a JSON document that goes with one statement, unless a single row has more."""
MOST_OF_STATEMENT = 10_000
"""Bytes of all else in such a statement."""

_TEXT = "VARCHAR(255)"
_MOMENT = "CAST(REPLACE(%s, '+00:00', '') AS DATETIME(6))"
_OPEN = "j.is_open = 1"
# What is read of JSON has the connection's collation, by which "A" may be "a".
_EXACTLY = "{} COLLATE utf8mb4_bin"


def _at(value: str) -> str:
    """Read a moment as `rows.written_moment` writes it."""
    return f"REPLACE({value}, '+00:00', '')"


def _document(columns: str, alias: str = "x", parameter: str = "%s") -> str:
    """Read a JSON array of objects as a table; a column's name is the key."""
    paths = ", ".join(f"{_typed(column)} PATH '$.{column.split()[0]}'" for column in columns.split(", "))
    return f"JSON_TABLE({parameter}, '$[*]' COLUMNS({paths})) AS {alias}"


def _array(column: str, parameter: str = "%s") -> str:
    """Read a JSON array as a table of one column."""
    return f"JSON_TABLE({parameter}, '$[*]' COLUMNS({_typed(column)} PATH '$')) AS wanted"


def _typed(column: str) -> str:
    """Say that text is any text: in an old database it would be Latin."""
    return f"{column} CHARACTER SET utf8mb4" if column.endswith((_TEXT, "LONGTEXT")) else column


def _of_ids(table: str, parameter: str = "%s", column: str = "id") -> str:
    """Take the rows of these ids, one by one by their index and in this order, whatever the planner thinks of it."""
    alias = "r" if table == RESULTS else "j"
    return f"{_array('id BIGINT', parameter)} STRAIGHT_JOIN {table} AS {alias} ON {alias}.{column} = wanted.id"


def _of_texts(column: str, parameter: str = "%s") -> str:
    """`_of_ids`, of jobs by a column of text. (What is longer than any is cut to what is longer than any.)"""
    name = _EXACTLY.format("wanted.name")
    return f"{_array(f'name {_TEXT}', parameter)} STRAIGHT_JOIN {JOBS} AS j ON j.{column} = {name}"


def _columns(names: str = COLUMNS, alias: str = "j", **changed: str) -> str:
    """List columns as they are, but for those that are going to be changed."""
    return ", ".join(
        f"{changed[name]} AS {name}" if name in changed else f"{alias}.{name}" for name in names.split(", ")
    )


def _numbered(sql: str) -> tuple[str, list[int]]:
    """Return a text for drivers, and the numbers of its parameters as they come in it."""
    numbers = [int(number) for number in re.findall(r"\$(\d)", sql)]
    return re.sub(r"\$\d", "%s", sql), numbers


def _ordered(sql: str, params: Sequence[Any], *, returns: bool = False) -> Query:
    text, numbers = _numbered(sql)
    return Query(text, returns, [params[number - 1] for number in numbers])


def _first(read: str, *changes: str) -> Procedure:
    """Lock and read rows, and change them if there are any; their ids are one more parameter of what changes them."""

    def steps(params: Sequence[Any]) -> Steps:
        rows = yield _ordered(read, params, returns=True)
        if rows:
            ids = dumps([row["id"] for row in rows])
            for change in changes:
                yield _ordered(change, [*params, ids])
        return rows

    return Procedure(steps)


def _one(sql: str) -> Procedure:
    def steps(params: Sequence[Any]) -> Steps:
        return (yield _ordered(sql, params, returns=True))

    return Procedure(steps, needs_transaction=lambda _: False)


def _portions(document: str) -> Generator[Query, Rows, list[str]]:
    """Part a JSON array so that the server takes each part at once.

    TooLargeError for a row that it would not take: it would cut the connection, and as if nothing had been wrong.
    """
    if len(document) <= MOST_CHARACTERS:
        return [document]
    portions: list[list[str]] = []
    room = 0
    for row in from_json(document):
        text = dumps(row)
        if len(text) > room:
            portions.append([])
            room = MOST_CHARACTERS
        portions[-1].append(text)
        room -= len(text)
    largest = max((text for portion in portions for text in portion), key=len)
    if len(largest) > MOST_CHARACTERS:
        [most] = yield Query("SELECT @@max_allowed_packet AS bytes", returns=True)
        size = len(largest) + largest.count('"') + largest.count("\\") + MOST_OF_STATEMENT
        if size > most["bytes"]:
            raise TooLargeError(f"{size:,} bytes at once; the server's max_allowed_packet is {most['bytes']:,}.")
    return [f"[{','.join(portion)}]" for portion in portions]


# New jobs

_INSERT = (
    # IGNORE forgives that a job is there; what its columns can't hold nobody puts into the document.
    f"INSERT IGNORE INTO {JOBS} ({INSERTED}, attempt, deliveries, batch) SELECT "
    + _columns(
        INSERTED,
        "x",
        enqueue_time=_at("x.enqueue_time"),
        expire_time=_at("x.expire_time"),
        due_time=_at("x.due_time"),
        unique_until=_at("x.unique_until"),
    )
    + ", 0, 0, %s FROM "
    + _document(
        f"task {_TEXT}, args JSON, kwargs JSON, job_retry INT, job_retries INT, job_retry_after INT, job_id {_TEXT}, "
        f"enqueue_time {_TEXT}, expire_time {_TEXT}, status {_TEXT}, queue {_TEXT}, due_time {_TEXT}, options JSON, "
        f"unique_key {_TEXT}, unique_until {_TEXT}, even_if_disabled BOOL"
    )
    # No subquery: MariaDB remembers what it said of "a", and says the same of "A".
    + f" LEFT JOIN {TASKS} AS d ON d.name = {_EXACTLY.format('x.task')} AND d.disabled_since IS NOT NULL "
    "WHERE d.name IS NULL OR x.even_if_disabled"
)
_OF_BATCH = f"SELECT j.job_id FROM {_of_texts('job_id')} WHERE j.batch = %s"


def _insert(params: Sequence[Any]) -> Steps:
    batch, number = secrets.randbits(63), 0
    for portion in (yield from _portions(params[0])):
        [answer] = yield Query(_INSERT, params=[batch, portion], counts=True)
        number += answer["changed"]
    jobs = from_json(params[0]) if number else []
    if number == len(jobs):
        return jobs
    rows = yield Query(_OF_BATCH, returns=True, params=[dumps([job["job_id"] for job in jobs]), batch])
    return rows


# Outcomes

_STANDING = (
    f"id BIGINT, status {_TEXT}, job_retries INT, due_time {_TEXT}, deliveries INT, progress DOUBLE, "
    f"progress_message {_TEXT}"
)
_STOOD = [column.split()[0] for column in _STANDING.split(", ")]
_ATTEMPT = (
    f"id BIGINT, attempt INT, worker {_TEXT}, success BOOL, msg_id {_TEXT}, result LONGTEXT, start_time {_TEXT}, "
    f"finish_time {_TEXT}, outcome {_TEXT}, error_class {_TEXT}, error_message LONGTEXT, traceback LONGTEXT, "
    "keep_attempt BOOL"
)
_MINE = "j.id = x.id AND j.attempt = x.attempt AND j.status = 'in_progress'"
_KEPT_VALUES = _columns(
    RESULT_COLUMNS, "x", job_id="x.id", start_time=_at("x.start_time"), finish_time=_at("x.finish_time")
)
_INSERT_RESULTS = (
    f"INSERT INTO {RESULTS} ({RESULT_COLUMNS}) SELECT {_KEPT_VALUES} FROM {_document(_ATTEMPT)} "
    f"JOIN {_array('id BIGINT')} ON wanted.id = x.id WHERE x.keep_attempt "
    f"ON DUPLICATE KEY UPDATE {RESULTS}.msg_id = {RESULTS}.msg_id"
)
_TAKEN = (
    f"SELECT j.id FROM {_document('id BIGINT, attempt INT')} STRAIGHT_JOIN {JOBS} AS j ON {_MINE} "
    "ORDER BY j.id FOR UPDATE"
)
_UPDATE = (
    f"UPDATE {_document(_STANDING)} STRAIGHT_JOIN {JOBS} AS j ON j.id = x.id "
    f"SET j.unique_key = {KEY_AFTER_OUTCOME.format(job='j')}, j.status = x.status, j.job_retries = x.job_retries, "
    f"j.due_time = {_at('x.due_time')}, j.deliveries = x.deliveries, j.owner = NULL, j.progress = x.progress, "
    "j.progress_message = x.progress_message"
)


def _record(params: Sequence[Any]) -> Steps:
    outcomes = {outcome["id"]: outcome for outcome in from_json(params[0])}
    fences = [{"id": id_, "attempt": outcome["attempt"]} for id_, outcome in outcomes.items()]
    rows = yield Query(_TAKEN, returns=True, params=[dumps(fences)])
    if taken := [outcomes[row["id"]] for row in rows]:
        standing = [{name: outcome[name] for name in _STOOD if name in outcome} for outcome in taken]
        for portion in (yield from _portions(dumps(standing))):
            yield Query(_UPDATE, params=[portion])
    if kept := [outcome for outcome in taken if outcome.get("keep_attempt")]:
        for portion in (yield from _portions(dumps(kept))):
            yield Query(_INSERT_RESULTS, params=[portion, dumps([outcome["id"] for outcome in kept])])
    return rows


# Waiting jobs

_THAT_WAITS = "j.job_id = $6 AND j.status IN ('queued', 'deferred')"


def _edit(params: Sequence[Any]) -> Steps:
    rows = yield _ordered(f"SELECT j.id FROM {JOBS} AS j WHERE {_THAT_WAITS} FOR UPDATE", params, returns=True)
    if rows:
        yield _ordered(
            f"UPDATE {JOBS} AS j SET j.args = $1, j.kwargs = $2, j.job_retry = $3, j.job_retry_after = $4, "
            f"j.expire_time = {_at('$5')} WHERE {_THAT_WAITS}",
            params,
        )
        rows = yield _ordered(f"SELECT {_columns()} FROM {JOBS} AS j WHERE {_THAT_WAITS}", params, returns=True)
    return rows


# What is known of tasks


def _switch_off(since: str) -> str:
    return (
        f"INSERT INTO {TASKS} ({since}, name) VALUES ({_MOMENT}, %s) "
        f"ON DUPLICATE KEY UPDATE {since} = COALESCE({since}, VALUES({since}))"
    )


_CANCELED = {"status": "'canceled'", "unique_key": KEY_AFTER_END.format(key="j.unique_key")}


def _cancel(ids: str) -> str:
    return f"UPDATE {_of_ids(JOBS, ids)} SET j.status = 'canceled', j.unique_key = {_CANCELED['unique_key']}"


_AFTER_START = KEY_AFTER_START.replace("unique_key", "j.unique_key")

MYSQL = Statements(
    insert=Procedure(_insert, needs_transaction=lambda params: len(params[0]) > MOST_CHARACTERS),
    insert_lone=None,
    end_unique=_one(
        f"UPDATE {_of_texts('unique_key', '$2')} SET j.unique_key = NULL, j.unique_until = NULL "
        f"WHERE j.unique_until <= {_MOMENT.replace('%s', '$1')}"
    ),
    select=f"SELECT {_columns()} FROM {_of_texts('job_id')}",
    select_whole=None,
    select_unique=f"SELECT {_columns()} FROM {_of_texts('unique_key')}",
    results=(
        f"SELECT {_columns(RESULT_COLUMNS, 'r')} FROM {_of_ids(RESULTS, column='job_id')} ORDER BY r.job_id, r.id"
    ),
    claim=_first(
        "SELECT "
        + _columns(
            status="'in_progress'",
            owner="$1",
            start_time=_MOMENT.replace("%s", "$2"),
            attempt="COALESCE(j.attempt, 0) + 1",
            unique_key=_AFTER_START,
            progress="NULL",
            progress_message="NULL",
        )
        + f" FROM {_of_texts('job_id', '$3')} WHERE j.status IN ('queued', 'deferred') "
        f"AND COALESCE(j.deliveries, 0) < CAST($4 AS SIGNED) AND NOT {IS_DISABLED.format(task='j.task')} FOR UPDATE",
        f"UPDATE {_of_ids(JOBS, '$5')} SET j.status = 'in_progress', j.owner = $1, "
        f"j.start_time = {_MOMENT.replace('%s', '$2')}, j.attempt = COALESCE(j.attempt, 0) + 1, "
        f"j.unique_key = {_AFTER_START}, j.progress = NULL, j.progress_message = NULL",
    ),
    insert_results=_INSERT_RESULTS,
    record=Procedure(_record),
    record_successes=None,
    edit=Procedure(_edit),
    cancel=_first(
        f"SELECT {_columns(**_CANCELED)} FROM {_of_texts('job_id', '$1')} WHERE {_OPEN} FOR UPDATE",
        _cancel("$2"),
    ),
    cancel_task=_first(
        f"SELECT {_columns(**_CANCELED)} FROM {JOBS} AS j WHERE j.task = $1 AND {_OPEN} "
        "ORDER BY j.id LIMIT $2 FOR UPDATE",
        _cancel("$3"),
    ),
    progress=(
        f"UPDATE {_document(f'id BIGINT, attempt INT, progress DOUBLE, progress_message {_TEXT}')} "
        f"STRAIGHT_JOIN {JOBS} AS j ON {_MINE} SET j.progress = x.progress, j.progress_message = x.progress_message"
    ),
    page=(
        # By its rows' order, or each page would sort all that follow.
        f"SELECT {_columns()} FROM {JOBS} AS j FORCE INDEX (PRIMARY) "
        f"WHERE j.id > %s AND j.enqueue_time >= {_MOMENT} ORDER BY j.id LIMIT %s"
    ),
    open_page=(f"SELECT {_columns(OPEN_COLUMNS)} FROM {JOBS} AS j WHERE j.id > %s AND {_OPEN} ORDER BY j.id LIMIT %s"),
    open_counts=(
        f"SELECT j.task, j.queue, j.status, COUNT(*) AS number FROM {JOBS} AS j WHERE {_OPEN} "
        "GROUP BY j.task, j.queue, j.status"
    ),
    open_ids=f"SELECT j.job_id FROM {_of_texts('job_id')} WHERE {_OPEN}",
    old=_one(
        f"SELECT j.id, j.enqueue_time, {has_ended(_MOMENT.replace('%s', '$1'))} AS ended FROM {JOBS} AS j "
        f"WHERE j.enqueue_time >= {_MOMENT.replace('%s', '$4')} AND j.enqueue_time < {_MOMENT.replace('%s', '$1')} "
        f"AND (j.enqueue_time > {_MOMENT.replace('%s', '$4')} OR j.id > CAST($5 AS SIGNED)) "
        "ORDER BY j.enqueue_time, j.id LIMIT $7"
    ),
    count_results=f"SELECT COUNT(*) AS number FROM {_of_ids(RESULTS, column='job_id')}",
    delete_results=_first(
        f"SELECT r.id FROM {_of_ids(RESULTS, '$1', 'job_id')} LIMIT $2 FOR UPDATE",
        f"DELETE r FROM {_of_ids(RESULTS, '$3')}",
    ),
    delete_jobs=_first(
        f"SELECT j.id FROM {_of_ids(JOBS, '$1')} WHERE {IS_FINAL} "
        f"AND NOT EXISTS (SELECT 1 FROM {RESULTS} AS r WHERE r.job_id = j.id) FOR UPDATE",
        f"DELETE j FROM {_of_ids(JOBS, '$2')}",
    ),
    kept=(
        f"SELECT j.job_id FROM {_of_texts('job_id')} WHERE NOT (j.enqueue_time < {_MOMENT} AND {has_ended(_MOMENT)})"
    ),
    disable=_switch_off("disabled_since"),
    enable=switch_on("disabled_since"),
    pause=_switch_off("paused_since"),
    resume=switch_on("paused_since"),
    tasks=ALL_TASKS,
    # Never backwards: of two timers that think they lead, the later moment is right. It assigns from left to right.
    note_firings=(
        f"INSERT INTO {TASKS} (name, fired_until, fired_job) SELECT x.name, {_at('x.fired_until')}, x.fired_job "
        f"FROM {_document(f'name {_TEXT}, fired_until {_TEXT}, fired_job {_TEXT}')} ON DUPLICATE KEY UPDATE "
        f"{TASKS}.fired_job = IF({TASKS}.fired_until IS NULL OR {TASKS}.fired_until < VALUES(fired_until), "
        f"VALUES(fired_job), {TASKS}.fired_job), "
        f"{TASKS}.fired_until = GREATEST(COALESCE({TASKS}.fired_until, VALUES(fired_until)), VALUES(fired_until))"
    ),
    as_of_now=" LOCK IN SHARE MODE",
)
