"""Exit code 0 if the worker or timer of this pod keeps its lease in Redis, else 1.

With `--forgive-redis` also 0 while Redis can't be asked: a worker survives that, and must not be killed for it.
Asks Redis alone, without Django, and takes a tenth of a second of CPU where `manage.py tasks_health` takes one.
"""

import os
import socket
import sys

import redis

FORGIVE = sys.argv[1:] == ["--forgive-redis"]


def main() -> str | None:
    """Return what is wrong. Needs the rights of a worker: see docs/howto/secure-redis.md."""
    client = redis.Redis.from_url(os.environ["SHOP_REDIS_URL"], socket_timeout=3, socket_connect_timeout=3)
    host = f"-{socket.gethostname()}-"
    try:
        names = [name.decode() for name in client.hgetall("rearq:worker")]
        if any(client.exists(f"rearq:alive:{name}") for name in names if host in name):
            return None
    except redis.RedisError as error:
        return None if FORGIVE else f"Redis can't be asked: {error}"
    return "No worker or timer of this host has a lease."


if __name__ == "__main__":
    sys.exit(main())
