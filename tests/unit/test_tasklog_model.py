"""TaskLog as those who read it know it: statuses, filters, indexes."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, transaction

from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.models import STATUS_LABELS, TaskLog
from tests.records import NOON

COMPLETED = {JobStatus.success, JobStatus.failed, JobStatus.expired, JobStatus.canceled}


def log(status: JobStatus, **changes: Any) -> TaskLog:
    fields = {"job_id": f"job-{status}", "task_name": "send_email", "queue_name": "default", "enqueue_time": NOON}
    return TaskLog(status=status.value, **fields | changes)


@pytest.mark.parametrize("status", list(JobStatus))
def test_properties(status: JobStatus) -> None:
    row = log(status)
    assert row.is_completed is (status in COMPLETED)
    assert row.is_successful is (status is JobStatus.success)
    assert row.is_failed is (status is JobStatus.failed)
    assert row.get_status_display() == STATUS_LABELS[status]
    assert str(row) == f"send_email [job-{status}]: {status}"


@pytest.mark.django_db
def test_filters() -> None:
    TaskLog.objects.bulk_create([log(status) for status in JobStatus])

    def found(rows: Any) -> set[str]:
        return set(rows.values_list("status", flat=True))

    assert found(TaskLog.objects.completed()) == COMPLETED
    assert found(TaskLog.objects.successful()) == {"success"}
    assert found(TaskLog.objects.failed()) == {"failed"}
    assert found(TaskLog.objects.in_progress()) == {"in_progress"}
    assert found(TaskLog.objects.filter(queue_name="default").completed()) == COMPLETED


@pytest.mark.django_db
def test_one_row_for_a_job() -> None:
    log(JobStatus.queued).save()
    with pytest.raises(IntegrityError), transaction.atomic():
        log(JobStatus.queued).save()


@pytest.mark.django_db
def test_a_row_saved_by_hand_has_defaults_and_times() -> None:
    row = log(JobStatus.queued)
    row.save()
    row.refresh_from_db()
    assert (row.args, row.kwargs, row.result, row.attempts) == ([], {}, None, [])
    assert (row.success, row.user, row.progress, row.revision) == (None, None, None, 0)
    assert row.created_at is not None
    assert row.updated_at is not None


@pytest.mark.django_db
def test_history_outlives_its_user(django_user_model: Any) -> None:
    user = django_user_model.objects.create_user("ann")
    log(JobStatus.success, user=user).save()
    assert user.task_logs.count() == 1
    user.delete()
    assert TaskLog.objects.get().user is None


@pytest.mark.django_db
def test_newest_first() -> None:
    TaskLog.objects.bulk_create([log(JobStatus.queued, job_id=str(number)) for number in range(3)])
    assert list(TaskLog.objects.values_list("job_id", flat=True)) == ["2", "1", "0"]


def test_where_it_lives() -> None:
    assert apps.get_app_config("tasks").name == "django_cfg_tasks"
    assert TaskLog._meta.db_table == "django_cfg_task_log"
    assert TaskLog._meta.app_label == "tasks"
    assert [index.fields for index in TaskLog._meta.indexes][:6] == [
        ["task_name", "-enqueue_time"],
        ["status", "-enqueue_time"],
        ["queue_name", "status"],
        ["success", "-enqueue_time"],
        ["-created_at"],
        ["-enqueue_time", "-id"],
    ]
