"""Chromium as the tests drive it: where it is, and how it is started. Nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.servers import ServiceMissing

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# It talks to the test's server and to nobody else.
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> Path:
    """Return the program that the environment variable CHROMIUM names, else the first one on PATH."""
    named = os.environ.get("CHROMIUM")
    for name in [named] if named else NAMES:
        if found := shutil.which(name):
            return Path(found)
    if named:
        raise ServiceMissing(f"CHROMIUM={named} is not a program")
    raise ServiceMissing("no Chromium on PATH; apt install chromium, or name one: CHROMIUM=/path/to/chrome")
