"""The SQL that reads and writes jobs, one text per database kind.

Many rows travel as one JSON document, so that a batch of any size is one statement with one parameter, the
same through Tortoise's connection and through Django's. Placeholders are ``%s``; no text holds another ``%``.
What PostgreSQL and SQLite have here, MySQL has in `mysql`; `dialects` knows them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from django_cfg_tasks.jobs import FINAL
from django_cfg_tasks.serialization import dumps
from django_cfg_tasks.store.rows import written
from django_cfg_tasks.store.schema import JOBS, OPEN, RESULTS, TASKS
from django_cfg_tasks.store.steps import Query, Rows


@dataclass(frozen=True, slots=True)
class Procedure:
    """What takes several statements: from parameters to one query after another, and at last the rows.

    Whoever holds a connection drives it, in one transaction; where that fails, all of it may be tried again.
    """

    steps: Callable[[Sequence[Any]], Generator[Query, Rows, Rows]]
    needs_transaction: Callable[[Sequence[Any]], bool] = lambda _: True


Statement = str | Procedure

COLUMNS = (
    "id, job_id, task, queue, args, kwargs, status, job_retry, job_retries, job_retry_after, enqueue_time, "
    "expire_time, due_time, start_time, owner, attempt, deliveries, options, unique_key, progress, progress_message"
)
OPEN_COLUMNS = "id, job_id, task, queue, status, enqueue_time, due_time, owner"
LONE = (
    "task, args, kwargs, job_retry, job_retries, job_retry_after, job_id, enqueue_time, expire_time, status, queue, "
    "due_time, options"
)
INSERTED = f"{LONE}, unique_key, unique_until"
RESULT_COLUMNS = (
    "worker, success, msg_id, result, start_time, finish_time, job_id, attempt, outcome, error_class, "
    "error_message, traceback"
)


@dataclass(frozen=True)
class Statements:
    """The statements of one kind of database; the comments say what their parameters are."""

    insert: Statement
    """Rows as a JSON document -> job_id of those that were new; jobs of disabled tasks are not, unless they say so."""
    insert_lone: str | None
    """`rows.lone_row` -> nothing; it changes a row where the job is new, as with `insert`. For a job without a unique
    key; None where that would cost no less."""
    end_unique: Statement
    """A moment, unique keys as a JSON array -> nothing; those that lasted until then are free."""
    select: str
    """Job ids as a JSON array -> their rows."""
    select_whole: Statement | None
    """Job ids as a JSON array -> their rows, and in each its attempts as a JSON array, in no order; None where that
    takes two statements, `select` and `results`."""
    select_unique: str
    """Unique keys as a JSON array -> the rows that have them."""
    results: Statement
    """Row ids as a JSON array -> their attempts, oldest first."""
    claim: Statement
    """Owner, start time, job ids as a JSON array, a number -> the rows that are now the owner's.

    Those over which as many workers have died as the number says are left alone, and those of disabled tasks."""
    record: Statement
    """Outcomes as a JSON document -> the row ids that took it: those that the same attempt still owned."""
    record_successes: Statement | None
    """`rows.Success` for each -> the row ids that took it, as with `record`; None where that would cost no less."""
    insert_results: Statement
    """Outcomes as a JSON document, row ids as a JSON array -> nothing; attempts of these are kept, each once."""
    edit: Statement
    """Args and kwargs as JSON, retries allowed, the pause before one, expire time, job id -> the row, if it waits."""
    cancel: Statement
    """Job ids as a JSON array -> the rows that are canceled now, as they were before otherwise."""
    cancel_task: Statement
    """A task's name, limit -> the same for the oldest of its jobs that are not final."""
    progress: Statement
    """Progress as a JSON document -> nothing; it reaches the jobs that the same attempt still owns."""
    page: Statement
    """After row id, earliest enqueue time, limit -> rows in the order of their ids."""
    open_page: Statement
    """After row id, limit -> what the sweeper wants of rows that are not final, in the order of their ids."""
    open_counts: Statement
    """The numbers of jobs that are not final, by task, queue and status."""
    open_ids: Statement
    """Job ids as a JSON array -> those of them that are not final."""
    old: Statement
    """Three times a moment, then after enqueue time and row id, the moment again, limit -> rows enqueued before the
    moment, in that order, and whether their jobs had ended by then."""
    count_results: Statement
    """Row ids as a JSON array -> the number of their attempts."""
    delete_results: Statement
    """Row ids as a JSON array, limit -> a row for each attempt that was deleted."""
    delete_jobs: Statement
    """Row ids as a JSON array -> a row for each job that was deleted: final ones without attempts."""
    kept: Statement
    """Job ids as a JSON array, four times a moment -> those whose jobs exist, and had not ended by then."""
    disable: Statement
    """A moment, a task's name -> nothing; it is disabled, since that moment if it was not before."""
    enable: Statement
    """A task's name -> nothing."""
    pause: Statement
    """A moment, a task's name -> nothing; its schedule is paused, since that moment if it was not before."""
    resume: Statement
    """A task's name -> nothing."""
    tasks: str
    """All that is known of tasks."""
    note_firings: Statement
    """Tasks as a JSON document (name, fired_until, fired_job) -> nothing."""
    as_of_now: str = ""
    """What is put behind `select`, `select_unique` and `tasks` to see what is committed now, whenever the transaction
    began that they are part of."""


