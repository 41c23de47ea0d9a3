"""Redis by TLS only, with a CA of its own and certificates for its clients; and what is told where that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from django_cfg_tasks.broker import Broker
from django_cfg_tasks.broker.connection import blocking_client
from django_cfg_tasks.broker.faults import explained
from django_cfg_tasks.config import RearqConfig
from django_cfg_tasks.exceptions import BrokerUnavailableError, ConfigurationError
from tests.conftest import start_or_skip
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.tls_redis import TlsRedis

TASKS = """\
from django_cfg_tasks import task

@task
async def add(a: int, b: int) -> int:
    return a + b
"""


@pytest.fixture(scope="module")
def tls_redis() -> Iterator[TlsRedis]:
    server = start_or_skip(TlsRedis)
    with server:
        yield server


@pytest.mark.long
def test_worker_timer_and_callers_speak_tls(make_project: Callable[..., TaskProject], tls_redis: TlsRedis) -> None:
    project = make_project(TASKS, redis_url=tls_redis.tls_url(), database="postgres")
    worker = project.worker("--with-timer")
    worker.wait_for_log("consumes")
    code = (
        "import asyncio\nfrom shop.tasks import add\nfrom django_cfg_tasks.health import check_health\n"
        "async def on_a_loop():\n    return [await add.delay(number, number) for number in range(3)]\n"
        "jobs = [add.enqueue(1, 2), add.using(countdown=1).enqueue(3, 4), *asyncio.run(on_a_loop())]\n"
        "results = [job.wait(timeout=20).result for job in jobs]\nemit([results, check_health().healthy])"
    )
    assert project.json(code) == [[3, 7, 0, 2, 4], True]
    assert worker.stop() == 0


async def refusal(url: str) -> str:
    """What is told of a URL by asyncio connections, which is what blocking ones tell too."""
    config = RearqConfig(redis_url=url)
    broker = Broker(config)
    with pytest.raises(ConfigurationError) as refused:
        await broker.ping()
    await broker.close()
    with pytest.raises(Exception, match=r".") as blocking:
        await asyncio.to_thread(lambda: blocking_client(config).ping())
    told = explained(config, blocking.value) if not isinstance(blocking.value, ConfigurationError) else blocking.value
    assert type(told) is ConfigurationError, blocking.value
    assert str(told).rpartition(". ")[2] == str(refused.value).rpartition(". ")[2]
    return str(refused.value)


async def told(url: str) -> str:
    broker = Broker(RearqConfig(redis_url=url))
    with pytest.raises((BrokerUnavailableError, ConfigurationError)) as refused:
        await broker.ping()
    await broker.close()
    return str(refused.value)


async def test_what_is_wrong_is_told_with_the_way_out(tls_redis: TlsRedis, redis_server: RedisServer) -> None:
    for ca in (None, "other_ca"):
        text = await refusal(tls_redis.tls_url(ca=ca))
        assert "can't be reached by TLS: SSLCertVerificationError: " in text
        assert text.endswith(
            "Name the file with the CA that signed its certificate: rediss://…?ssl_ca_certs=/path/to/ca.crt"
        )
    assert "ssl_check_hostname=false" in await refusal(tls_redis.tls_url("127.0.0.1"))
    for client in (None, "other_ca"):
        # The server's word may get lost, as it closes the connection in which we write.
        tries = [await told(tls_redis.tls_url(client=client)) for _ in range(5)]
        assert all("certificate" in text and "ssl_certfile" in text for text in tries), tries
    missing = tls_redis.certificates.folder / "missing.crt"
    text = await refusal(f"rediss://localhost:{tls_redis.tls_port}/0?ssl_ca_certs={missing}")
    assert f"ssl_ca_certs={missing} can't be read by this process (No such file or directory" in text

    silent = Broker(RearqConfig(redis_url=redis_server.url.replace("redis://", "rediss://")))
    with pytest.raises(
        BrokerUnavailableError, match="speaks no TLS at this port is silent: use its TLS port, or redis"
    ):
        await silent.ping()
    await silent.close()

    # Names need not be compared, and one file may hold certificate and key.
    both = tls_redis.certificates.folder / "both.pem"
    both.write_bytes(
        tls_redis.certificates.cert("client").read_bytes() + tls_redis.certificates.key("client").read_bytes()
    )
    url = tls_redis.tls_url("127.0.0.1", client=None) + f"&ssl_check_hostname=false&ssl_certfile={both}"
    broker, client_of_a_thread = Broker(RearqConfig(redis_url=url)), blocking_client(RearqConfig(redis_url=url))
    await broker.ping()
    assert client_of_a_thread.ping()
    await broker.close()
    client_of_a_thread.connection_pool.disconnect()
