"""AWS Secrets Manager as a source. Verified against moto, an emulator of it, only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr
from tests.security.load import read, under_load
from tests.security.users import administrator, configured, database, new_user

from sillar import DatabaseManager
from sillar.errors import ConfigurationError, ConnectError
from sillar.security.credential_manager import DatabaseCredentialManager
from sillar.security.rotation import AlternatingUsersRotation
from sillar.security.sources import AWSSecretsSource
from sillar.testing.servers import PostgreSQLServer


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
async def source(moto: str) -> AsyncIterator[AWSSecretsSource]:
    async with AWSSecretsSource(
        "eu-central-1", endpoint_url=moto, aws_access_key_id="key", aws_secret_access_key="CANARY"
    ) as made:
        yield made


async def create(source: AWSSecretsSource, name: str, **value: Any) -> None:
    async with source._client(name) as client:
        await client.create_secret(Name=name, **value)


async def test_two_users_take_turns_in_aws(source: AWSSecretsSource, postgresql: PostgreSQLServer) -> None:
    users = [await new_user(postgresql), await new_user(postgresql)]
    stored = {"engine": "postgres", "host": "db", "username": users[0], "password": "first"}
    await create(source, "main", SecretString=json.dumps(stored))
    rotation = AlternatingUsersRotation(database(postgresql), users, administrator=administrator(postgresql))
    credentials = DatabaseCredentialManager(source, rotations={"default": rotation})
    async with DatabaseManager(configured(postgresql), secrets=credentials) as manager:
        async with under_load(manager, read, workers=2) as load:
            await credentials.rotate_credentials("default")
            await load.more(10)
        assert load.failures == []
        assert await manager.session().fetch_value("SELECT session_user") == users[1]
    kept = json.loads(await source.get_secret("main"))
    assert (kept["engine"], kept["host"], kept["username"]) == ("postgres", "db", users[1])


async def test_what_aws_does_not_give(source: AWSSecretsSource) -> None:
    with pytest.raises(ConfigurationError, match="has none of that name"):
        await source.read("none")
    await create(source, "binary", SecretBinary=b"x")
    with pytest.raises(ConfigurationError, match="is binary"):
        await source.read("binary")
    source.check_writable("none")
    with pytest.raises(ConfigurationError, match="has none of that name"):
        await source.write("none", SecretStr("x"))
    with pytest.raises(ConnectError, match=r"Exception$"):
        await create(source, "binary", SecretBinary=b"x")


async def test_an_aws_that_cannot_be_reached() -> None:
    source = AWSSecretsSource(
        "eu-central-1", endpoint_url="http://127.0.0.1:9", aws_access_key_id="k", aws_secret_access_key="s"
    )
    with pytest.raises(ConnectError, match="EndpointConnectionError") as caught:
        await source.read("main")
    assert caught.value.__cause__ is None
