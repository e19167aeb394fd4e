"""No password in any repr, text, dump of an error or traceback message, whatever the URL looks like."""

from __future__ import annotations

import asyncio
import string
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sillar.config import (
    DatabaseConfig,
    DatabaseCredentials,
    PostgreSQLConfig,
    SecretsManager,
    SSLConfig,
    load_config,
)
from sillar.errors import ConfigurationError
from sillar.security import resolve_credentials

MARK = "Zq7Xw"
"""Stands in front of and behind every character that might cut a password in two."""

SCHEMES = st.sampled_from(["postgresql", "postgres", "mysql", "mongodb", "mysql+aiomysql", "pstgresql", "sqlite", "x"])
PASSWORDS = st.text(st.sampled_from(string.punctuation + "a1 é"), max_size=8).map(lambda text: f"{MARK}{text}{MARK}")
HOSTS = st.sampled_from(["localhost", "db.example", "a,b:1", "[::1]", "::1", "", "h:port", "h:99999", "%2Frun"])
QUERIES = st.sampled_from(["", "?sslmode=verfy", "?bogus=1", "?pool_size=1", "?port=x", "?replicaSet=r&w=0"])


def everything_said(error: BaseException) -> str:
    lines = [str(error), repr(error), "".join(traceback.format_exception(error))]
    if isinstance(error, ConfigurationError):
        lines.append(repr(error.faults))
    return "\n".join(lines)


@settings(deadline=None)
@given(SCHEMES, PASSWORDS, HOSTS, QUERIES, st.booleans(), st.sampled_from(["dev", "prod"]))
def test_a_password_in_a_url_is_never_said(
    scheme: str, password: str, host: str, query: str, encoded: bool, profile: str
) -> None:
    url = f"{scheme}://me:{quote(password, safe='') if encoded else password}@{host}/shop{query}"
    try:
        config = load_config(url=url, environment={}, profile=profile)
    except ConfigurationError as error:
        said = everything_said(error) + repr((error.__cause__, error.__context__))
    else:
        database = config.connection()
        said = f"{config!r} {config} {config.model_dump()} {config.model_dump_json()} {database.display_name}"
        if encoded and scheme != "sqlite":
            assert database.credentials.password is not None
            assert database.credentials.password.get_secret_value() == password
        if scheme == "sqlite":
            return  # a path, without a password
    assert MARK not in said


@settings(deadline=None)
@given(PASSWORDS.filter(lambda text: "\0" not in text), st.sampled_from(["engine", "port", "hots", "ssl_config__mode"]))
def test_a_password_in_the_environment_is_never_said(password: str, wrong: str) -> None:
    environment = {
        "SILLAR__DATABASES__MAIN__HOST": "h",
        "SILLAR__DATABASES__MAIN__CREDENTIALS__PASSWORD": password,
        "SILLAR__DATABASES__MAIN__CREDENTIALS__PASWORD": password,
        "SILLAR__DATABASES__MAIN__SSL_CONFIG__KEY_PASSWORD": password,
        "SILLAR__DATABASES__OTHER": password,
        "SILLAR__PASSWORD": password,
        f"SILLAR__DATABASES__MAIN__{wrong.upper()}": "wrong",
    }
    with pytest.raises(ConfigurationError) as refused:
        load_config(environment=environment)
    assert len(refused.value.faults) >= 4
    assert MARK not in everything_said(refused.value)


def test_a_password_in_a_file_or_a_model_is_never_said(tmp_path: Path) -> None:
    path = tmp_path / "sillar.toml"
    path.write_text(
        f'databases.a = {{engine = "mysql", host = "h", credentials.password = "{MARK}", pasword = "{MARK}"}}'
    )
    with pytest.raises(ConfigurationError) as refused:
        load_config(file=path, environment={})
    assert MARK not in everything_said(refused.value)
    with pytest.raises(ConfigurationError) as refused:
        DatabaseCredentials(user="", password=MARK, password_secret="x")  # type: ignore[arg-type]
    assert len(refused.value.faults) == 2
    assert MARK not in everything_said(refused.value)
    with pytest.raises(ConfigurationError) as refused:
        PostgreSQLConfig(host=f"me:{MARK}@h", port=f"postgresql://me:{MARK}@h", database="d")  # type: ignore[arg-type]
    assert len(refused.value.faults) == 2
    assert MARK not in everything_said(refused.value)
    with pytest.raises(ValidationError) as wrong:
        DatabaseConfig.model_validate({"databases": {"a": f"mysql://me:{MARK}@h/d"}, "password": MARK})
    assert MARK not in everything_said(wrong.value)
    assert MARK not in repr(SSLConfig(key_password=MARK))  # type: ignore[arg-type]


class Vault:
    """A secrets manager of a host application that rotates at every call."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def get_secret(self, name: str) -> str:
        if name == "lost":
            raise LookupError(name)
        self.asked.append(name)
        return f"{MARK}{len(self.asked)}"


def test_credentials_by_the_name_of_a_secret() -> None:
    vault = Vault()
    assert isinstance(vault, SecretsManager)
    named = DatabaseCredentials(user="me", password_secret="db/main")

    async def run() -> None:
        for number in (1, 2):
            resolved = await resolve_credentials(named, vault)
            assert resolved.user == "me"
            assert resolved.password is not None
            assert resolved.password.get_secret_value() == f"{MARK}{number}"
            assert MARK not in repr(resolved)
        assert vault.asked == ["db/main", "db/main"]
        plain = DatabaseCredentials(user="me")
        assert await resolve_credentials(plain, None) is plain
        with pytest.raises(ConfigurationError, match="give the manager a SecretsManager"):
            await resolve_credentials(named, None)
        with pytest.raises(LookupError, match="lost"):
            await resolve_credentials(DatabaseCredentials(password_secret="lost"), vault)

    asyncio.run(run())
