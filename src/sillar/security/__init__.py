"""Security: credentials and where they come from, their rotation, TLS contexts."""

from sillar.security.credential_manager import CredentialAttachment, DatabaseCredentialManager
from sillar.security.credentials import resolve_credentials
from sillar.security.lease import CredentialLease
from sillar.security.rotation import AlternatingUsersRotation, CredentialRotation, SameUserRotation
from sillar.security.sources import (
    AWSSecretsSource,
    EncryptedStoreSource,
    EnvironmentSource,
    FolderSource,
    HostSource,
    Secret,
    SecretSource,
    StoreKeys,
    VaultAppRole,
    VaultDatabaseSource,
    VaultKubernetes,
    VaultLogin,
    VaultSource,
    VaultToken,
    secret_text,
)
from sillar.security.tls import DatabaseSecurityManager

__all__ = [
    "AWSSecretsSource",
    "AlternatingUsersRotation",
    "CredentialAttachment",
    "CredentialLease",
    "CredentialRotation",
    "DatabaseCredentialManager",
    "DatabaseSecurityManager",
    "EncryptedStoreSource",
    "EnvironmentSource",
    "FolderSource",
    "HostSource",
    "SameUserRotation",
    "Secret",
    "SecretSource",
    "StoreKeys",
    "VaultAppRole",
    "VaultDatabaseSource",
    "VaultKubernetes",
    "VaultLogin",
    "VaultSource",
    "VaultToken",
    "resolve_credentials",
    "secret_text",
]
