"""TaskLog: the history of jobs that people read.

A projection of the jobs' own tables, kept by `recorder.py` alone and rebuilt by ``manage.py tasks_sync``;
nothing decides by it what is run.
"""

from __future__ import annotations

from typing import Any, Self

from django.conf import settings
from django.core.checks import CheckMessage
from django.db import models
from django.utils.translation import gettext_lazy as _

from django_cfg_tasks.jobs import FINAL, MAX_NAME, MAX_QUEUE_NAME, JobStatus

STATUS_LABELS = {
    JobStatus.deferred: _("Deferred"),
    JobStatus.queued: _("Queued"),
    JobStatus.in_progress: _("In progress"),
    JobStatus.success: _("Success"),
    JobStatus.failed: _("Failed"),
    JobStatus.expired: _("Expired"),
    JobStatus.canceled: _("Canceled"),
}

NEWEST_FIRST = ("-enqueue_time", "-id")
HAS_ERROR = models.Q(error_class__gt="")
"""Of rows whose job has failed, or may be tried again after an error. Indexes have just this condition."""
MESSAGE_WORDS = "to_tsvector('simple', left(error_message, 10000))"
"""What PostgreSQL's index of the words of error messages holds. (Longer ones could be too much for one entry.)"""


class TaskLogQuerySet(models.QuerySet["TaskLog"]):
    """TaskLog rows, narrowed down by how their jobs stand."""

    def completed(self) -> Self:
        """Jobs that will never run again, however they ended."""
        return self.filter(status__in=[status.value for status in FINAL])

    def successful(self) -> Self:
        """Jobs that ended well."""
        return self.filter(status=JobStatus.success.value)

    def failed(self) -> Self:
        """Jobs whose last attempt failed; those that expired or were canceled are not among them."""
        return self.filter(status=JobStatus.failed.value)

    def in_progress(self) -> Self:
        """Jobs that a worker is running."""
        return self.filter(status=JobStatus.in_progress.value)


