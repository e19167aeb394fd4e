"""Errors as MongoDB words them, and the translation of PostgreSQL's and DocumentDB's error states into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CODE_NAMES = {
    1: "InternalError",
    2: "BadValue",
    5: "GraphContainsCycle",
    9: "FailedToParse",
    13: "Unauthorized",
    14: "TypeMismatch",
    15: "Overflow",
    16: "InvalidLength",
    18: "AuthenticationFailed",
    20: "IllegalOperation",
    24: "LockTimeout",
    26: "NamespaceNotFound",
    27: "IndexNotFound",
    28: "PathNotViable",
    34: "CannotBackfillArray",
    40: "ConflictingUpdateOperators",
    43: "CursorNotFound",
    48: "NamespaceExists",
    50: "MaxTimeMSExpired",
    52: "DollarPrefixedFieldName",
    54: "NotSingleValueField",
    56: "EmptyFieldName",
    57: "DottedFieldName",
    59: "CommandNotFound",
    61: "ShardKeyNotFound",
    66: "ImmutableField",
    67: "CannotCreateIndex",
    68: "IndexAlreadyExists",
    72: "InvalidOptions",
    73: "InvalidNamespace",
    85: "IndexOptionsConflict",
    86: "IndexKeySpecsConflict",
    91: "ShutdownInProgress",
    112: "WriteConflict",
    115: "CommandNotSupported",
    121: "DocumentValidationFailure",
    146: "ExceededMemoryLimit",
    165: "ViewDepthLimitExceeded",
    166: "CommandNotSupportedOnView",
    167: "OptionNotSupportedOnView",
    168: "InvalidPipelineOperator",
    171: "CannotIndexParallelArrays",
    197: "InvalidIndexSpecificationOption",
    224: "QueryFeatureNotAllowed",
    225: "TransactionTooOld",
    241: "ConversionFailure",
    251: "NoSuchTransaction",
    256: "TransactionCommitted",
    263: "OperationNotSupportedInTransaction",
    276: "IndexBuildAborted",
    10107: "NotWritablePrimary",
    10334: "BSONObjectTooLarge",
    11000: "DuplicateKey",
    11601: "Interrupted",
    11602: "InterruptedDueToReplStateChange",
    12051: "CursorInUse",
    13435: "NotPrimaryNoSecondaryOk",
    14031: "OutOfDiskSpace",
    40324: "Location40324",
    40415: "Location40415",
}

# DocumentDB numbers its errors in SQLSTATEs of its own class M0.
_FROM_SQLSTATE = {
    "M0000": 1,
    "M0001": 2,
    "M0002": 5,
    "M0003": 9,
    "M0004": 14,
    "M0005": 15,
    "M0006": 20,
    "M0008": 26,
    "M0009": 27,
    "M000A": 28,
    "M000C": 34,
    "M000D": 40,
    "M000E": 43,
    "M000F": 48,
    "M000G": 52,
    "M000I": 54,
    "M000J": 56,
    "M000K": 57,
    "M000L": 61,
    "M000M": 66,
    "M000N": 67,
    "M000O": 68,
    "M000P": 72,
    "M000Q": 73,
    "M000R": 85,
    "M000S": 86,
    "M000U": 115,
    "M000W": 146,
    "M000Y": 165,
    "M000Z": 166,
    "M0010": 167,
    "M0012": 197,
    "M0013": 224,
    "M0015": 241,
    "M0016": 263,
    "M0017": 276,
    "M001B": 10334,
    "M001C": 11000,
    "M001P": 15959,
    "M005E": 168,
    "M007U": 40324,
    "M0088": 40415,
    "M00CO": 121,
    "M00DO": 16,
    "M00E8": 10107,
    "M00EW": 24,
    "M00EY": 59,
    "M00F1": 112,
    "M00FD": 171,
    "22P02": 2,
    "22023": 2,
    "23505": 11000,
    "23P01": 11000,
    "25006": 10107,
    "40001": 112,
    "40P01": 112,
    "42P01": 26,
    "0A000": 115,
    "53100": 14031,
    "55P03": 112,
    "57P01": 91,
    "57P02": 91,
    "57P03": 91,
}
_RETRYABLE_WRITES = frozenset({91, 10107, 11602, 13435})
QUERY_CANCELLED = "57014"


class CommandError(Exception):
    """A command that failed as a whole.

    Attributes:
        code: MongoDB's error code.
        labels: error labels, such as ``TransientTransactionError``.
        fields: further fields of the reply, such as ``keyPattern``.
    """

    def __init__(
        self, code: int, message: str, *, labels: Sequence[str] = (), fields: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.labels = list(labels)
        self.fields = dict(fields or {})

    def document(self) -> dict[str, Any]:
        """The reply that tells the client."""
        name = CODE_NAMES.get(self.code, f"Location{self.code}")
        labels = {"errorLabels": self.labels} if self.labels else {}
        return {"ok": 0.0, "errmsg": self.message, "code": self.code, "codeName": name, **self.fields, **labels}

    def label(self, *, in_transaction: bool, retryable_write: bool) -> CommandError:
        """Add the labels that MongoDB gives this code in that situation. Returns the error itself."""
        if in_transaction and self.code in (91, 112, 251, 10107, 11602, 13435):
            self.labels.append("TransientTransactionError")
        elif retryable_write and self.code in _RETRYABLE_WRITES:
            self.labels.append("RetryableWriteError")
        return self


def code_of(sqlstate: str) -> int:
    """MongoDB's code for an SQLSTATE of PostgreSQL or DocumentDB; 1 (InternalError) for those that have none."""
    return _FROM_SQLSTATE.get(sqlstate, 1)


def from_sqlstate(sqlstate: str, message: str) -> CommandError:
    """The command's error for an error state of PostgreSQL."""
    code = code_of(sqlstate)
    return CommandError(code, f"{message} (SQLSTATE {sqlstate})" if code == 1 else message)


def unpack_sqlstate(packed: int) -> str:
    """DocumentDB reports write errors with the SQLSTATE packed into an integer, six bits for each character."""
    return "".join(chr(((packed >> (6 * place)) & 0x3F) + ord("0")) for place in range(5))
