"""Databases that tests make on a shared server for themselves."""

from __future__ import annotations

from pymysql.err import MySQLError

from sillar.testing.servers import MariaDBServer, PostgreSQLServer, SQLServer

_UNKNOWN_THREAD = 1094


async def drop_database(server: SQLServer, name: str) -> None:
    """Drop a database, and end the sessions in it.

    A test that fails may leave one in the middle of a transaction. The server would wait for that without an end.
    """
    if isinstance(server, PostgreSQLServer):
        await server.execute_as_superuser(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        return
    schema = "information_schema" if isinstance(server, MariaDBServer) else "performance_schema"
    for (number,) in await server.execute_as_superuser(f"SELECT id FROM {schema}.processlist WHERE db = '{name}'"):
        try:
            await server.execute_as_superuser(f"KILL {number}")
        except MySQLError as error:
            if error.args[0] != _UNKNOWN_THREAD:  # that one has ended by itself
                raise
    await server.execute_as_superuser(f"DROP DATABASE IF EXISTS {name}")
