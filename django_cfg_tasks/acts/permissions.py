"""The names of the permissions: one to look at jobs, and one for each kind of act."""

from __future__ import annotations

from typing import Final

VIEW: Final = "tasks.view_tasklog"
RETRY: Final = "tasks.retry_tasklog"
CANCEL: Final = "tasks.cancel_tasklog"
RUN: Final = "tasks.run_tasklog"
"""To enqueue jobs, of tasks or of schedules."""
MANAGE: Final = "tasks.manage_tasklog"
"""To switch tasks and schedules off and on, for everybody."""
DELETE: Final = "tasks.delete_tasklog"
"""To delete jobs that have ended, with their history; Django's own permission."""
