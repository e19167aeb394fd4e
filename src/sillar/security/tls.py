"""TLS as the security rules of a configuration want it."""

from __future__ import annotations

import ssl

from sillar.config import DatabaseSecurityConfig, SSLConfig, ssl_context
from sillar.errors import UsageError


class DatabaseSecurityManager:
    """Applies ``DatabaseSecurityConfig``."""

    def __init__(self, config: DatabaseSecurityConfig) -> None:
        self.config = config
        self._contexts: dict[SSLConfig, ssl.SSLContext] = {}

    def create_ssl_context(self, ssl_config: SSLConfig) -> ssl.SSLContext:
        """The client context for ``ssl_config``, with at least ``minimum_tls_version``.

        The same one each time: it follows its files, so that renewed certificates are used from the next handshake on.

        Raises:
            UsageError: mode ``disable`` has no context.
            ConfigurationError: a certificate or key cannot be read.
        """
        floor = self.config.minimum_tls_version
        if ssl_config.minimum_version is None or ssl_config.minimum_version < floor:  # "TLSv1.2" < "TLSv1.3"
            ssl_config = ssl_config.model_copy(update={"minimum_version": floor})
        context = self._contexts.get(ssl_config)
        if context is None:
            context = ssl_context(ssl_config)
            if context is None:
                raise UsageError(
                    "ssl_config.mode is disable: a connection without TLS has no context; ask for verify-full"
                )
            self._contexts[ssl_config] = context
        return context
