"""How long runs may take: `asyncio.timeout` for very many of them, at a tenth of its price.

A timer of its own costs more than a short run does. So there is one, at the earliest deadline that it has met; the
run that set it has mostly ended by then, and it is set to the earliest of those that are left.
"""

from __future__ import annotations

import asyncio
import operator
from types import TracebackType
from typing import Self

_NEVER = float("inf")


class Deadlines:
    """The deadlines of one event loop's runs."""

    def __init__(self) -> None:
        self._open: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = _NEVER

    def within(self, seconds: float) -> Deadline:
        """Give the asyncio task that enters this so long until it leaves it; ``inf`` is for ever."""
        return Deadline(self, asyncio.get_running_loop().time() + seconds)

    def close(self) -> None:
        """Forget the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._rings_at = None, _NEVER

    def _watch(self, deadline: Deadline) -> None:
        self._open.add(deadline)
        if deadline.when < self._rings_at:
            self._ring_at(deadline.when)

    def _leave(self, deadline: Deadline) -> None:
        self._open.discard(deadline)

    def _ring_at(self, when: float) -> None:
        self.close()
        self._timer, self._rings_at = asyncio.get_running_loop().call_at(when, self._ring), when

    def _ring(self) -> None:
        self.close()
        now = asyncio.get_running_loop().time()
        late = [deadline for deadline in self._open if deadline.when <= now]
        for deadline in sorted(late, key=operator.attrgetter("when")):
            self._open.discard(deadline)
            deadline.pass_()
        earliest = min((deadline.when for deadline in self._open), default=_NEVER)
        if earliest < _NEVER:
            self._ring_at(earliest)


class Deadline:
    """One run's. Where it passes, the run's asyncio task is cancelled, and to leave raises TimeoutError instead.

    As with `asyncio.timeout`: a CancelledError that has another reason as well goes through.
    """

    __slots__ = ("_all", "_before", "_task", "passed", "when")

    def __init__(self, all_: Deadlines, when: float) -> None:
        self._all = all_
        self.when = when
        """By the loop's clock."""
        self.passed = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("A deadline is for an asyncio task.")
        self._task, self._before = task, task.cancelling()
        self._all._watch(self)  # noqa: SLF001 - of one house
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._all._leave(self)  # noqa: SLF001
        if self.passed and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def pass_(self) -> None:
        """Cancel the run."""
        self.passed = True
        self._task.cancel()