IS_DISABLED = f"EXISTS (SELECT 1 FROM {TASKS} AS d WHERE d.name = {{task}} AND d.disabled_since IS NOT NULL)"
# The first letter of a unique key says how long it lasts: until the Start, until Done, for a Time.
KEY_AFTER_START = "CASE WHEN substr(unique_key, 1, 1) = 's' THEN NULL ELSE unique_key END"
KEY_AFTER_END = "CASE WHEN substr({key}, 1, 1) = 't' THEN {key} END"
_ALL_FINAL = ", ".join(repr(status.value) for status in sorted(FINAL))
IS_FINAL = f"j.status IN ({_ALL_FINAL})"
KEY_AFTER_OUTCOME = (
    f"CASE WHEN x.status IN ({_ALL_FINAL}) THEN {KEY_AFTER_END.format(key='{job}.unique_key')}"
    " ELSE {job}.unique_key END"
)  # fmt: skip


def has_ended(moment: str) -> str:
    """Say that job ``j`` ended before a moment, which is asked for three times, as far as its row and attempts tell.

    An aggregate, as "NOT EXISTS" would make PostgreSQL read the attempts of all jobs at once.
    """
    last_finish = f"(SELECT max(r.finish_time) FROM {RESULTS} AS r WHERE r.job_id = j.id)"
    times = ("j.start_time", "j.due_time", last_finish)
    return " AND ".join([IS_FINAL, *(f"COALESCE({time} < {moment}, true)" for time in times)])


_CANCEL = f"UPDATE {JOBS} SET status = 'canceled', unique_key = {KEY_AFTER_END.format(key='unique_key')}"
ALL_TASKS = f"SELECT name, disabled_since, paused_since, fired_until, fired_job FROM {TASKS}"
# Never backwards: of two timers that think they lead, the later moment is right.
_NOTED = (
    "ON CONFLICT (name) DO UPDATE SET fired_until = excluded.fired_until, fired_job = excluded.fired_job "
    f"WHERE {TASKS}.fired_until IS NULL OR {TASKS}.fired_until < excluded.fired_until"
)


OPEN_COUNTS = f"SELECT task, queue, status, count(*) AS number FROM {JOBS} WHERE {OPEN} GROUP BY task, queue, status"


def _switch_off(since: str, moment: str = "%s") -> str:
    return (
        f"INSERT INTO {TASKS} ({since}, name) VALUES ({moment}, %s) ON CONFLICT (name) DO UPDATE "
        f"SET {since} = COALESCE({TASKS}.{since}, excluded.{since})"
    )


def switch_on(since: str) -> str:
    return f"UPDATE {TASKS} SET {since} = NULL WHERE name = %s"