class TaskLog(models.Model):
    """One job: what was asked, how it went, what came of it."""

    job_id = models.CharField(_("job ID"), max_length=MAX_NAME, unique=True)
    task_name = models.CharField(_("task"), max_length=MAX_NAME)
    queue_name = models.CharField(_("queue"), max_length=MAX_QUEUE_NAME)
    args = models.JSONField(_("positional arguments"), default=list, blank=True)
    kwargs = models.JSONField(_("keyword arguments"), default=dict, blank=True)
    # No constraint in the database: a history must not make the application's own delete of a user fail,
    # nor wait for a lock on the user's row. Deleting through the ORM still sets it to NULL.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,  # it is the first column of an index below
        related_name="task_logs",
        verbose_name=_("user"),
        help_text=_("For whom the job was enqueued."),
    )

    status = models.CharField(
        _("status"),
        max_length=20,
        choices=[(status.value, label) for status, label in STATUS_LABELS.items()],
        default=JobStatus.queued.value,
    )
    success = models.BooleanField(_("success"), null=True, help_text=_("Unknown until the job has ended."))
    worker_id = models.CharField(_("worker"), max_length=MAX_NAME, blank=True, default="")
    job_retry = models.IntegerField(_("retries allowed"), default=0)
    job_retries = models.IntegerField(_("retries used"), default=0)
    job_retry_after = models.IntegerField(_("pause before a retry"), default=0, help_text=_("Seconds."))
    retry_of = models.CharField(
        _("retry of"), max_length=MAX_NAME, blank=True, default="", help_text=_("The job that this one runs again.")
    )
    progress = models.FloatField(_("progress"), null=True, blank=True, help_text=_("From 0 to 1."))
    progress_message = models.TextField(_("progress message"), blank=True, default="")

    result = models.JSONField(_("result"), null=True, blank=True)
    error_class = models.CharField(_("error class"), max_length=255, blank=True, default="")
    error_message = models.TextField(_("error message"), blank=True, default="")
    traceback = models.TextField(_("traceback"), blank=True, default="")
    attempts = models.JSONField(
        _("attempts"), default=list, blank=True, help_text=_("Each run: worker, times, outcome, error.")
    )

    enqueue_time = models.DateTimeField(_("enqueued"))
    expire_time = models.DateTimeField(_("expires"), null=True, blank=True)
    start_time = models.DateTimeField(_("started"), null=True, blank=True)
    finish_time = models.DateTimeField(_("finished"), null=True, blank=True)
    duration_ms = models.BigIntegerField(
        _("duration"), null=True, blank=True, help_text=_("Milliseconds that the last attempt ran.")
    )
    created_at = models.DateTimeField(_("row created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("row updated"), auto_now=True)
    revision = models.IntegerField(_("revision"), default=0, editable=False)

    objects = TaskLogQuerySet.as_manager()

    class Meta:
        db_table = "django_cfg_task_log"
        ordering = list(NEWEST_FIRST)
        verbose_name = _("task log")
        verbose_name_plural = _("task logs")
        # Of whoever acts on jobs and tasks; to look at them is Django's own view permission.
        permissions = [
            ("retry_tasklog", "Can run jobs again"),
            ("cancel_tasklog", "Can cancel jobs"),
            ("run_tasklog", "Can enqueue jobs"),
            ("manage_tasklog", "Can switch tasks and schedules off and on"),
        ]
        indexes = [
            models.Index(fields=["task_name", "-enqueue_time"], name="cfg_task_log_task_enqueued"),
            models.Index(fields=["status", "-enqueue_time"], name="cfg_task_log_status_enqueued"),
            models.Index(fields=["queue_name", "status"], name="cfg_task_log_queue_status"),
            models.Index(fields=["success", "-enqueue_time"], name="cfg_task_log_success_enqueued"),
            models.Index(fields=["-created_at"], name="cfg_task_log_created"),
            models.Index(fields=["-enqueue_time", "-id"], name="cfg_task_log_enqueued_id"),
            # What the API filters and orders by.
            # Of one column, PostgreSQL knows that its rows lie in its order: a day of millions is read by it.
            models.Index(fields=["enqueue_time"], name="cfg_task_log_enqueued"),
            models.Index(fields=["queue_name", "-enqueue_time"], name="cfg_task_log_queue_enqueued"),
            models.Index(fields=["worker_id", "-enqueue_time"], name="cfg_task_log_worker_enqueued"),
            models.Index(fields=["finish_time", "id"], name="cfg_task_log_finished_id"),
            models.Index(fields=["duration_ms", "id"], name="cfg_task_log_duration_id"),
            models.Index(
                fields=["user", "-enqueue_time"],
                name="cfg_task_log_user_enqueued",
                condition=models.Q(user__isnull=False),
            ),
            models.Index(
                fields=["job_retries", "-enqueue_time"],
                name="cfg_task_log_retries_enqueued",
                condition=models.Q(job_retries__gt=0),
            ),
            models.Index(
                fields=["error_class", "-enqueue_time"], name="cfg_task_log_error_enqueued", condition=HAS_ERROR
            ),
            models.Index(fields=["-enqueue_time", "-id"], name="cfg_task_log_errors", condition=HAS_ERROR),
            models.Index(fields=["retry_of"], name="cfg_task_log_retry_of", condition=models.Q(retry_of__gt="")),
        ]

    def __str__(self) -> str:
        return f"{self.task_name} [{self.job_id}]: {self.status}"

    @classmethod
    def check(cls, **kwargs: Any) -> list[CheckMessage]:
        """Say nothing of the indexes of some rows, which MySQL makes of all rows: they serve as well there."""
        return [message for message in super().check(**kwargs) if message.id != "models.W037"]

    @property
    def is_completed(self) -> bool:
        """Whether the job will never run again."""
        return self.status in FINAL

    @property
    def is_successful(self) -> bool:
        """Whether the job ended well."""
        return self.status == JobStatus.success

    @property
    def is_failed(self) -> bool:
        """Whether the job's last attempt failed."""
        return self.status == JobStatus.failed


class PurgedLogs(models.Model):
    """How many rows of the task log retention has deleted, so that counts of all jobs ever never fall."""

    queue_name = models.CharField(max_length=MAX_QUEUE_NAME)
    status = models.CharField(max_length=20)
    number = models.BigIntegerField(default=0)

    class Meta:
        db_table = "django_cfg_task_purged"
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["queue_name", "status"], name="cfg_task_purged_unique")]

    def __str__(self) -> str:
        return f"{self.queue_name}, {self.status}: {self.number}"


class Dashboard(TaskLog):
    """Nothing of its own: what the admin hangs the address and the name of its dashboard on."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("dashboard")
        verbose_name_plural = _("dashboard")
