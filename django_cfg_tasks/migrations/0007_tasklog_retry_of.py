"""The link of a job to the one that it runs again."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks", "0006_paused_schedules"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="tasklog",
            name="retry_of",
            field=models.CharField(
                blank=True,
                default="",
                help_text="The job that this one runs again.",
                max_length=200,
                verbose_name="retry of",
            ),
        ),
        migrations.AddIndex(
            model_name="tasklog",
            index=models.Index(
                condition=models.Q(("retry_of__gt", "")), fields=["retry_of"], name="cfg_task_log_retry_of"
            ),
        ),
    ]
