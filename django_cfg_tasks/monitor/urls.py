"""The addresses, which are ReArq's, and those of the login and of the forms."""

from django.urls import path

from django_cfg_tasks.monitor import data, login, pages, posts
from django_cfg_tasks.monitor.doors import open_to_all

urlpatterns = [
    path("", pages.dashboard, name="dashboard"),
    path("worker", data.by_method(GET=pages.workers, DELETE=data.remove_worker), name="workers"),
    path("worker/log", data.worker_log, name="worker_log"),
    path("task", data.by_method(GET=pages.tasks_page, PUT=data.switch_task), name="tasks"),
    path(
        "job",
        data.by_method(GET=pages.jobs, POST=data.add_job, PUT=data.edit_job, DELETE=data.remove_jobs),
        name="jobs",
    ),
    path("job/data", data.by_method(GET=data.jobs)),
    path("job/result", data.by_method(GET=data.result_of_job)),
    path("job/cancel", data.by_method(PUT=data.cancel_job)),
    path("result", data.by_method(GET=pages.results, DELETE=data.remove_jobs), name="results"),
    path("result/data", data.by_method(GET=data.results)),
    path("act/<str:name>", posts.act, name="act"),
    path("login", login.log_in, name="login"),
    path("logout", login.log_out, name="logout"),
    path("assets/<str:name>", open_to_all(pages.asset), name="asset"),
    path("favicon.ico", open_to_all(pages.favicon)),
]
handler400 = "django_cfg_tasks.monitor.pages.bad_request"
handler403 = "django_cfg_tasks.monitor.pages.forbidden"
handler404 = "django_cfg_tasks.monitor.pages.not_found"
handler500 = "django_cfg_tasks.monitor.pages.broken"
