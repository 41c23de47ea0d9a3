"""Which statements a database is talked to with, by its kind as Django names it."""

from __future__ import annotations

from django_cfg_tasks.store.mysql import MYSQL
from django_cfg_tasks.store.statements import POSTGRESQL, SQLITE

STATEMENTS = {"postgresql": POSTGRESQL, "sqlite": SQLITE, "mysql": MYSQL}
