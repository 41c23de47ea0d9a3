"""Locks for users' own code: leases in Redis, renewed while they are held, whoever holds them and wherever.

`Locks` takes and renews on the home loop, one per client; a `Lock` is what a caller holds in his hands.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import uuid4

from django_cfg_tasks.broker import Broker, keys
from django_cfg_tasks.exceptions import BrokerUnavailableError, InvalidOptionError, LockTimeoutError, TasksError
from django_cfg_tasks.loop import HomeLoop, ended, set_within

logger = logging.getLogger("django_cfg_tasks.locks")

LOOK_AGAIN_SECONDS = 1.0
"""How often a waiter tries though nobody called: a crashed holder calls nobody, and a message may be lost."""
RENEW_AGAIN_SECONDS = 1.0
"""After how long a renewal that failed is tried again."""
MAX_SECONDS = 86_400
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Claim:
    """One try to hold a lock, and the holding of it."""

    name: str
    seconds: float
    token: str = field(default_factory=lambda: uuid4().hex)

    @property
    def key(self) -> str:
        """Where its lease is in Redis."""
        return keys.LOCK_PREFIX + self.name


@dataclass(slots=True)
class _Waiter:
    """One who is taking a lock, and perhaps waits for it."""

    called: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False
    """Whether nobody waits for the answer any more: a cancel may be lost on its way (redis-py 4, asyncio of 3.11)."""
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Locks:
    """All locks that a process holds or waits for. Lives on the home loop; its waiters share one subscription."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._renewals: dict[str, tuple[asyncio.Event, asyncio.Task[None]]] = {}
        self._waiting: dict[str, dict[str, _Waiter]] = {}
        self._listener: asyncio.Task[None] | None = None

    async def take(self, claim: Claim, wait: float | None) -> None:
        """Take a lock and renew it until `give_up`; wait up to ``wait`` seconds for it, for ever if None.

        LockTimeoutError if it was not free by then, BrokerUnavailableError if Redis could not be asked then.
        """
        clock = asyncio.get_running_loop().time
        deadline = None if wait is None else clock() + wait
        warned = False
        waiters = self._waiting.setdefault(claim.name, {})
        waiter = waiters[claim.token] = _Waiter()
        try:
            while True:
                waiter.called.clear()
                held, outage = await self._try(claim)
                if waiter.gone:
                    raise asyncio.CancelledError
                if held:
                    break
                pause = LOOK_AGAIN_SECONDS if deadline is None else min(LOOK_AGAIN_SECONDS, deadline - clock())
                if pause <= 0:
                    raise outage or not_free(claim.name, wait or 0)
                if outage is not None and not warned:
                    warned = True
                    logger.warning("Waiting for the lock %r goes on. %s", claim.name, outage)
                self._listen()
                await set_within(waiter.called, pause)
        finally:
            waiter.done.set()
            del waiters[claim.token]
            if not waiters:
                self._waiting.pop(claim.name, None)
        stopping = asyncio.Event()
        renewal = asyncio.create_task(self._renew(claim, stopping), name=f"django_cfg_tasks-lock {claim.name}")
        self._renewals[claim.token] = stopping, renewal

    async def give_up(self, claim: Claim) -> None:
        """Free a lock, or what a try to take it may have left. What Redis has against it is logged, not raised."""
        if (waiter := self._waiting.get(claim.name, {}).get(claim.token)) is not None:
            waiter.gone = True
            waiter.called.set()
            await waiter.done.wait()
        stopping, renewal = self._renewals.pop(claim.token, (None, None))
        if stopping is not None and renewal is not None:
            # Not cancelled: a renewal that is under way must not reach Redis after the release.
            stopping.set()
            await asyncio.wait([renewal])
        try:
            freed = await self._broker.release_lease(
                claim.key, claim.token, channel=keys.UNLOCKED_CHANNEL, message=json.dumps(claim.name)
            )
        except TasksError as error:
            logger.warning(
                "The lock %r could not be freed; it lapses within %g s. %s", claim.name, claim.seconds, error
            )
            return
        if not freed and renewal is not None:
            logger.error("The lock %r was lost before its holder was done: %s", claim.name, _LOST)

    async def close(self) -> None:
        """End the subscription and the renewals; locks that are held lapse."""
        tasks = [task for _, task in self._renewals.values()]
        if self._listener is not None:
            tasks.append(self._listener)
        self._listener = None
        self._renewals.clear()
        await ended(tasks)

    async def _try(self, claim: Claim) -> tuple[bool, BrokerUnavailableError | None]:
        """Tell whether the lock is ours now, and why that can't be told."""
        try:
            return await self._broker.hold_lease(claim.key, claim.token, claim.seconds), None
        except BrokerUnavailableError as error:
            return False, error

    async def _renew(self, claim: Claim, stopping: asyncio.Event) -> None:
        pause, held = claim.seconds / 3, True
        while not await set_within(stopping, pause):
            error = await self._renewed(claim)
            if held and error is not None:
                logger.error("The lock %r could not be renewed, its holder goes on. %s", claim.name, error)
            elif not held and error is None:
                logger.warning("The lock %r is held again.", claim.name)
            held = error is None
            pause = claim.seconds / 3 if held else min(RENEW_AGAIN_SECONDS, claim.seconds / 3)

    async def _renewed(self, claim: Claim) -> Exception | str | None:
        try:
            return None if await self._broker.hold_lease(claim.key, claim.token, claim.seconds) else _LOST
        except Exception as error:  # whatever it is, the next renewal must be tried
            return error

    def _listen(self) -> None:
        if self._listener is None or self._listener.done():
            self._listener = asyncio.get_running_loop().create_task(
                self._broker.follow(keys.UNLOCKED_CHANNEL, self._call, subscribed=self._call_all),
                name="django_cfg_tasks-locks",
            )

    def _call(self, name: str) -> None:
        for waiter in self._waiting.get(name, {}).values():
            waiter.called.set()

    def _call_all(self) -> None:
        for name in self._waiting:
            self._call(name)


