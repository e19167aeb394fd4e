"""The translation of replies that no test can provoke here: a full disk, a shutdown, members that do not confirm.

The exceptions are the driver's own, made of the replies that the manual and the driver specifications describe.
"""

from __future__ import annotations

from typing import Any

import pymongo.errors as driver
import pytest

from sillar import errors
from sillar.engines.mongodb.errors import connect_error, statement_error


def translated(error: BaseException, **more: Any) -> Any:
    return statement_error(error, node="db:27017", collection="stones", **more)


def refused(code: int, message: str = "no", **fields: Any) -> driver.OperationFailure:
    return driver.OperationFailure(message, code, {"ok": 0, "code": code, "errmsg": message, **fields})


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (112, errors.SerializationError),
        (24, errors.LockTimeoutError),
        (50, errors.StatementTimeoutError),
        (14031, errors.DiskFullError),
        (13, errors.AuthenticationError),
        (18, errors.AuthenticationError),
        (8000, errors.AuthenticationError),
        (91, errors.ConnectionLostError),
        (11600, errors.ConnectionLostError),
        (9001, errors.ConnectionLostError),
        (10107, errors.ReadOnlyError),
        (189, errors.ConnectionLostError),
        (40415, errors.StatementSyntaxError),
        (17280, errors.UnknownStatementError),
    ],
)
def test_codes(code: int, kind: type[errors.DatabaseError]) -> None:
    found = translated(refused(code))
    assert type(found) is kind
    assert found.node == "db:27017"
    assert str(code) in str(found) or kind is errors.StatementTimeoutError
    if isinstance(found, errors.StatementError):
        assert (found.code, found.table) == (code, "stones")


def test_a_server_that_is_no_primary_or_shuts_down() -> None:
    assert (
        type(translated(driver.NotPrimaryError("not primary", {"code": 10107, "errmsg": "x"}))) is errors.ReadOnlyError
    )
    lost = translated(driver.NotPrimaryError("shutdown", {"code": 91, "errmsg": "x"}), safe_to_retry=True)
    assert type(lost) is errors.ConnectionLostError
    assert lost.safe_to_retry


def test_the_labels_of_transactions() -> None:
    transient = refused(263, errorLabels=["TransientTransactionError"])
    assert type(translated(transient, in_transaction=True)) is errors.SerializationError
    broken = driver.AutoReconnect("connection closed", {"errorLabels": ["TransientTransactionError"]})
    lost = translated(broken, in_transaction=True)
    assert type(lost) is errors.ConnectionLostError
    assert lost.safe_to_retry
    assert not translated(driver.AutoReconnect("connection closed")).safe_to_retry


def test_a_write_that_is_not_confirmed() -> None:
    reply = {"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}
    for error in (
        driver.WTimeoutError("timed out", 64, reply),
        driver.BulkWriteError({"writeErrors": [], "writeConcernErrors": [reply], "nInserted": 3}),
    ):
        found = translated(error)
        assert type(found) is errors.UnknownStatementError
        assert found.code == 64
        assert not found.safe_to_retry
        assert "was applied" in str(found)


def test_a_validator_names_the_field() -> None:
    info = {
        "failingDocumentId": 1,
        "details": {
            "operatorName": "$jsonSchema",
            "schemaRulesNotSatisfied": [
                {"operatorName": "properties", "propertiesNotSatisfied": [{"propertyName": "weight", "details": []}]}
            ],
        },
    }
    found = translated(
        driver.WriteError("Document failed validation", 121, {"code": 121, "errmsg": "x", "errInfo": info})
    )
    assert type(found) is errors.CheckViolationError
    assert found.column == "weight"
    info = {"details": {"schemaRulesNotSatisfied": [{"missingProperties": ["kind"]}]}}
    assert translated(refused(121, errInfo=info)).column == "kind"


def test_time_limits_and_queues_of_the_driver() -> None:
    late = driver.NetworkTimeout("timed out")
    assert type(translated(late, timeout_seconds=0.5)) is errors.StatementTimeoutError
    assert "0.5 s" in str(translated(late, timeout_seconds=0.5))
    assert type(translated(late)) is errors.ConnectionLostError
    assert type(translated(driver.WaitQueueTimeoutError("full"))) is errors.PoolTimeoutError


def test_what_breaks_while_a_connection_is_opened_was_not_sent() -> None:
    error = driver.AutoReconnect("connection closed", {"errorLabels": ["SystemOverloadedError"]})
    found = translated(error)
    assert type(found) is errors.ConnectError
    assert found.safe_to_retry
    assert "limit of connections" in str(found)


def test_connecting() -> None:
    silent = driver.ServerSelectionTimeoutError("No servers found yet")
    assert "none has answered" in str(connect_error(silent, node="db:27017", seconds=5.0))
    cause = driver.AutoReconnect(
        "db:27017: [Errno -2] Name or service not known (configured timeouts: connectTimeoutMS: 1)"
    )
    told = connect_error(silent, node="db:27017", failures=[cause], seconds=5.0)
    assert str(told) == "no suitable server was found at db:27017 within 5 s: [Errno -2] Name or service not known"
    tls = driver.AutoReconnect("db:27017: [SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)")
    assert "WRONG_VERSION_NUMBER" in str(connect_error(silent, node="db:27017", failures=[tls]))
    assert type(connect_error(silent, node="db:27017", failures=[tls])) is errors.CertificateError


def test_defects_of_ours_are_not_translated() -> None:
    with pytest.raises(TypeError) as defect:
        len(5)  # type: ignore[arg-type]
    assert translated(defect.value) is None
    assert translated(ZeroDivisionError()) is None
