"""The servers and the Django project of a run, in a folder of their own. Knows nothing of faults."""

from __future__ import annotations

import os
import platform
import shutil
from collections import Counter
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path

from chaos.ledger import FOLDER
from chaos.plan import LEASE
from tests.postgres_server import PostgresServer
from tests.processes import Processes
from tests.project import MAIN, TaskProject
from tests.redis_server import RedisServer

ROOT = Path(__file__).resolve().parent.parent
DATABASE = "chaos"
MAX_DELIVERIES = 3
SHUTDOWN_TIMEOUT = 1.0
TOKEN = "the-token-of-a-chaos-run"  # noqa: S105 - of this server alone
"""With it the metrics are asked for."""
HOST = "CHAOS_HOST"
HOSTS = ("host-a", "host-b")
# A process believes to be on the host that its environment names.
OTHER_HOST = f"import os, socket\nname = os.environ.get({HOST!r})\nif name: socket.gethostname = lambda: name\n"


class Stage:
    """A Redis with an append-only file, a PostgreSQL, a migrated project, and all processes of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.redis = RedisServer(appendonly=True)
        self.postgres = PostgresServer()
        (folder / "logs").mkdir()
        self.processes = Processes(folder / "logs")

    def set_up(self) -> TaskProject:
        """Start the servers and make the project; its processes find this package and note into the folder."""
        os.environ |= {"PYTHONPATH": str(ROOT), FOLDER: str(self.folder)}
        self.redis.start()
        self.postgres.start()
        self.postgres.create_database(DATABASE)
        home = self.folder / "project"
        home.mkdir()
        rearq = {
            "redis_url": self.redis.url,
            "lease": LEASE,
            "max_deliveries": MAX_DELIVERIES,
            "shutdown_timeout": SHUTDOWN_TIMEOUT,
            "max_jobs": 10,
        }
        project = TaskProject(
            home,
            self.processes,
            tasks="from chaos import tasks  # they register themselves\n",
            databases={"default": self.postgres.django(DATABASE)},
            tasks_config={"rearq": rearq, "metrics_token": TOKEN},
            files={"main.py": OTHER_HOST + MAIN},
        )
        project.manage("migrate", "--verbosity=0")
        return project

    def statuses(self) -> Counter[str]:
        """Return how many jobs have which status; `psycopg.Error` while PostgreSQL is away."""
        with self.postgres.connect(DATABASE) as connection:
            rows = connection.execute("SELECT status, COUNT(*) FROM rearq_job GROUP BY status").fetchall()
        return Counter(dict(rows))

    def versions(self) -> dict[str, str]:
        """Return what this was run with."""
        with self.redis.client() as client, self.postgres.connect(DATABASE) as connection:
            servers = {
                "Redis": str(client.info("server")["redis_version"]),
                "PostgreSQL": str(connection.execute("SHOW server_version").fetchall()[0][0]),
            }
        packages = ("django_cfg_tasks", "rearq", "Django", "redis", "tortoise-orm", "psycopg")
        return {"Python": platform.python_version(), **{name: version(name) for name in packages}, **servers}

    def close(self) -> None:
        """Kill all processes, then the servers, whose logs stay in the folder."""
        with ExitStack() as closing:
            for server, name in ((self.redis, "redis.log"), (self.postgres, "postgres.log")):
                closing.callback(server.close)
                closing.callback(self._keep, server.log, name)
            closing.callback(self.processes.kill_all)

    def _keep(self, log: Path, name: str) -> None:
        with suppress(OSError):
            shutil.copy(log, self.folder / "logs" / name)
