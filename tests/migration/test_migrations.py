"""The migrations make exactly what the models say, under any DEFAULT_AUTO_FIELD."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from django_cfg_tasks.models import MESSAGE_WORDS, TaskLog

INDEXES = {
    "cfg_task_log_task_enqueued": ["task_name", "enqueue_time"],
    "cfg_task_log_status_enqueued": ["status", "enqueue_time"],
    "cfg_task_log_queue_status": ["queue_name", "status"],
    "cfg_task_log_success_enqueued": ["success", "enqueue_time"],
    "cfg_task_log_created": ["created_at"],
    "cfg_task_log_enqueued_id": ["enqueue_time", "id"],
    "cfg_task_log_enqueued": ["enqueue_time"],
    "cfg_task_log_user_enqueued": ["user_id", "enqueue_time"],
    "cfg_task_log_queue_enqueued": ["queue_name", "enqueue_time"],
    "cfg_task_log_worker_enqueued": ["worker_id", "enqueue_time"],
    "cfg_task_log_finished_id": ["finish_time", "id"],
    "cfg_task_log_duration_id": ["duration_ms", "id"],
    "cfg_task_log_retries_enqueued": ["job_retries", "enqueue_time"],
    "cfg_task_log_error_enqueued": ["error_class", "enqueue_time"],
    "cfg_task_log_errors": ["enqueue_time", "id"],
    "cfg_task_log_retry_of": ["retry_of"],
}


@pytest.mark.django_db
@pytest.mark.parametrize("auto_field", ["BigAutoField", "AutoField", "SmallAutoField"])
def test_none_is_missing(auto_field: str, settings: Any) -> None:
    settings.DEFAULT_AUTO_FIELD = f"django.db.models.{auto_field}"
    call_command("makemigrations", "tasks", check=True, dry_run=True, verbosity=0)


@pytest.mark.django_db
@pytest.mark.parametrize("language", ["de", "fr"])
def test_none_is_missing_in_another_language(language: str, settings: Any) -> None:
    settings.LANGUAGE_CODE = language
    call_command("makemigrations", "tasks", check=True, dry_run=True, verbosity=0)


@pytest.mark.django_db
def test_the_database_has_the_named_indexes() -> None:
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, TaskLog._meta.db_table)
    found = {name: constraints[name] for name in INDEXES}
    assert {name: index["columns"] for name, index in found.items()} == INDEXES
    assert found["cfg_task_log_enqueued_id"]["orders"] == ["DESC", "DESC"]
    assert found["cfg_task_log_task_enqueued"]["orders"] == ["ASC", "DESC"]
    assert any(c["unique"] and c["columns"] == ["job_id"] for c in constraints.values())


@pytest.mark.django_db
def test_the_database_has_no_index_that_nobody_asked_for() -> None:
    """Each is written when a job is enqueued and when it ends, whether anybody reads it or not."""
    assert set(_indexes()) == set(INDEXES) | ({"cfg_task_log_error_words"} & set(_indexes()))


@pytest.mark.django_db(transaction=True)
def test_indexes_that_are_dropped_are_made_again_on_the_way_back() -> None:
    now = _indexes()
    call_command("migrate", "tasks", "0010", verbosity=0)
    try:
        before = _indexes()
        assert {name: before[name] for name in now} == now
        more = sorted(columns for name, columns in before.items() if name not in now)
        assert more == ([["job_id"], ["user_id"]] if connection.vendor == "postgresql" else [["user_id"]])
    finally:
        call_command("migrate", "tasks", verbosity=0)
    assert _indexes() == now


def _indexes() -> dict[str, list[str]]:
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, TaskLog._meta.db_table)
    return {
        name: constraint["columns"]
        for name, constraint in constraints.items()
        if constraint["index"] and not constraint["unique"] and not constraint["primary_key"]
    }


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor == "mysql", reason="its plans are told otherwise")
@pytest.mark.parametrize(
    ("condition", "index"),
    [
        ({"user": 7}, "cfg_task_log_user_enqueued"),
        ({"user__in": [7, 8]}, "cfg_task_log_user_enqueued"),  # as Django asks before it deletes users
        ({"job_id__gte": "a", "job_id__lt": "b"}, "job_id"),  # as the search for a job's beginning
    ],
)
def test_users_and_job_ids_are_found_by_an_index(condition: dict[str, Any], index: str) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
    assert index in re.search(
        r"(?:INDEX|Index Scan using|Index Scan on|Index Only Scan using) (\w+ ?\(?\w*)",
        TaskLog.objects.order_by().filter(**condition).explain(),
    ).group(1)


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL has an index of words")
def test_the_index_of_words_is_the_one_that_search_asks_for() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        words = f"{MESSAGE_WORDS} @@ to_tsquery('simple', 'paper')"
        cursor.execute(f"EXPLAIN SELECT id FROM django_cfg_task_log WHERE error_class > '' AND {words}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "cfg_task_log_error_words" in plan


@pytest.mark.django_db
def test_a_delete_of_a_user_is_never_refused_for_the_log() -> None:
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, TaskLog._meta.db_table)
    assert not [name for name, constraint in constraints.items() if constraint["foreign_key"]]


def test_index_names_fit_every_database() -> None:
    assert {index.name for index in TaskLog._meta.indexes} == set(INDEXES)
    assert all(len(name) <= 30 for name in INDEXES)