def _edit(json: str, number: str, moment: str) -> str:
    return (
        f"UPDATE {JOBS} SET args = {json}, kwargs = {json}, job_retry = {number}, job_retry_after = {number}, "
        f"expire_time = {moment} WHERE job_id = %s AND (status || '') IN ('queued', 'deferred') RETURNING {COLUMNS}"
    )


def _insert_lone(values: str) -> str:
    return (
        f"INSERT INTO {JOBS} ({LONE}, attempt, deliveries) SELECT {values}, 0, 0 "
        f"WHERE NOT {IS_DISABLED.format(task='%s')} ON CONFLICT DO NOTHING"
    )


def _recordset(columns: str) -> str:
    return f"json_to_recordset(%s::json) AS x({columns})"


_PG_OUTCOME = _recordset(
    "id bigint, attempt int, status text, job_retries int, due_time timestamptz, deliveries int, worker text, "
    "success bool, msg_id text, result text, start_time timestamptz, finish_time timestamptz, outcome text, "
    "error_class text, error_message text, traceback text, keep_attempt bool, progress double precision, "
    "progress_message text"
)
_PG_MOMENT, _PG_NUMBER = "%s::text::timestamptz", "%s::text::bigint"
# As an array, so that the plan follows the index even where the statistics are missing or old.
_PG_IDS = "ANY(ARRAY(SELECT json_array_elements_text(%s::json)::bigint))"
# Not the column itself: the planner would read the index of all open jobs beside the few that are asked for by id.
_PG_STATUS = "(status || '')"
_PG_OPEN = OPEN.replace('"status"', _PG_STATUS)
_PG_RUNS = "(j.status || '') = 'in_progress'"
_PG_UPDATE = (
    f"UPDATE {JOBS} AS j SET status = x.status, job_retries = x.job_retries, due_time = x.due_time, "
    "deliveries = x.deliveries, owner = NULL, progress = x.progress, progress_message = x.progress_message, "
    f"unique_key = {KEY_AFTER_OUTCOME.format(job='j')} FROM {{source}} "
    f"WHERE j.id = x.id AND j.attempt = x.attempt AND {_PG_RUNS} RETURNING j.id"
)
_PG_RESULT_VALUES = (
    "x.worker, x.success, x.msg_id, x.result, x.start_time, x.finish_time, x.id, x.attempt, x.outcome, "
    "x.error_class, x.error_message, x.traceback"
)

_SUCCEEDED = (
    "status = 'success', deliveries = 0, owner = NULL, "
    f"unique_key = {KEY_AFTER_END.format(key='{job}.unique_key')}"
)  # fmt: skip
_SUCCESS_COLUMNS = "worker, success, msg_id, result, start_time, finish_time, job_id, attempt, outcome"
# As arrays: JSON would have to be written, sent and read, with each name in each row.
_PG_RECORD_SUCCESSES = (
    "WITH x AS (SELECT * FROM unnest(%s::bigint[], %s::int[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], "
    "%s::timestamptz[]) AS x(id, attempt, worker, msg_id, result, start_time, finish_time)), "
    f"taken AS (UPDATE {JOBS} AS j SET {_SUCCEEDED.format(job='j')} FROM x "
    f"WHERE j.id = x.id AND j.attempt = x.attempt AND {_PG_RUNS} RETURNING j.id), "
    f"kept AS (INSERT INTO {RESULTS} ({_SUCCESS_COLUMNS}) "
    "SELECT x.worker, true, x.msg_id, x.result, x.start_time, x.finish_time, x.id, x.attempt, 'success' "
    "FROM x JOIN taken USING (id)) SELECT id FROM taken"
)


def _record_successes_in_postgresql(params: Sequence[Any]) -> Generator[Query, Rows, Rows]:
    return (yield Query(_PG_RECORD_SUCCESSES, returns=True, params=list(zip(*params, strict=True))))


