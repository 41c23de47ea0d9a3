"""Which jobs hang on a transaction of Django's, and what has become of it. It knows jobs by their ids alone.

Django tells nobody of a rollback; but it drops the callbacks that were to be called at the commit. So each job has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.transaction import Atomic


def own_blocks(connection: BaseDatabaseWrapper) -> list[Atomic]:
    """Return the open blocks of transactions, without those that `django.test.TestCase` wraps around tests.

    Those are none of the code under test: Django itself lets ``atomic(durable=True)`` begin inside them.
    """
    return [block for block in connection.atomic_blocks if not getattr(block, "_from_testcase", False)]


@dataclass(frozen=True, slots=True)
class _Hold:
    connection: BaseDatabaseWrapper
    callback: Callable[[], None]
    blocks: list[Atomic]
    """The blocks of the code under test that it is in."""


class Held:
    """The jobs whose transactions are open, be it those of tests. Whoever uses it sees to threads."""

    def __init__(self) -> None:
        self._holds: dict[str, _Hold] = {}
        self._waiting: set[str] = set()
        self._hooks: dict[BaseDatabaseWrapper, list[Any]] = {}

    def add(self, job_ids: Iterable[str], connection: BaseDatabaseWrapper, callback: Callable[[], None]) -> None:
        """Let jobs hang on the open transaction, at whose commit ``callback`` is called."""
        for job_id in job_ids:
            self._holds[job_id] = _Hold(connection, callback, own_blocks(connection))
        self._hooks[connection] = connection.run_on_commit

    def hold_back(self, job_ids: Iterable[str]) -> None:
        """Let jobs, which were added, not run before they are released."""
        self._waiting.update(job_ids)

    def is_held_back(self, job_id: str) -> bool:
        """Whether a job may not run yet."""
        return job_id in self._waiting

    def is_hidden(self, job_id: str) -> bool:
        """Whether a job is held back, and a block of the code under test is open around it."""
        return job_id in self._waiting and self._is_open(self._holds[job_id])

    def release(self, job_ids: Iterable[str]) -> set[str]:
        """Let jobs run; return those that might not before."""
        released = self._waiting.intersection(job_ids)
        self._waiting -= released
        return released

    def releasable(self) -> set[str]:
        """Return the jobs that are held back, and around which only blocks of tests are left: no commit will come."""
        return {job_id for job_id in self._waiting if not self._is_open(self._holds[job_id])}

    def committed(self, job_ids: Iterable[str]) -> None:
        """Let go of jobs whose callback is called. Called from there.

        One that is still to be called, as it is Django's ``captureOnCommitCallbacks`` that called it, goes with the
        transaction of the test, and so do its jobs.
        """
        for job_id in job_ids:
            hold = self._holds.get(job_id)
            if hold is not None and all(hook[1] is not hold.callback for hook in hold.connection.run_on_commit):
                del self._holds[job_id]

    def take_undone(self) -> list[str]:
        """Return the jobs whose transactions were rolled back since the last time, and let go of them."""
        # Django appends to the list of its callbacks while it may, and takes another where one is dropped.
        changed = [connection for connection, hooks in self._hooks.items() if connection.run_on_commit is not hooks]
        if not changed:
            return []
        kept = {id(hook[1]) for connection in changed for hook in connection.run_on_commit}
        self._hooks.update({connection: connection.run_on_commit for connection in changed})
        undone = [
            job_id
            for job_id, hold in self._holds.items()
            if hold.connection in changed and id(hold.callback) not in kept
        ]
        for job_id in undone:
            del self._holds[job_id]
        self._waiting.difference_update(undone)
        return undone

    def clear(self) -> None:
        """Forget all."""
        self._holds.clear()
        self._waiting.clear()
        self._hooks.clear()

    @staticmethod
    def _is_open(hold: _Hold) -> bool:
        return any(block is other for block in hold.blocks for other in hold.connection.atomic_blocks)
