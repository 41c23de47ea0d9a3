"""A worker's logging: Python's own, ReArq's loguru lines routed into it, a rotating file if wanted."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path

from loguru import logger as loguru_logger

ROOT = logging.getLogger("django_cfg_tasks")
FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
FILE_BYTES = 20 * 1024 * 1024
FILES_KEPT = 5


def configure(worker_name: str, logs_dir: str | None) -> None:
    """Make sure that a worker's lines are seen; a project's own LOGGING stays in charge where it speaks."""
    _route_loguru()
    if ROOT.level == logging.NOTSET:
        ROOT.setLevel(logging.INFO)
    if not ROOT.hasHandlers():
        console = logging.StreamHandler()
        console.setFormatter(logging.Formatter(FORMAT))
        ROOT.addHandler(console)
    if logs_dir is not None:
        folder = Path(logs_dir)
        folder.mkdir(parents=True, exist_ok=True)
        file = logging.handlers.RotatingFileHandler(
            folder / f"worker-{worker_name}.log",
            maxBytes=FILE_BYTES,
            backupCount=FILES_KEPT,
            encoding="utf-8",
        )
        file.setFormatter(logging.Formatter(FORMAT))
        ROOT.addHandler(file)


def _route_loguru() -> None:
    target = ROOT.getChild("rearq")

    def sink(message: object) -> None:
        record = message.record  # type: ignore[attr-defined]  # loguru passes a str with the record on it
        target.log(record["level"].no, "%s", record["message"], exc_info=record["exception"])

    loguru_logger.remove()
    loguru_logger.add(sink, format="{message}")
