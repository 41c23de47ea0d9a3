"""One statement by libpq: what it changes is told, and what goes wrong is said, however it is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from django_cfg_tasks.store.libpq import PlannedStatement
from django_cfg_tasks.waits import block_on, follow
from tests.postgres_server import PostgresServer

Connection = psycopg.Connection[Any]


@pytest.fixture
def connection(postgres_server: PostgresServer, postgres_database: str) -> Iterator[Connection]:
    with closing(psycopg.connect(postgres_server.url(postgres_database), autocommit=True)) as connection:
        connection.execute("CREATE TABLE things (name text PRIMARY KEY, number int)")
        yield connection


@pytest.fixture(params=[False, True], ids=["planned", "pooled"])
def statement(connection: Connection, request: pytest.FixtureRequest) -> PlannedStatement:
    sql = "INSERT INTO things SELECT %s, %s::int WHERE %s::text IS NULL ON CONFLICT DO NOTHING"
    return PlannedStatement(connection, sql, is_pooled=request.param)


def things(server: PostgresServer, database: str) -> list[tuple[str, int]]:
    with psycopg.connect(server.url(database)) as connection:
        return connection.execute("SELECT name, number FROM things ORDER BY number").fetchall()


def test_it_says_how_many_rows_it_changed(
    statement: PlannedStatement, postgres_server: PostgresServer, postgres_database: str
) -> None:
    values = [["a", 1, None], ["b", 2, "no"], ["a", 3, None], ["ä'%s $1 \\", 4, None], ["", 5, None]]
    assert [block_on(statement.run(row)) for row in values] == [1, 0, 0, 1, 1]
    assert things(postgres_server, postgres_database) == [("a", 1), ("ä'%s $1 \\", 4), ("", 5)]


async def test_on_a_loop_and_more_than_a_socket_takes_at_once(
    statement: PlannedStatement, connection: Connection, postgres_server: PostgresServer, postgres_database: str
) -> None:
    connection.execute("ALTER TABLE things DROP CONSTRAINT things_pkey")  # as no index takes so much
    names = ["y" * size for size in (1, 20_000_000, 3)]

    def never(_: object) -> Any:
        raise AssertionError("nothing in it blocks")

    assert [await follow(statement.run([name, number, None]), never) for number, name in enumerate(names)] == [1] * 3
    assert [name for name, _ in things(postgres_server, postgres_database)] == names


def test_what_the_database_has_against_it_is_said(statement: PlannedStatement) -> None:
    with pytest.raises(psycopg.DatabaseError, match='invalid input syntax for type integer: "one"'):
        block_on(statement.run(["a", "one", None]))


def test_what_libpq_would_cut_off_is_refused(statement: PlannedStatement) -> None:
    with pytest.raises(ValueError, match="NUL"):
        block_on(statement.run(["a\0b", 1, None]))
    assert block_on(statement.run(["a", 1, None])) == 1, "nothing was sent"


def test_a_connection_that_is_cut_is_an_error(
    statement: PlannedStatement, postgres_server: PostgresServer, postgres_database: str
) -> None:
    postgres_server.terminate_backends(postgres_database)
    with pytest.raises(psycopg.Error):
        block_on(statement.run(["a", 1, None]))


def test_one_that_can_t_be_planned_is_an_error(connection: Connection) -> None:
    with pytest.raises(psycopg.DatabaseError, match='relation "nothing" does not exist'):
        PlannedStatement(connection, "DELETE FROM nothing WHERE name = %s", is_pooled=False)
