"""The tests' own servers do what their names say: real processes, real restarts."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pymysql
import pytest
import redis

from tests import servers
from tests.mysql_server import MySQLServer
from tests.postgres_server import PostgresServer
from tests.redis_server import RedisServer, connected
from tests.servers import ServerFailed, ServiceMissing
from tests.waiting import wait_until


class TestRedis:
    def test_answers_on_both_addresses(self, redis_server: RedisServer) -> None:
        with (
            connected(redis_server.url) as by_port,
            connected(redis_server.unix_url) as by_file,
        ):
            by_port.set("key", "value")
            assert by_file.get("key") == b"value"

    def test_has_streams_and_scripts(self, redis_server: RedisServer) -> None:
        with redis_server.client() as client:
            client.xgroup_create("stream", "group", id="0", mkstream=True)
            client.xadd("stream", {"job_id": "1"})
            [[_, [[entry, fields]]]] = client.xreadgroup("group", "consumer", {"stream": ">"})
            assert fields == {"job_id": "1"}
            assert client.xautoclaim("stream", "group", "other", min_idle_time=0)[1] == [(entry, fields)]
            assert client.eval("return redis.call('XLEN', KEYS[1])", 1, "stream") == 1

    def test_wipe_leaves_nothing(self, redis_server: RedisServer) -> None:
        with redis_server.client() as client:
            client.set("key", "value")
            redis_server.wipe()
            assert client.dbsize() == 0

    @pytest.mark.parametrize("run", [1, 2])
    def test_each_test_gets_it_empty_and_running(self, redis_server: RedisServer, run: int) -> None:
        with redis_server.client() as client:
            assert client.dbsize() == 0
            client.set(f"left by run {run}", "value")
        redis_server.kill()

    def test_restart_keeps_the_address_and_loses_the_data(self, redis_server: RedisServer) -> None:
        url = redis_server.url
        with redis_server.client() as client:
            client.set("key", "value")
        redis_server.restart()
        assert redis_server.url == url
        with connected(url) as client:
            assert client.get("key") is None

    @pytest.mark.parametrize("kill", [False, True])
    def test_with_append_only_file_the_data_outlives_a_restart(
        self, make_redis: Callable[..., RedisServer], kill: bool
    ) -> None:
        server = make_redis(appendonly=True)
        with server.client() as client:
            client.xadd("stream", {"job_id": "1"})
        server.restart(kill=kill)
        with server.client() as client:
            assert client.xlen("stream") == 1

    def test_stopped_it_refuses_connections(self, redis_server: RedisServer) -> None:
        redis_server.stop()
        with connected(redis_server.url) as client, pytest.raises(redis.ConnectionError):
            client.ping()

    def test_paused_it_accepts_and_does_not_answer(self, redis_server: RedisServer) -> None:
        redis_server.pause()
        try:
            with (
                connected(redis_server.url, socket_timeout=0.2) as client,
                pytest.raises(redis.TimeoutError),
            ):
                client.ping()
        finally:
            redis_server.resume()
        with redis_server.client() as client:
            assert client.ping()

    def test_with_a_password_it_wants_the_password(self, make_redis: Callable[..., RedisServer]) -> None:
        server = make_redis(password="a-password")
        with server.client() as client:
            assert client.ping()
        with (
            connected(server.url.replace("a-password", "another")) as client,
            pytest.raises(redis.RedisError, match=r"Authentication|WRONGPASS|invalid"),
        ):
            client.ping()

    def test_without_tcp_only_the_socket_is_there(self, make_redis: Callable[..., RedisServer]) -> None:
        server = make_redis(tcp=False)
        assert server.url == f"unix://{server.socket}?db=0"
        with server.client() as client:
            assert client.config_get("port") == {"port": "0"}

    def test_a_bad_option_is_reported_with_the_log(self) -> None:
        server = RedisServer(options={"no-such-option": "1"})
        try:
            with pytest.raises(ServerFailed, match="no-such-option"):
                server.start()
        finally:
            server.close()

    def test_close_removes_the_folder(self, make_redis: Callable[..., RedisServer]) -> None:
        server = make_redis()
        server.close()
        assert not server.running
        assert not server.folder.exists()


class TestPostgres:
    def test_create_database_gives_an_empty_one(self, postgres_server: PostgresServer, postgres_database: str) -> None:
        with postgres_server.connect(postgres_database) as connection:
            connection.execute("CREATE TABLE thing (id int)")
        postgres_server.create_database(postgres_database)
        with postgres_server.connect(postgres_database) as connection:
            assert connection.execute("SELECT to_regclass('thing')").fetchone() == (None,)

    def test_the_url_is_plain_and_the_password_counts(
        self, postgres_server: PostgresServer, postgres_database: str
    ) -> None:
        url = postgres_server.url(postgres_database)
        assert url == f"postgres://postgres:local-tests-only@127.0.0.1:{postgres_server.port}/{postgres_database}"
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url.replace("local-tests-only", "wrong"))

    async def test_asyncpg_takes_the_same_url(self, postgres_server: PostgresServer, postgres_database: str) -> None:
        asyncpg = pytest.importorskip("asyncpg")
        connection = await asyncpg.connect(postgres_server.url(postgres_database))
        try:
            assert await connection.fetchval("SELECT current_database()") == postgres_database
        finally:
            await connection.close()

    @pytest.mark.parametrize("kill", [False, True])
    def test_a_restart_keeps_address_and_data(
        self, postgres_server: PostgresServer, postgres_database: str, kill: bool
    ) -> None:
        with postgres_server.connect(postgres_database) as connection:
            connection.execute("CREATE TABLE thing (id int)")
            connection.execute("INSERT INTO thing VALUES (1)")
            postgres_server.restart(kill=kill)
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        with postgres_server.connect(postgres_database) as connection:
            assert connection.execute("SELECT id FROM thing").fetchall() == [(1,)]

    def test_terminate_backends_cuts_one_database(
        self, postgres_server: PostgresServer, postgres_database: str
    ) -> None:
        with postgres_server.connect(postgres_database) as cut, postgres_server.connect() as kept:
            assert postgres_server.connections(postgres_database) == 1
            assert postgres_server.terminate_backends(postgres_database) == 1
            with pytest.raises(psycopg.OperationalError):
                cut.execute("SELECT 1")
            assert kept.execute("SELECT 1").fetchone() == (1,)

    def test_the_django_entry_names_the_same_server(self, postgres_server: PostgresServer) -> None:
        entry = postgres_server.django("shop")
        assert (entry["NAME"], entry["PORT"]) == ("shop", str(postgres_server.port))


class TestMySQL:
    def test_create_database_gives_an_empty_one(self, mysql_server: MySQLServer, mysql_database: str) -> None:
        with mysql_server.connect(mysql_database) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE t (x int)")
        mysql_server.create_database(mysql_database)
        assert mysql_server.execute(f"SHOW TABLES FROM {mysql_database}") == []

    def test_a_copy_has_its_rows(self, mysql_server: MySQLServer, mysql_database: str) -> None:
        mysql_server.execute(f"CREATE TABLE {mysql_database}.t (x int PRIMARY KEY) SELECT 1 AS x")
        mysql_server.copy_database(mysql_database, "copied")
        assert mysql_server.execute("SELECT x FROM copied.t") == [(1,)]
        mysql_server.drop_database("copied")

    @pytest.mark.parametrize("kill", [False, True])
    def test_a_restart_keeps_address_and_data(self, mysql_server: MySQLServer, mysql_database: str, kill: bool) -> None:
        mysql_server.execute(f"CREATE TABLE {mysql_database}.t (x int PRIMARY KEY) SELECT 1 AS x")
        url = mysql_server.url(mysql_database)
        mysql_server.restart(kill=kill)
        assert mysql_server.url(mysql_database) == url
        assert mysql_server.execute(f"SELECT x FROM {mysql_database}.t") == [(1,)]

    def test_terminate_backends_cuts_one_database(self, mysql_server: MySQLServer, mysql_database: str) -> None:
        cut = mysql_server.connect(mysql_database)
        with mysql_server.connect("mysql") as other:
            assert mysql_server.terminate_backends(mysql_database) == 1
            wait_until(lambda: mysql_server.connections(mysql_database) == [], "it is cut")
            with pytest.raises(pymysql.OperationalError):
                cut.ping(reconnect=False)
            other.ping(reconnect=False)


class TestMissing:
    def test_a_missing_redis_is_said_with_the_way_out(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(servers, "package_folder", lambda name: None)
        with pytest.raises(ServiceMissing, match=r"django_cfg_tasks\[embedded\]"):
            servers.find_redis_server()

    def test_the_wheel_has_one_where_path_has_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with RedisServer(executable=servers.find_redis_server()) as server, server.client() as client:
            assert client.ping()
