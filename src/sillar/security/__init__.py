"""Security: credentials by name, TLS contexts."""

from sillar.security.credentials import resolve_credentials
from sillar.security.tls import DatabaseSecurityManager

__all__ = ["DatabaseSecurityManager", "resolve_credentials"]
