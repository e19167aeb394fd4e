"""Sources of secrets."""

from sillar.security.sources.aws import AWSSecretsSource
from sillar.security.sources.encrypted import EncryptedStoreSource, StoreKeys
from sillar.security.sources.environment import EnvironmentSource
from sillar.security.sources.folder import FolderSource
from sillar.security.sources.host import HostSource, as_source
from sillar.security.sources.secret import Secret, SecretSource, secret_text, wrong_secret
from sillar.security.sources.vault import VaultDatabaseSource, VaultSource
from sillar.security.sources.vault_connection import VaultAppRole, VaultKubernetes, VaultLogin, VaultToken

__all__ = [
    "AWSSecretsSource",
    "EncryptedStoreSource",
    "EnvironmentSource",
    "FolderSource",
    "HostSource",
    "Secret",
    "SecretSource",
    "StoreKeys",
    "VaultAppRole",
    "VaultDatabaseSource",
    "VaultKubernetes",
    "VaultLogin",
    "VaultSource",
    "VaultToken",
    "as_source",
    "secret_text",
    "wrong_secret",
]
