"""Passwords of MySQL's and MariaDB's users."""

from __future__ import annotations

from typing import Any, NoReturn

from asyncmy.errors import MySQLError

from sillar import errors
from sillar.engines.accounts import check_password, check_user
from sillar.engines.connection import DriverConnection
from sillar.engines.mysql import driver
from sillar.engines.mysql.errors import server_code, statement_error

_DENIED = 1227  # a right is missing


class MySQLAccounts:
    """``ALTER USER … IDENTIFIED BY``, for every account (``user@host``) of that name; of a user's own, the one it is
    logged in with. The servers keep the password out of their logs by rewriting the statement.

    MySQL (8.0.14 and later) can keep the old password beside the new one, for whoever has CREATE USER or
    APPLICATION_PASSWORD_ADMIN; MariaDB cannot.
    """

    async def change_password(
        self, connection: DriverConnection[Any], user: str, password: str, *, keep_old: bool
    ) -> bool:
        raw = connection.raw
        quoted, name = check_password(password), check_user(user)
        try:
            [(version, me)] = (await driver.query(raw, "SELECT version(), current_user()"))[0].rows
            is_mariadb, is_own = "mariadb" in version.lower(), me.rpartition("@")[0] == name
            if is_mariadb and is_own:  # its ALTER USER wants a right even for that
                await driver.query(raw, f"SET PASSWORD = PASSWORD('{quoted}')")
                return False
            accounts = ["CURRENT_USER()"] if is_own else await _accounts(raw, name)
            if not accounts:
                raise errors.StatementError(f"{connection.address} has no user {name!r}")
            kept = keep_old and not is_mariadb
            for account in accounts:
                statement = f"ALTER USER {account} IDENTIFIED BY '{quoted}'"
                if kept:
                    try:
                        await driver.query(raw, f"{statement} RETAIN CURRENT PASSWORD")
                        continue
                    except MySQLError as error:
                        if server_code(error) != _DENIED:
                            raise
                        kept = False
                await driver.query(raw, statement)
        except (MySQLError, OSError) as error:
            _refuse(error, connection.address)
        return kept


async def _accounts(raw: Any, name: str) -> list[str]:
    hosts_of = f"SELECT host FROM mysql.user WHERE user = '{name}'"  # noqa: S608 - a checked name
    found = (await driver.query(raw, hosts_of))[0].rows
    return [f"'{name}'@'{check_user(str(host))}'" for (host,) in found]


def _refuse(error: BaseException, address: str) -> NoReturn:
    translated = statement_error(error, address=address, safe_to_retry=False, timeout_seconds=None)
    raise (translated or error) from None