POSTGRESQL = Statements(
    insert=(
        f"INSERT INTO {JOBS} ({INSERTED}, attempt, deliveries) SELECT {INSERTED}, 0, 0 FROM "
        + _recordset(
            "task text, args jsonb, kwargs jsonb, job_retry int, job_retries int, job_retry_after int, job_id text, "
            "enqueue_time timestamptz, expire_time timestamptz, status text, queue text, due_time timestamptz, "
            "options jsonb, unique_key text, unique_until timestamptz, even_if_disabled bool"
        )
        + f" WHERE x.even_if_disabled OR NOT {IS_DISABLED.format(task='x.task')} "
        "ON CONFLICT DO NOTHING RETURNING job_id"
    ),
    insert_lone=_insert_lone(
        "%s, %s::text::jsonb, %s::text::jsonb, %s::int, %s::int, %s::int, %s, "
        f"{_PG_MOMENT}, {_PG_MOMENT}, %s, %s, {_PG_MOMENT}, %s::text::jsonb"
    ),
    end_unique=(
        f"UPDATE {JOBS} SET unique_key = NULL, unique_until = NULL WHERE unique_until <= {_PG_MOMENT} "
        "AND unique_key = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))"
    ),
    select=f"SELECT {COLUMNS} FROM {JOBS} WHERE job_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))",
    select_whole=(
        f"SELECT {COLUMNS}, (SELECT json_agg(r) FROM {RESULTS} AS r WHERE r.job_id = {JOBS}.id) AS attempts "
        f"FROM {JOBS} WHERE job_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))"
    ),
    select_unique=(
        f"SELECT {COLUMNS} FROM {JOBS} WHERE unique_key = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))"
    ),
    results=(
        f"SELECT {RESULT_COLUMNS} FROM {RESULTS} "
        "WHERE job_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)::bigint)) ORDER BY job_id, id"
    ),
    claim=(
        f"UPDATE {JOBS} SET status = 'in_progress', owner = %s, start_time = %s::text::timestamptz, "
        "attempt = COALESCE(attempt, 0) + 1, progress = NULL, progress_message = NULL, "
        f"unique_key = {KEY_AFTER_START} "
        "WHERE job_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json))) "
        f"AND {_PG_STATUS} IN ('queued', 'deferred') AND COALESCE(deliveries, 0) < %s::text::int "
        f"AND NOT {IS_DISABLED.format(task=f'{JOBS}.task')} RETURNING {COLUMNS}"
    ),
    insert_results=(
        f"INSERT INTO {RESULTS} ({RESULT_COLUMNS}) SELECT {_PG_RESULT_VALUES} FROM {_PG_OUTCOME} "
        f"WHERE x.keep_attempt AND x.id = {_PG_IDS} ON CONFLICT (msg_id) DO NOTHING"
    ),
    record=(
        f"WITH x AS (SELECT * FROM {_PG_OUTCOME}), taken AS ({_PG_UPDATE.format(source='x')}), "
        f"kept AS (INSERT INTO {RESULTS} ({RESULT_COLUMNS}) SELECT {_PG_RESULT_VALUES} FROM x JOIN taken USING (id) "
        "WHERE x.keep_attempt) "
        "SELECT id FROM taken"
    ),
    record_successes=Procedure(_record_successes_in_postgresql, needs_transaction=lambda _: False),
    cancel=(
        f"{_CANCEL} WHERE job_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json))) AND {_PG_OPEN} "
        f"RETURNING {COLUMNS}"
    ),
    cancel_task=(
        f"{_CANCEL} WHERE id = ANY(ARRAY(SELECT id FROM {JOBS} WHERE task = %s AND {OPEN} ORDER BY id "
        f"LIMIT {_PG_NUMBER})) AND {OPEN} RETURNING {COLUMNS}"
    ),
    progress=(
        f"UPDATE {JOBS} AS j SET progress = x.progress, progress_message = x.progress_message FROM "
        + _recordset("id bigint, attempt int, progress double precision, progress_message text")
        + f" WHERE j.id = x.id AND j.attempt = x.attempt AND {_PG_RUNS}"
    ),
    page=(
        f"SELECT {COLUMNS} FROM {JOBS} WHERE id > %s::text::bigint AND enqueue_time >= %s::text::timestamptz "
        "ORDER BY id LIMIT %s::text::bigint"
    ),
    open_page=(
        f"SELECT {OPEN_COLUMNS} FROM {JOBS} WHERE id > %s::text::bigint AND {OPEN} ORDER BY id LIMIT %s::text::bigint"
    ),
    open_counts=OPEN_COUNTS,
    open_ids=(
        f"SELECT job_id FROM {JOBS} WHERE job_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json))) AND {_PG_OPEN}"
    ),
    old=(
        f"SELECT j.id, j.enqueue_time, {has_ended(_PG_MOMENT)} AS ended FROM {JOBS} AS j "
        f"WHERE (j.enqueue_time, j.id) > ({_PG_MOMENT}, {_PG_NUMBER}) AND j.enqueue_time < {_PG_MOMENT} "
        f"ORDER BY j.enqueue_time, j.id LIMIT {_PG_NUMBER}"
    ),
    count_results=f"SELECT count(*) AS number FROM {RESULTS} WHERE job_id = {_PG_IDS}",
    delete_results=(
        f"DELETE FROM {RESULTS} WHERE id = ANY(ARRAY(SELECT id FROM {RESULTS} WHERE job_id = {_PG_IDS} "
        f"LIMIT {_PG_NUMBER})) RETURNING id"
    ),
    delete_jobs=(
        f"DELETE FROM {JOBS} AS j WHERE j.id = {_PG_IDS} AND {IS_FINAL} "
        f"AND NOT EXISTS (SELECT 1 FROM {RESULTS} AS r WHERE r.job_id = j.id) RETURNING j.id"
    ),
    kept=(
        f"SELECT j.job_id FROM {JOBS} AS j WHERE j.job_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json))) "
        f"AND NOT (j.enqueue_time < {_PG_MOMENT} AND {has_ended(_PG_MOMENT)})"
    ),
    disable=_switch_off("disabled_since", _PG_MOMENT),
    enable=switch_on("disabled_since"),
    pause=_switch_off("paused_since", _PG_MOMENT),
    resume=switch_on("paused_since"),
    tasks=ALL_TASKS,
    note_firings=(
        f"INSERT INTO {TASKS} (name, fired_until, fired_job) SELECT name, fired_until, fired_job FROM "
        + _recordset("name text, fired_until timestamptz, fired_job text")
        + f" WHERE true {_NOTED}"
    ),
    edit=_edit("%s::text::jsonb", "%s::text::int", _PG_MOMENT),
)


