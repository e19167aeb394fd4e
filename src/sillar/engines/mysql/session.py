"""The session contract of MySQL and MariaDB: what a session looks like whenever somebody gets it."""

from __future__ import annotations

from typing import Any, Final

from sillar.config import MySQLConfig
from sillar.engines.mysql import driver
from sillar.engines.mysql.values import identifier
from sillar.errors import UsageError

_STRICT: Final = frozenset({"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES", "TRADITIONAL"})
_SAFE_CHARSETS: Final = frozenset({"utf8mb4", "utf8mb3", "utf8", "latin1", "ascii"})


class SessionContract:
    """Sets a session up, and again after each reset.

    autocommit, time zone UTC, the character set, a strict ``sql_mode`` in which a backslash escapes, the configured
    limits, the configured database.

    Args:
        config: the database.

    Raises:
        UsageError: the configuration asks for a character set or sql_mode in which values could not be escaped safely.
    """

    def __init__(self, config: MySQLConfig) -> None:
        options = config.connection_options
        self._database = config.database
        self._options = options
        self._read_only = config.read_only
        if options.charset.lower() not in _SAFE_CHARSETS:
            raise UsageError(
                f"charset {options.charset!r} is unknown or has characters that contain a backslash, so values could"
                f" not be escaped safely; use one of {', '.join(sorted(_SAFE_CHARSETS))}"
            )
        if options.sql_mode is not None and "NO_BACKSLASH_ESCAPES" in options.sql_mode.upper():
            raise UsageError("sql_mode NO_BACKSLASH_ESCAPES is refused: values are escaped by backslashes; remove it")

    async def establish(self, raw: Any) -> tuple[str, int]:
        """Set up a new connection.

        Returns:
            the text that :func:`driver.restore` needs later, and the server's ``max_allowed_packet`` in bytes.
        """
        result = (await driver.query(raw, "SELECT @@sql_mode, @@max_allowed_packet"))[0]
        sql_mode, packet = result.rows[0]
        text = self._text(_modes(self._options.sql_mode, str(sql_mode)), is_mariadb="MariaDB" in raw.server_version)
        await driver.query(raw, text)
        return text, int(packet)

    def _text(self, sql_mode: str, *, is_mariadb: bool) -> str:
        options = self._options
        settings = [
            "autocommit = 1",
            "time_zone = '+00:00'",
            f"sql_mode = '{sql_mode}'",
        ]
        if options.lock_timeout is not None:
            settings.append(f"innodb_lock_wait_timeout = {max(1, round(options.lock_timeout))}")
        if options.statement_timeout is not None:
            settings.append(
                f"max_statement_time = {options.statement_timeout:.3f}"
                if is_mariadb
                else f"max_execution_time = {max(1, round(options.statement_timeout * 1000))}"
            )
        if self._read_only:
            settings.append("tx_read_only = 1" if is_mariadb else "transaction_read_only = 1")
        parts = [f"USE {identifier(self._database)}", f"SET NAMES {options.charset}, {', '.join(settings)}"]
        if options.init_command:
            parts.append(options.init_command.rstrip().rstrip(";"))
        return "; ".join(parts)


def _modes(wanted: str | None, current: str) -> str:
    """The sql_mode of the session: what is configured as it stands, else the server's made strict."""
    modes = [mode.strip().upper() for mode in (current if wanted is None else wanted).split(",")]
    kept = [mode for mode in modes if mode.replace("_", "").isalnum() and mode != "NO_BACKSLASH_ESCAPES"]
    if wanted is None and _STRICT.isdisjoint(kept):
        kept.append("STRICT_TRANS_TABLES")
    return ",".join(kept)
