"""AWS Secrets Manager."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from pydantic import SecretStr

from sillar.errors import ConnectError, UsageError
from sillar.security.sources.secret import Secret, SecretSource, wrong_secret

_CONNECT_SECONDS, _READ_SECONDS = 3.0, 5.0


class AWSSecretsSource(SecretSource):
    """Secrets of AWS Secrets Manager by name or ARN; who we are is found as AWS's own tools find it.

    The text is what the rotations of AWS write: JSON with ``username`` and ``password``, beside ``host`` and others.

    Args:
        region: such as ``eu-central-1``; None: as the environment or the profile says.
        endpoint_url: of another server with the same interface.
        settings: further arguments of ``aiobotocore``'s ``create_client``; ``config`` has shorter time-outs and fewer
            attempts than its own, unless it is given.
    """

    def __init__(self, region: str | None = None, *, endpoint_url: str | None = None, **settings: Any) -> None:
        self._session = _aiobotocore("session").get_session()
        patience = _aiobotocore("config").AioConfig(
            connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS, retries={"total_max_attempts": 2}
        )
        self._settings = {"region_name": region, "endpoint_url": endpoint_url, "config": patience, **settings}
        self.description = f"AWS Secrets Manager{f' in {region}' if region else ''}"

    async def read(self, name: str) -> Secret:
        async with self._client(name) as client:
            reply = await client.get_secret_value(SecretId=name)
        if "SecretString" not in reply:
            raise wrong_secret(name, "is binary", "store a text")
        return Secret(SecretStr(reply["SecretString"]))

    def check_writable(self, name: str) -> None:
        """Whether a policy allows it is seen when it is written."""

    async def write(self, name: str, text: SecretStr) -> None:
        async with self._client(name) as client:
            await client.put_secret_value(SecretId=name, SecretString=text.get_secret_value())

    @asynccontextmanager
    async def _client(self, name: str) -> AsyncIterator[Any]:
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

        try:
            async with self._session.create_client("secretsmanager", **self._settings) as client:
                yield client
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            if code == "ResourceNotFoundException":
                raise wrong_secret(name, f"{self.description} has none of that name", "create it") from None
            raise ConnectError(f"{self.description} failed for {name!r}: {code}") from None
        except (BotoCoreError, OSError) as error:
            raise ConnectError(f"{self.description} failed for {name!r}: {type(error).__name__}") from None


def _aiobotocore(module: str) -> Any:
    try:
        return import_module(f"aiobotocore.{module}")
    except ImportError:
        raise UsageError("AWS Secrets Manager needs the package aiobotocore: install sillar[aws]") from None