def _json(*names: str) -> str:
    return ", ".join(f"json_extract(value, '$.{name}')" for name in names)


_SQLITE_NUMBER, _SQLITE_IDS = "CAST(%s AS INT)", "IN (SELECT value FROM json_each(%s))"
_SQLITE_ATTEMPT = ", ".join(f"'{name}', r.{name}" for name in ("id", *RESULT_COLUMNS.split(", ")))
_SQLITE_UPDATED = "status", "job_retries", "due_time", "deliveries", "progress", "progress_message"

_SQLITE_UPDATE = (
    f"UPDATE {JOBS} SET status = x.status, job_retries = x.job_retries, due_time = x.due_time, "
    "deliveries = x.deliveries, owner = NULL, progress = x.progress, progress_message = x.progress_message, "
    f"unique_key = {KEY_AFTER_OUTCOME.format(job=JOBS)} FROM (SELECT "
    f"{', '.join(f'{_json(name)} AS {name}' for name in ('id', 'attempt', *_SQLITE_UPDATED))} "
    f"FROM json_each(%s)) AS x "
    f"WHERE {JOBS}.id = x.id AND {JOBS}.attempt = x.attempt AND {JOBS}.status = 'in_progress' RETURNING {JOBS}.id"
)
_SQLITE_INSERT_RESULTS = (
    f"INSERT INTO {RESULTS} ({RESULT_COLUMNS}) SELECT "
    + _json("worker", "success", "msg_id", "result", "start_time", "finish_time", "id")
    + ", "
    + _json("attempt", "outcome", "error_class", "error_message", "traceback")
    + " FROM json_each(%s) WHERE json_extract(value, '$.keep_attempt') "
    f"AND json_extract(value, '$.id') {_SQLITE_IDS} ON CONFLICT (msg_id) DO NOTHING"
)


