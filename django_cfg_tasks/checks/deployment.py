"""What is doubtful where a project runs, for ``manage.py check --deploy``.

Redis is asked, for some seconds at most; an embedded one is not, as that would start it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django.core import checks

from django_cfg_tasks import conf
from django_cfg_tasks.config import RearqConfig, mask_url
from django_cfg_tasks.exceptions import BrokerUnavailableError, ConfigurationError
from django_cfg_tasks.registry import tasks

if TYPE_CHECKING:  # every process of a project registers checks, and few ask
    from django_cfg_tasks.broker import ServerSettings
    from django_cfg_tasks.client import ReArqClient
    from django_cfg_tasks.live import WorkerState

LOCAL_BACKEND = "django_cfg_tasks.E006"
SQLITE = "django_cfg_tasks.W005"
NO_ANSWER = "django_cfg_tasks.W006"
NO_WORKER = "django_cfg_tasks.W007"
UNSERVED_QUEUE = "django_cfg_tasks.W008"
NO_TIMER = "django_cfg_tasks.W009"
EVICTION = "django_cfg_tasks.W010"
NO_PERSISTENCE = "django_cfg_tasks.W011"
UNTOLD = "django_cfg_tasks.I001"

ANSWER_SECONDS = 4.0
"""How long Redis may take; `live` has a little more patience, and could not say who did not answer."""
_MOST_NAMES = 3


def check_deployment(app_configs: Iterable[Any] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Report where jobs would be lost (E006), wait, or be lost from Redis (W005 to W011).

    Nothing of what `configuration` reports.
    """
    try:
        config = conf.get_config()
    except ConfigurationError:
        return []
    if not config.enabled or tasks.fault is not None:
        return []
    if config.backend != "rearq":
        return [
            checks.Error(
                f"TaskConfig.backend = {config.backend!r} is for tests: jobs are kept in the memory of the process "
                "that enqueues them, and are lost with it.",
                hint='Leave backend out, or set backend="rearq".',
                id=LOCAL_BACKEND,
            )
        ]
    found = list(_sqlite(config.rearq))
    if not config.rearq.redis_url.startswith("embedded://") or config.rearq.sentinels:
        found += _redis(config.rearq)
    return found


def _sqlite(config: RearqConfig) -> Iterator[checks.CheckMessage]:
    if conf.debug():
        return
    where = "RearqConfig.db_url" if config.db_url else f"DATABASES[{conf.DATABASE_ALIAS!r}]"
    kind = config.db_url or str(conf.django_database()["ENGINE"])
    if "sqlite" in kind.partition("://")[0]:
        yield checks.Warning(
            f"Jobs are kept in SQLite ({where}), and DEBUG is off: it serves one machine, and one writer at a time.",
            hint="Keep jobs in PostgreSQL: as Django's database, or by RearqConfig.db_url.",
            id=SQLITE,
        )


def _redis(config: RearqConfig) -> Iterator[checks.CheckMessage]:
    from django_cfg_tasks import live

    where = ", ".join(config.sentinels) or mask_url(config.redis_url)
    try:
        workers, settings = live.ask(_look)
    except (BrokerUnavailableError, ConfigurationError) as error:
        text = str(error)
        yield checks.Warning(
            text if where in text else f"Redis ({where}) can't be used now: {text}",
            hint="Start Redis, or correct RearqConfig.redis_url. Until then jobs wait.",
            id=NO_ANSWER,
        )
        return
    yield from _consumers(workers, where)
    yield from _keeping(settings, where)


async def _look(client: ReArqClient) -> tuple[list[WorkerState], ServerSettings]:
    from django_cfg_tasks import live

    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await live.workers(client), await client.broker.settings()
    except TimeoutError:
        raise BrokerUnavailableError(f"No answer in {ANSWER_SECONDS:g} s.") from None


def _consumers(peers: Sequence[WorkerState], where: str) -> Iterator[checks.CheckMessage]:
    by_queue: dict[str, list[str]] = {}
    for task in tasks:
        by_queue.setdefault(task.options.queue, []).append(task.name)
    workers = [peer for peer in peers if peer.alive and peer.kind == "worker"]
    served = {queue for worker in workers for queue in worker.queues}
    if by_queue and not workers:
        queues = " ".join(f"--queue {queue}" for queue in sorted(by_queue))
        yield checks.Warning(
            f"Redis ({where}) knows of no worker that is alive: jobs are accepted, and wait.",
            hint=f"Start one: rearq main:rearq worker {queues}",
            id=NO_WORKER,
        )
    elif workers:
        for queue in sorted(by_queue.keys() - served):
            yield checks.Warning(
                f"No worker that is alive consumes the queue {queue!r}: jobs of {_listed(by_queue[queue])} wait.",
                hint=f"Start one: rearq main:rearq worker --queue {queue}",
                id=UNSERVED_QUEUE,
            )
    if by_queue and not any(peer.alive and peer.kind == "timer" for peer in peers):
        yield checks.Warning(
            f"Redis ({where}) knows of no timer that is alive: cron tasks, delayed jobs and retries wait.",
            hint="Start one: rearq main:rearq timer, or a worker with --with-timer.",
            id=NO_TIMER,
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(sorted(names)[:_MOST_NAMES]) + more


def _keeping(settings: ServerSettings, where: str) -> Iterator[checks.CheckMessage]:
    if settings.eviction not in (None, "noeviction"):
        yield checks.Warning(
            f"Redis ({where}) has maxmemory-policy = {settings.eviction!r}: when memory runs short it deletes keys, "
            "and with them which jobs are due, who holds a lock, or that a worker lives.",
            hint="Set maxmemory-policy to noeviction. It then refuses writes instead, and jobs wait in SQL for room.",
            id=EVICTION,
        )
    if settings.appends is False and settings.snapshots is False:
        yield checks.Warning(
            f"Redis ({where}) has appendonly = 'no' and save = '': with a restart it forgets everything.",
            hint="Set appendonly to yes. Without it, jobs wait until a timer has rung for them again, from SQL, and "
            "what held locks and limits holds them no more.",
            id=NO_PERSISTENCE,
        )
    untold = [
        *(["maxmemory-policy"] if settings.eviction is None else []),
        *(["appendonly"] if settings.appends is None else []),
        *(["save"] if settings.snapshots is None and not settings.appends else []),
    ]
    if untold:
        yield checks.Info(
            f"Redis ({where}) does not tell this user: {', '.join(untold)}.",
            hint="See for yourself that it has maxmemory-policy noeviction and appendonly yes, or give the user the "
            "rights: ACL SETUSER … +config|get +info.",
            id=UNTOLD,
        )