class Lock:
    """A lock by name, over all processes that share the Redis: ``with lock:`` or ``async with lock:``.

    It can be used again once it was left. It is not reentrant, and serves one holder at a time: RuntimeError for
    a second one, who needs a lock object of his own.
    """

    def __init__(self, home: HomeLoop, locks: Locks, name: str, *, timeout: float, wait: float | None) -> None:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise InvalidOptionError(f"{name!r}: a lock's name has 1 to {MAX_NAME} printable characters.")
        if not _is_number(timeout) or not 1 <= timeout <= MAX_SECONDS:
            raise InvalidOptionError(f"timeout={timeout!r}: a lock lapses after 1 to {MAX_SECONDS} seconds.")
        if wait is not None and (not _is_number(wait) or not 0 <= wait <= MAX_SECONDS):
            raise InvalidOptionError(
                f"wait={wait!r}: it takes seconds from 0 to {MAX_SECONDS}, or None to wait for ever."
            )
        self.name = name
        self._home = home
        self._locks = locks
        self._timeout = timeout
        self._wait = wait
        self._claim: Claim | None = None

    async def __aenter__(self) -> Self:
        claim = self._begin()
        try:
            await self._home.run(self._locks.take(claim, self._wait))
        except BaseException as error:
            self._claim = None
            if not isinstance(error, TasksError):  # cancelled, perhaps in the moment in which it was taken
                await asyncio.shield(self._home.run(self._locks.give_up(claim)))
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        claim, self._claim = self._claim, None
        if claim is not None:
            await asyncio.shield(self._home.run(self._locks.give_up(claim)))

    def __enter__(self) -> Self:
        self._home.refuse_here(_INSTEAD)
        claim = self._begin()
        try:
            self._home.call(self._locks.take(claim, self._wait), _INSTEAD)
        except BaseException as error:
            self._claim = None
            if not isinstance(error, TasksError):  # interrupted, perhaps in the moment in which it was taken
                self._home.call(self._locks.give_up(claim), _INSTEAD)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        claim, self._claim = self._claim, None
        if claim is not None:
            self._home.call(self._locks.give_up(claim), _INSTEAD)

    def __repr__(self) -> str:
        return f"<Lock {self.name!r}{' held' if self._claim is not None else ''}>"

    def _begin(self) -> Claim:
        if self._claim is not None:
            raise RuntimeError(
                f"This lock object ({self.name!r}) is held, or waited for, already. Locks are not reentrant, and each "
                "thread or coroutine makes its own: client.lock(...)."
            )
        self._claim = claim = Claim(self.name, self._timeout)
        return claim


_INSTEAD = "async with client.lock(...)"
_LOST = "its time was over, and another may hold it."


def not_free(name: str, wait: float) -> LockTimeoutError:
    """Return the error of one who has waited long enough."""
    return LockTimeoutError(
        f"The lock {name!r} was not free within {wait:g} s. Wait longer (wait=), or do without what it guards for now."
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