def _record_in_sqlite(params: Sequence[Any]) -> Generator[Query, Rows, Rows]:
    rows = yield Query(_SQLITE_UPDATE, returns=True, params=params)
    yield Query(_SQLITE_INSERT_RESULTS, params=[*params, dumps([row["id"] for row in rows])])
    return rows


# Few steps, each of which does much: at each of them the thread gives up Python's lock, and must come by it again.
_SQLITE_TAKEN = (
    f"SELECT json_group_array(j.id) AS ids FROM json_each(%s) AS x "
    f"CROSS JOIN {JOBS} AS j ON j.id = json_extract(x.value, '$[0]') "
    "WHERE j.attempt = json_extract(x.value, '$[1]') AND j.status = 'in_progress'"
)
_SQLITE_SUCCEED = f"UPDATE {JOBS} SET {_SUCCEEDED.format(job=JOBS)} WHERE id {_SQLITE_IDS}"
_SQLITE_VALUES = ", ".join(f"json_extract(value, '$[{number}]')" for number in range(9))
_SQLITE_KEEP = (
    f"INSERT INTO {RESULTS} ({_SUCCESS_COLUMNS}) SELECT {_SQLITE_VALUES} FROM json_each(%s) WHERE true "
    "ON CONFLICT (msg_id) DO NOTHING"
)


def _record_successes_in_sqlite(params: Sequence[Any]) -> Generator[Query, Rows, Rows]:
    by_id = {success.id: success for success in params}
    fences = dumps([[success.id, success.attempt] for success in params])
    [found] = yield Query(_SQLITE_TAKEN, returns=True, params=[fences])
    ids = json.loads(found["ids"])
    if ids:
        yield Query(_SQLITE_SUCCEED, params=[found["ids"]])
        kept = [
            (s.worker, 1, s.msg_id, s.result, written(s.start_time), written(s.finish_time), s.id, s.attempt, "success")
            for s in map(by_id.__getitem__, ids)
        ]
        yield Query(_SQLITE_KEEP, params=[to_json(kept).decode()])
    return [{"id": id_} for id_ in ids]


