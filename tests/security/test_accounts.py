"""Passwords are changed on real servers, and the server's log never has them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.security.users import database, may_log_in, new_user, set_password

from sillar.config import DatabaseConfig
from sillar.engines import open_adapter
from sillar.engines.accounts import check_password, check_user, new_password
from sillar.errors import StatementError, UnsupportedCapabilityError, UsageError
from sillar.testing.servers import MariaDBServer, MySQLServer, PostgreSQLServer


@pytest.mark.parametrize("server", ["postgresql", "postgresql18", "mariadb", "mysql", "mongodb"], indirect=True)
async def test_a_password_is_changed(server: Any) -> None:
    ana = await new_user(server)
    second = new_password()
    both_work = await set_password(server, ana, second, keep_old=True)
    assert await may_log_in(server, ana, second)
    assert await may_log_in(server, ana, "first") is both_work
    assert both_work is (type(server) is MySQLServer)
    third = new_password()
    assert not await set_password(server, ana, third)
    assert await may_log_in(server, ana, third)
    assert not await may_log_in(server, ana, second)
    with pytest.raises(StatementError) as caught:
        await set_password(server, "nobody_of_that_name", "CANARY")
    assert caught.value.__cause__ is None
    assert "CANARY" not in f"{caught.value!r} {caught.value}"
    if server.log is not None:
        said = server.log.read_bytes()
        assert second.encode() not in said
        assert third.encode() not in said
        assert b"CANARY" not in said


async def test_who_may_not_change_passwords_is_told_so(postgresql: PostgreSQLServer, mariadb: MariaDBServer) -> None:
    for server in (postgresql, mariadb):
        berta = await new_user(server)
        adapter = open_adapter(database(server))
        connection = await adapter.open_connection()
        try:
            with pytest.raises(StatementError) as caught:
                await adapter.accounts.change_password(connection, berta, "CANARY", keep_old=True)
            assert "CANARY" not in str(caught.value)
        finally:
            await connection.close()


@pytest.mark.parametrize("password", ["", "a'b", 'a"b', "a\\b", "ñ", "a\nb"])
def test_passwords_that_not_every_server_takes(password: str) -> None:
    with pytest.raises(UsageError, match="printable ASCII") as caught:
        check_password(password)
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize("user", ["", "a'b", 'a"b', "a`b", "a\\b", "a\0b"])
def test_users_that_cannot_be_quoted(user: str) -> None:
    with pytest.raises(UsageError, match="in its name"):
        check_user(user)


def test_what_is_taken() -> None:
    assert len(new_password()) == 43
    assert check_password(new_password())
    assert check_user("naïve user-1") == "naïve user-1"


def test_sqlite_has_no_users(tmp_path: Any) -> None:
    adapter = open_adapter(DatabaseConfig.from_url(f"sqlite:///{tmp_path}/a.db").connection())
    with pytest.raises(UnsupportedCapabilityError, match="changing passwords"):
        _ = adapter.accounts
