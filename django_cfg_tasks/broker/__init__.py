"""The only room that issues Redis commands.

Redis is the doorbell: it says which job is due where, and can be rebuilt from SQL. What is raised when it is
out of reach is BrokerUnavailableError; nothing is lost by it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, NoReturn, TypeVar

import redis.asyncio
from redis import exceptions

from django_cfg_tasks.broker import keys
from django_cfg_tasks.broker.census import PAGE, Census, CensusTaker
from django_cfg_tasks.broker.connection import ANSWER_SECONDS, async_client, close_client, has_moved, master_of
from django_cfg_tasks.broker.doorbell import Doorbell
from django_cfg_tasks.broker.faults import explained, is_missing_group
from django_cfg_tasks.broker.gates import Admission, Applicant, Gate, Gatekeeper, Place
from django_cfg_tasks.broker.line import Line
from django_cfg_tasks.broker.messages import Backlog, Bell, Entry, Peer, Promotion, Settlement, bell_of, entries_of
from django_cfg_tasks.broker.reader import BlockingReader
from django_cfg_tasks.broker.ringing import ringing, script
from django_cfg_tasks.broker.settings import ServerSettings, settings_of
from django_cfg_tasks.config import RearqConfig
from django_cfg_tasks.exceptions import BrokerUnavailableError, ConfigurationError

__all__ = [
    "Admission",
    "Applicant",
    "Backlog",
    "Bell",
    "BlockingReader",
    "Broker",
    "Census",
    "Doorbell",
    "Entry",
    "Gate",
    "Peer",
    "Place",
    "Promotion",
    "ServerSettings",
    "Settlement",
    "bell_of",
    "is_missing_group",
    "script",
]

logger = logging.getLogger("django_cfg_tasks.broker")

T = TypeVar("T")

LISTEN_SECONDS = 15.0
BELLS = 500
"""How many bells one script rings: for so long Redis does nothing else."""
_SCRIPTS = ("fetch", "take_over", "settle", "groups", "delivered", "promote", "renew", "release", "gates", "backlog")


class Broker:
    """Redis, as the home loop sees it."""

    def __init__(self, config: RearqConfig) -> None:
        self._config = config
        self._client: redis.asyncio.Redis | None = None
        self._scripts: dict[str, Any] = {}
        self._line = Line(lambda: self.client)

    @property
    def client(self) -> redis.asyncio.Redis:
        """The client for plain commands; it connects at its first use."""
        if self._client is None:
            self._client = async_client(self._config)
            self._scripts = {name: self._client.register_script(script(name)) for name in _SCRIPTS}
        return self._client

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        await self._line.close()
        if client is not None:
            await close_client(client)

    @property
    def master(self) -> str | None:
        """Where the Sentinels last said that the master is (``host:port``); None without Sentinels."""
        return master_of(self._config)

    async def ping(self) -> str:
        """Return the server's version; BrokerUnavailableError if it can't be reached."""
        info = await self._ask(self.client.info("server"))
        return str(info["redis_version"])

    async def settings(self) -> ServerSettings:
        """Return what decides whether the server keeps what it is given."""
        return await self._ask(settings_of(self.client))

    async def ring(self, bells: Sequence[Bell]) -> None:
        """Make jobs known to workers: now, or when they are due. A bell may be rung twice where Redis was away."""
        if len(bells) == 1 and bells[0].due_ms is None:
            await self._ask(self._line.say([("XADD", keys.stream(bells[0].queue), "*", "job_id", bells[0].job_id)]))
            return
        pages = [bells[start : start + BELLS] for start in range(0, len(bells), BELLS)]
        shards = self._config.delay_queue_num
        await self._ask(self._line.run(script("ring"), [json.dumps(ringing(page, shards)) for page in pages]))

    async def settle(self, settlement: Settlement, group: str) -> None:
        """Acknowledge and delete entries, ring for retries, tell who waits: all or nothing. May be repeated.

        Works while Redis is out of memory as well, as acknowledgements give some back.
        """
        _ = self.client
        acknowledged: dict[str, list[str]] = {}
        for entry in settlement.entries:
            acknowledged.setdefault(keys.stream(entry.queue), []).append(entry.msg_id)
        told = ringing(settlement.bells, self._config.delay_queue_num)
        if settlement.finished:
            told["messages"].insert(0, [keys.FINISHED_CHANNEL, json.dumps(settlement.finished)])
        what = {"acknowledged": [[stream, *ids] for stream, ids in acknowledged.items()], **told}
        await self._ask(self._scripts["settle"](args=[group, json.dumps(what)]))

    async def announce_canceled(self, running: Iterable[tuple[str, str]], job_ids: Sequence[str]) -> None:
        """Tell workers to cancel the jobs that run (task and id of each), and those who wait for any of ``job_ids``."""
        pipe = self.client.pipeline(transaction=False)
        for task, job_id in running:  # in ReArq's own words
            message = {"type": "cancel_task", "task_name": task, "job_id": job_id}
            pipe.publish(keys.CHANNEL, json.dumps(message))
        pipe.publish(keys.FINISHED_CHANNEL, json.dumps(list(job_ids)))
        await self._ask(pipe.execute())

    async def create_groups(self, queues: Iterable[str], group: str) -> None:
        """Make the group on every stream, from its beginning: what was rung before any worker is delivered."""
        _ = self.client
        await self._ask(self._scripts["groups"](keys=keys.streams(queues), args=[group]))

    async def fetch(
        self, queues: Sequence[str], group: str, consumer: str, count: int, shares: Mapping[str, int] | None = None
    ) -> list[Entry]:
        """Return up to ``count`` new entries, earlier queues first, without waiting.

        So many of a queue as it has in ``shares``, ``count`` at most in all, are among them whatever waits before it.
        """
        _ = self.client
        numbered = [(queues.index(queue) + 1, share) for queue, share in (shares or {}).items()]
        flat = await self._ask(
            self._scripts["fetch"](keys=keys.streams(queues), args=[group, consumer, count, *chain(*numbered)])
        )
        return _entries(json.loads(flat))

    async def take_over(self, queues: Sequence[str], group: str, consumer: str, count: int) -> list[Entry]:
        """Make up to ``count`` entries of dead consumers ours, and return them."""
        _ = self.client
        flat = await self._ask(
            self._scripts["take_over"](
                keys=[keys.PULSE, keys.GRACE, *keys.streams(queues)],
                args=[group, consumer, count, f"{keys.ALIVE_PREFIX}{group}-"],
            )
        )
        return _entries(flat)

    async def own(self, queues: Sequence[str], group: str, consumer: str) -> list[Entry]:
        """Return all entries that this consumer was given and has not acknowledged."""
        found: list[Entry] = []
        for stream in keys.streams(queues):
            after = "0"
            while page := await self._given(stream, group, consumer, after):
                found += page
                after = page[-1].msg_id
        return found

    async def _given(self, stream: str, group: str, consumer: str, after: str) -> list[Entry]:
        return entries_of(await self._ask(self.client.xreadgroup(group, consumer, {stream: after}, count=500)))

    async def dead(self, names: Iterable[str]) -> set[str] | None:
        """Return which of these workers are dead; None while that can't be told (see ``heartbeat.lua``)."""
        asked = list(names)
        pipe = self.client.pipeline(transaction=True)
        pipe.exists(keys.PULSE)
        pipe.exists(keys.GRACE)
        for name in asked:
            pipe.exists(keys.ALIVE_PREFIX + name)
        pulse, grace, *alive = await self._ask(pipe.execute())
        if not pulse or grace:
            return None
        return {name for name, lives in zip(asked, alive, strict=True) if not lives}

    async def workers(self) -> list[Peer]:
        """Return all workers and timers that have put themselves on the list, by name."""
        lines = await self._ask(self.client.hgetall(keys.WORKERS))
        names = sorted(lines)
        pipe = self.client.pipeline(transaction=False)
        for name in names:
            pipe.exists(keys.ALIVE_PREFIX + name)
        alive = await self._ask(pipe.execute()) if names else []
        return [Peer(name, bool(lives), _line(lines[name])) for name, lives in zip(names, alive, strict=True)]

    async def forget_workers(self, names: Sequence[str]) -> int:
        """Take workers off the list; return how many were on it."""
        return int(await self._ask(self.client.hdel(keys.WORKERS, *names))) if names else 0

    async def depths(self, queues: Sequence[str]) -> dict[str, int]:
        """Return how many entries each queue's streams hold: those that wait, and those that run."""
        pipe = self.client.pipeline(transaction=False)
        for stream in keys.streams(queues):
            pipe.xlen(stream)
        lengths = await self._ask(pipe.execute()) if queues else []
        return dict(zip(queues, map(sum, zip(lengths[::2], lengths[1::2], strict=True)), strict=True))

    async def backlogs(self, queues: Sequence[str], group: str) -> dict[str, Backlog]:
        """Return what is in the streams of each queue, all of it at one moment."""
        if not queues:
            return {}
        _ = self.client
        flat = await self._ask(self._scripts["backlog"](keys=keys.streams(queues), args=[group]))
        found = {}
        for queue, start in zip(queues, range(0, len(flat), 6), strict=True):
            called, waited, called_delivered, ready, ready_waited, delivered = flat[start : start + 6]
            ages = [float(age) / 1000 for age in (waited, ready_waited) if age != ""]
            found[queue] = Backlog(called + ready, max(ages, default=None), called_delivered + delivered)
        return found

    async def take_census(self, queues: Iterable[str], groups: Iterable[str]) -> Census:
        """Find out which jobs Redis knows of: in the delayed sets, and in the streams as ``groups`` see them."""
        return await self._census_taker().take(queues, groups, self._config.delay_queue_num)

    async def extend_census(self, census: Census, queues: Iterable[str], groups: Iterable[str]) -> None:
        """Look at further queues."""
        await self._census_taker().add_streams(census, queues, groups)

    def _census_taker(self) -> CensusTaker:
        client = self.client
        return CensusTaker(client, self._scripts["delivered"], self.gates, self._ask)

    @property
    def gates(self) -> Gatekeeper:
        """What lets jobs wait for each other."""
        client = self.client
        return Gatekeeper(client, self._scripts["gates"], self._ask)

    async def release_disabled(self, task: str) -> None:
        """Let the jobs that waited because ``task`` was disabled go on to their queues."""
        await self.gates.open(keys.DISABLED_GATE + task)

    async def discard(self, queue: str, msg_ids: Sequence[str]) -> None:
        """Delete entries that no consumer will read again."""
        for start in range(0, len(msg_ids), PAGE):
            await self._ask(self.client.xdel(keys.stream(queue), *msg_ids[start : start + PAGE]))

    async def exists(self, key: str) -> bool:
        """Tell whether ``key`` is there."""
        return bool(await self._ask(self.client.exists(key)))

    async def mark(self, key: str, seconds: float) -> None:
        """Make ``key`` exist for so long."""
        await self._ask(self.client.set(key, "1", px=round(seconds * 1000)))

    async def drop_consumer(self, queues: Iterable[str], group: str, consumer: str) -> None:
        """Forget a consumer that has nothing pending; one that has keeps its entries for a take-over."""
        for stream in keys.streams(queues):
            pending = await self._ask(self.client.xpending_range(stream, group, "-", "+", 1, consumer))
            if not pending:
                await self._ask(self.client.xgroup_delconsumer(stream, group, consumer))

    async def promote(self, most: int = 1000) -> Promotion:
        """Move due jobs of all delayed sets to their streams, about ``most`` at a time."""
        _ = self.client
        shards = keys.delay_shards(self._config.delay_queue_num)
        most_each = max(1, most // len(shards))
        moved, score, wait = await self._ask(self._scripts["promote"](keys=shards, args=[keys.QUEUE_PREFIX, most_each]))
        return Promotion(int(moved), float(score) if score else None, int(wait) / 1000)

    async def hold_lease(self, key: str, token: str, seconds: float) -> bool:
        """Take or renew a lease; False if somebody else holds it."""
        _ = self.client
        return bool(await self._ask(self._scripts["renew"](keys=[key], args=[token, round(seconds * 1000)])))

    async def release_lease(self, key: str, token: str, *, channel: str = "", message: str = "") -> bool:
        """Give a lease up, and tell those who listen to ``channel``; False if it was not ours any more."""
        _ = self.client
        return bool(await self._ask(self._scripts["release"](keys=[key], args=[token, channel, message])))

    async def follow(
        self,
        channel: str,
        take: Callable[[Any], None],
        *,
        subscribed: Callable[[], None] = lambda: None,
        lost: Callable[[], None] = lambda: None,
    ) -> NoReturn:
        """Give ``take`` every message of ``channel``, as JSON data, until cancelled; on a connection of its own.

        Subscribes again whenever Redis was away: ``subscribed`` is called each time, as messages may have been
        missed, and ``lost`` when the subscription is gone. A message that ``take`` can't use is logged.
        """
        pause = 0.1
        while True:
            client = pubsub = None
            try:
                client = async_client(self._config, most=1)
                pubsub = client.pubsub()
                await self._ask(pubsub.subscribe(channel))
                current = asyncio.current_task()
                if current is not None and current.cancelling():
                    raise asyncio.CancelledError  # redis-py 4 loses a cancel that comes while it connects
                pause = 0.1
                subscribed()
                await self._pass_on(pubsub, channel, take)
            except (BrokerUnavailableError, ConfigurationError, exceptions.RedisError) as error:
                lost()
                # An outage is reported by those who work; that Redis refuses (an ACL, say), only here.
                level = logging.DEBUG if isinstance(error, BrokerUnavailableError) else logging.ERROR
                logger.log(level, "No subscription to %s; trying again in %.1f s. %s", channel, pause, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5)
            finally:
                for opened in (pubsub, client):
                    with suppress(Exception):  # what is broken can't always be closed in order
                        await close_client(opened)

    async def _pass_on(self, pubsub: Any, channel: str, take: Callable[[Any], None]) -> NoReturn:
        asked = False
        while True:
            message = await self._ask(pubsub.get_message(timeout=ANSWER_SECONDS if asked else LISTEN_SECONDS))
            if message is None:
                if asked:
                    # Its host may be gone without a word: TCP alone would wait for a quarter of an hour.
                    raise BrokerUnavailableError(f"Redis has not answered in {ANSWER_SECONDS:g} s.")
                # Silence: ask whether the connection still stands, and where it should.
                if await has_moved(pubsub):
                    raise BrokerUnavailableError("The Sentinels name another master.")
                await self._ask(pubsub.ping())
                asked = True
                continue
            asked = False
            if message["type"] == "message":
                try:
                    take(json.loads(message["data"]))
                except (ValueError, KeyError, TypeError):
                    logger.warning("A message on %s can't be understood: %.200s", channel, message["data"])

    async def _ask(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            if (told := explained(self._config, error)) is not None:
                raise told from error
            raise


def _entries(flat: Sequence[str]) -> list[Entry]:
    return list(map(Entry, map(keys.queue_of, flat[::3]), flat[1::3], flat[2::3]))


def _line(text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
