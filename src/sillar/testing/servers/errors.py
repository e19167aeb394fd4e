"""What can go wrong with a throwaway server."""

from __future__ import annotations

from sillar.errors import UnavailableError, UsageError


class ServerNotFoundError(UsageError):
    """No binaries of that server on this machine, and no address in the environment. The message has the remedy."""


class ServerNotOursError(UsageError):
    """The server was given by an address in the environment: it is not ours to stop, freeze, kill or reconfigure."""


class ServerStartError(UnavailableError):
    """The server did not come up. The message ends with the tail of its log and says where the whole log is kept."""

    safe_to_retry = False


class ServerCommandError(UnavailableError):
    """A command beside the server (initdb, pg_basebackup, …) failed. The message ends with the tail of its output."""

    safe_to_retry = False


class InstallError(UnavailableError):
    """A package or tree could not be installed. The message has the remedy."""

    safe_to_retry = False
