"""``shop/apps.py`` of that project: every signal that a process gets is a line of its file."""

import json
import sys
from pathlib import Path

from django.apps import AppConfig

FILE = Path(__file__).parent.parent / "signals.jsonl"


def tell(kind):
    def receiver(sender, task_result, **kwargs):
        error = sys.exc_info()[0]
        line = {
            "kind": kind,
            "sender": sender.__name__,
            "id": task_result.id,
            "status": task_result.status.value,
            "path": task_result.task.module_path,
            "attempts": task_result.attempts,
            "workers": task_result.worker_ids,
            "errors": len(task_result.errors),
            "handled": error.__name__ if error else None,
            "program": Path(sys.argv[0]).name,
        }
        with FILE.open("a") as file:
            file.write(json.dumps(line) + "\n")

    return receiver


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        from django_cfg_tasks.contrib.django_tasks import framework

        for kind in ("enqueued", "started", "finished"):
            getattr(framework, f"task_{kind}").connect(tell(kind), weak=False)