SQLITE = Statements(
    insert=(
        f"INSERT INTO {JOBS} ({INSERTED}, attempt, deliveries) "
        f"SELECT {_json(*INSERTED.split(', '))}, 0, 0 FROM json_each(%s) "
        f"WHERE {_json('even_if_disabled')} OR NOT {IS_DISABLED.format(task=_json('task'))} "
        "ON CONFLICT DO NOTHING RETURNING job_id"
    ),
    insert_lone=_insert_lone(", ".join(["%s"] * len(LONE.split(", ")))),
    end_unique=(
        f"UPDATE {JOBS} SET unique_key = NULL, unique_until = NULL WHERE unique_until <= %s "
        "AND unique_key IN (SELECT value FROM json_each(%s))"
    ),
    select=f"SELECT {COLUMNS} FROM {JOBS} WHERE job_id IN (SELECT value FROM json_each(%s))",
    select_whole=(
        f"SELECT {COLUMNS}, (SELECT json_group_array(json_object({_SQLITE_ATTEMPT})) FROM {RESULTS} AS r "
        f"WHERE r.job_id = {JOBS}.id) AS attempts FROM {JOBS} WHERE job_id IN (SELECT value FROM json_each(%s))"
    ),
    select_unique=f"SELECT {COLUMNS} FROM {JOBS} WHERE unique_key IN (SELECT value FROM json_each(%s))",
    results=(
        f"SELECT {RESULT_COLUMNS} FROM {RESULTS} WHERE job_id IN (SELECT value FROM json_each(%s)) ORDER BY job_id, id"
    ),
    claim=(
        f"UPDATE {JOBS} SET status = 'in_progress', owner = %s, start_time = %s, attempt = COALESCE(attempt, 0) + 1, "
        f"progress = NULL, progress_message = NULL, unique_key = {KEY_AFTER_START} "
        "WHERE job_id IN (SELECT value FROM json_each(%s)) AND status IN ('queued', 'deferred') "
        f"AND COALESCE(deliveries, 0) < CAST(%s AS INT) AND NOT {IS_DISABLED.format(task=f'{JOBS}.task')} "
        f"RETURNING {COLUMNS}"
    ),
    insert_results=_SQLITE_INSERT_RESULTS,
    record=Procedure(_record_in_sqlite),
    record_successes=Procedure(_record_successes_in_sqlite),
    cancel=(f"{_CANCEL} WHERE job_id IN (SELECT value FROM json_each(%s)) AND {OPEN} RETURNING {COLUMNS}"),
    cancel_task=(
        f"{_CANCEL} WHERE id IN (SELECT id FROM {JOBS} WHERE task = %s AND {OPEN} ORDER BY id LIMIT {_SQLITE_NUMBER}) "
        f"AND {OPEN} RETURNING {COLUMNS}"
    ),
    progress=(
        f"UPDATE {JOBS} SET progress = x.progress, progress_message = x.progress_message FROM (SELECT "
        f"{', '.join(f'{_json(name)} AS {name}' for name in ('id', 'attempt', 'progress', 'progress_message'))} "
        f"FROM json_each(%s)) AS x "
        f"WHERE {JOBS}.id = x.id AND {JOBS}.attempt = x.attempt AND {JOBS}.status = 'in_progress'"
    ),
    page=f"SELECT {COLUMNS} FROM {JOBS} WHERE id > %s AND enqueue_time >= %s ORDER BY id LIMIT %s",
    open_page=f"SELECT {OPEN_COLUMNS} FROM {JOBS} WHERE id > %s AND {OPEN} ORDER BY id LIMIT %s",
    open_counts=OPEN_COUNTS,
    open_ids=f"SELECT job_id FROM {JOBS} WHERE job_id IN (SELECT value FROM json_each(%s)) AND {OPEN}",
    old=(
        f"SELECT j.id, j.enqueue_time, {has_ended('%s')} AS ended FROM {JOBS} AS j "
        f"WHERE (j.enqueue_time, j.id) > (%s, {_SQLITE_NUMBER}) AND j.enqueue_time < %s "
        f"ORDER BY j.enqueue_time, j.id LIMIT {_SQLITE_NUMBER}"
    ),
    count_results=f"SELECT count(*) AS number FROM {RESULTS} WHERE job_id {_SQLITE_IDS}",
    delete_results=(
        f"DELETE FROM {RESULTS} WHERE id IN (SELECT id FROM {RESULTS} WHERE job_id {_SQLITE_IDS} "
        f"LIMIT {_SQLITE_NUMBER}) RETURNING id"
    ),
    delete_jobs=(
        f"DELETE FROM {JOBS} AS j WHERE j.id {_SQLITE_IDS} AND {IS_FINAL} "
        f"AND NOT EXISTS (SELECT 1 FROM {RESULTS} AS r WHERE r.job_id = j.id) RETURNING id"
    ),
    kept=(
        f"SELECT j.job_id FROM {JOBS} AS j WHERE j.job_id {_SQLITE_IDS} "
        f"AND NOT (j.enqueue_time < %s AND {has_ended('%s')})"
    ),
    disable=_switch_off("disabled_since"),
    enable=switch_on("disabled_since"),
    pause=_switch_off("paused_since"),
    resume=switch_on("paused_since"),
    tasks=ALL_TASKS,
    note_firings=(
        f"INSERT INTO {TASKS} (name, fired_until, fired_job) SELECT {_json('name', 'fired_until', 'fired_job')} "
        f"FROM json_each(%s) WHERE true {_NOTED}"  # "WHERE true" tells SQLite's parser that ON is no join's
    ),
    edit=_edit("%s", "%s", "%s"),
)
