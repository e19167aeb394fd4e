"""Passwords of MongoDB's users."""

from __future__ import annotations

from typing import Any

from pymongo.errors import PyMongoError

from sillar import errors
from sillar.config import MongoDBConfig
from sillar.engines.accounts import check_password, check_user
from sillar.engines.connection import DriverConnection


class MongoDBAccounts:
    """``updateUser`` in the database that the user logs in against; MongoDB keeps no old password.

    Args:
        config: says which database that is: ``auth_source``, else the database itself.
    """

    def __init__(self, config: MongoDBConfig) -> None:
        self._database = config.connection_options.auth_source or config.database

    async def change_password(
        self, connection: DriverConnection[Any], user: str, password: str, *, keep_old: bool
    ) -> bool:
        database = connection.raw.get_database(self._database)
        try:
            await database.command("updateUser", check_user(user), pwd=check_password(password))
        except PyMongoError as error:
            code = getattr(error, "code", None)
            raise errors.StatementError(
                f"{connection.address} did not change the password of {user!r} in {self._database!r}:"
                f" {type(error).__name__}", code=code,
            ) from None  # fmt: skip
        return False
