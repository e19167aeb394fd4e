"""Secrets in environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from pydantic import SecretStr

from sillar.security.sources.secret import Secret, SecretSource, wrong_secret


class EnvironmentSource(SecretSource):
    """Secret ``shop/main`` is the variable ``SHOP_MAIN``: upper case, and ``_`` for what a variable cannot have.

    Args:
        prefix: stands before every name, such as ``DB_PASSWORD_``.
        environment: where to look; None: this process, at the moment of asking.
    """

    def __init__(self, prefix: str = "", environment: Mapping[str, str] | None = None) -> None:
        self._prefix = prefix
        self._environment = environment
        self.description = f"the environment ({prefix}…)" if prefix else "the environment"

    async def read(self, name: str) -> Secret:
        variable = self.variable(name)
        value = (os.environ if self._environment is None else self._environment).get(variable)
        if not value:
            raise wrong_secret(name, f"the environment variable {variable} is not set", "set it")
        return Secret(SecretStr(value))

    def variable(self, name: str) -> str:
        """The variable that holds the secret ``name``."""
        return self._prefix + re.sub(r"[^A-Za-z0-9_]", "_", name).upper()
