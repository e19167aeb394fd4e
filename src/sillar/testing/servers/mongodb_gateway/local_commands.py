"""Commands that the gateway answers by itself: who it is, authentication, sessions, running operations."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from bson import Binary, Int64
from bson.raw_bson import RawBSONDocument

from sillar.testing.servers.mongodb_gateway.command_error import CommandError
from sillar.testing.servers.mongodb_gateway.operation import Operation
from sillar.testing.servers.mongodb_gateway.scram import (
    AuthenticationRefusedError,
    ScramConversation,
    ScramCredentials,
)

if TYPE_CHECKING:
    from sillar.testing.servers.mongodb_gateway.gateway import Client, Gateway

SET_NAME = "sillar"
VERSION = "7.0.0"
WIRE_VERSION_MAX = 21
_STEP_DOWN_SECONDS = 60
Reply = dict[str, Any]
_OK: Reply = {"ok": 1.0}


def hidden(command: dict[str, Any]) -> dict[str, Any]:
    """The command as ``$currentOp`` shows it: without the documents of a write and without SASL payloads."""
    return {field: value for field, value in command.items() if field not in ("documents", "payload", "pwd")}


class LocalCommands:
    """``handlers`` maps a command's canonical name to its coroutine function; ``open`` are those that need no login."""

    open = frozenset(
        ("hello", "isMaster", "ping", "buildInfo", "connectionStatus", "saslStart", "saslContinue", "logout")
    )

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.handlers: dict[str, Callable[[Operation, Client], Awaitable[Reply]]] = {
            "hello": self._hello,
            "isMaster": self._hello,
            "ping": self._ping,
            "buildInfo": self._build_info,
            "serverStatus": self._server_status,
            "connectionStatus": self._connection_status,
            "saslStart": self._sasl_start,
            "saslContinue": self._sasl_continue,
            "logout": self._logout,
            "createUser": self._create_user,
            "updateUser": self._update_user,
            "dropUser": self._drop_user,
            "endSessions": self._end_sessions,
            "refreshSessions": self._ping,
            "killSessions": self._kill_sessions,
            "killAllSessions": self._kill_all_sessions,
            "killCursors": self._kill_cursors,
            "killOp": self._kill_op,
            "currentOp": self._current_op,
            "replSetStepDown": self._step_down,
        }

    # --- who it is ----------------------------------------------------------------------------------------------------

    async def _hello(self, operation: Operation, client: Client) -> Reply:
        gateway = self._gateway
        address, primary = gateway.options.announced, not gateway.read_only
        role = {"isWritablePrimary": primary, "secondary": not primary}
        if operation.name == "isMaster":
            role["ismaster"] = primary
        reply: Reply = {
            "helloOk": True,
            **role,
            "maxBsonObjectSize": 16_777_216,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
            "localTime": datetime.datetime.now(datetime.UTC),
            "logicalSessionTimeoutMinutes": 30,
            "connectionId": client.number,
            "minWireVersion": 0,
            "maxWireVersion": WIRE_VERSION_MAX,
            "readOnly": False,
            "ok": 1.0,
        }
        if "saslSupportedMechs" in operation.command and gateway.users:
            _, _, user = str(operation.command["saslSupportedMechs"]).partition(".")
            reply["saslSupportedMechs"] = ["SCRAM-SHA-256"] if user in gateway.users else []
        if gateway.options.standalone:
            return reply
        reply |= {"setName": SET_NAME, "setVersion": 1, "me": address, **gateway.member.hello()}
        if primary and not gateway.member.set.has_several:
            # No electionId: of two gateways started within a second the later could have the smaller one, and drivers
            # would take it for a stale primary.
            reply["primary"] = address
        return reply

    async def _ping(self, operation: Operation, client: Client) -> Reply:
        return _OK

    async def _build_info(self, operation: Operation, client: Client) -> Reply:
        numbers = [*map(int, VERSION.split(".")), 0]
        return {"version": VERSION, "versionArray": numbers, "modules": ["sillar test gateway"], "ok": 1.0}

    async def _server_status(self, operation: Operation, client: Client) -> Reply:
        gateway = self._gateway
        current = len(gateway.clients)
        return {
            "host": gateway.options.announced,
            "version": VERSION,
            "process": "sillar mongodb_gateway",
            "pid": Int64(os.getpid()),
            "uptime": time.monotonic() - gateway.started,
            "localTime": datetime.datetime.now(datetime.UTC),
            "connections": {
                "current": current,
                "available": gateway.options.connections_max - current,
                "totalCreated": gateway.connections_created,
                "rejected": gateway.connections_refused,
                "active": sum(1 for _ in gateway.operations),
            },
            "metrics": {"cursor": {"open": {"total": len(gateway.cursors)}}},
            "security": {
                "authentication": {
                    "mechanisms": {
                        "SCRAM-SHA-256": {
                            "authenticate": {
                                "received": Int64(gateway.logins_received),
                                "successful": Int64(gateway.logins_successful),
                            }
                        }
                    }
                }
            },
            "transactions": {"currentOpen": len(gateway.transactions)},
            "repl": {"setName": SET_NAME, "isWritablePrimary": not gateway.read_only},
            "ok": 1.0,
        }

    # --- authentication -----------------------------------------------------------------------------------------------

    async def _connection_status(self, operation: Operation, client: Client) -> Reply:
        users = [{"user": client.user, "db": "admin"}] if client.user else []
        roles = [{"role": "root", "db": "admin"}] if client.user else []
        return {"authInfo": {"authenticatedUsers": users, "authenticatedUserRoles": roles}, "ok": 1.0}

    async def _sasl_start(self, operation: Operation, client: Client) -> Reply:
        if operation.command.get("mechanism") != "SCRAM-SHA-256":
            raise CommandError(18, "Authentication failed: only SCRAM-SHA-256 is offered.")
        self._gateway.logins_received += 1
        client.scram = ScramConversation(self._gateway.users)
        try:
            payload = client.scram.first(bytes(operation.command["payload"]))
        except AuthenticationRefusedError as error:
            client.scram = None
            raise CommandError(18, str(error)) from error
        client.skips_empty_exchange = bool(dict(operation.command.get("options", {})).get("skipEmptyExchange"))
        return {"conversationId": 1, "done": False, "payload": Binary(payload), "ok": 1.0}

    async def _sasl_continue(self, operation: Operation, client: Client) -> Reply:
        if client.scram is None:
            if client.user:  # the empty exchange that ends the conversation for old drivers
                return {"conversationId": 1, "done": True, "payload": Binary(b""), "ok": 1.0}
            raise CommandError(18, "Authentication failed.")
        scram, client.scram = client.scram, None
        try:
            payload = scram.final(bytes(operation.command["payload"]))
        except AuthenticationRefusedError as error:
            raise CommandError(18, str(error)) from error
        client.user = scram.user
        self._gateway.logins_successful += 1
        return {"conversationId": 1, "done": client.skips_empty_exchange, "payload": Binary(payload), "ok": 1.0}

    async def _logout(self, operation: Operation, client: Client) -> Reply:
        client.user = None
        return _OK

    async def _create_user(self, operation: Operation, client: Client) -> Reply:
        """Everybody may do everything, and users are not kept over a restart."""
        user = str(operation.command["createUser"])
        if user in self._gateway.users:
            raise CommandError(51003, f'User "{user}@admin" already exists')
        self._gateway.users[user] = ScramCredentials.of(user, str(operation.command["pwd"]))
        return _OK

    async def _update_user(self, operation: Operation, client: Client) -> Reply:
        user = self._known(str(operation.command["updateUser"]))
        if "pwd" in operation.command:
            self._gateway.users[user] = ScramCredentials.of(user, str(operation.command["pwd"]))
        return _OK

    async def _drop_user(self, operation: Operation, client: Client) -> Reply:
        del self._gateway.users[self._known(str(operation.command["dropUser"]))]
        return _OK

    def _known(self, user: str) -> str:
        if user not in self._gateway.users:
            raise CommandError(11, f"Could not find user {user}@admin")
        return user

    # --- sessions, cursors, operations --------------------------------------------------------------------------------

    async def _end_sessions(self, operation: Operation, client: Client) -> Reply:
        await self._end(operation, operation.command["endSessions"])
        return _OK

    async def _kill_sessions(self, operation: Operation, client: Client) -> Reply:
        await self._end(operation, operation.command["killSessions"])
        return _OK

    async def _end(self, operation: Operation, sessions: list[RawBSONDocument]) -> None:
        for session in sessions:
            lsid = bytes(session["id"])
            self._gateway.operations.kill_session(lsid, but=operation)
            await self._gateway.cursors.drop_session(lsid)
            await self._gateway.transactions.abort_session(lsid)
            self._gateway.retryable_writes.forget(lsid)

    async def _kill_all_sessions(self, operation: Operation, client: Client) -> Reply:
        for other in self._gateway.operations:
            if other is not operation and other.lsid is not None:
                self._gateway.operations.kill(other)
        await self._gateway.cursors.drop_all()
        await self._gateway.transactions.abort_all()
        return _OK

    async def _kill_cursors(self, operation: Operation, client: Client) -> Reply:
        cursor_ids = [int(cursor_id) for cursor_id in operation.command["cursors"]]
        for cursor_id in cursor_ids:
            self._gateway.operations.kill_cursor(cursor_id)
        found, missing = await self._gateway.cursors.kill(cursor_ids)
        return {
            "cursorsKilled": [Int64(cursor_id) for cursor_id in found],
            "cursorsNotFound": [Int64(cursor_id) for cursor_id in missing],
            "cursorsAlive": [],
            "cursorsUnknown": [],
            "ok": 1.0,
        }

    async def _kill_op(self, operation: Operation, client: Client) -> Reply:
        other = self._gateway.operations.get(int(operation.command["op"]))
        if other is not None:
            self._gateway.operations.kill(other)
        return {"info": "attempting to kill op", "ok": 1.0}

    async def _current_op(self, operation: Operation, client: Client) -> Reply:
        return {"inprog": self.running(), "ok": 1.0}

    def running(self) -> list[Reply]:
        """What ``$currentOp`` lists: one document for each running command, the asking one included."""
        now = time.monotonic()
        return [
            {
                "type": "op",
                "host": self._gateway.options.announced,
                "desc": f"conn{operation.client}",
                "connectionId": operation.client,
                "active": True,
                "opid": operation.opid,
                "op": operation.name if operation.name in ("insert", "update", "getMore") else "command",
                "ns": operation.namespace,
                "command": hidden(operation.command),
                "secs_running": Int64(now - operation.started),
                "microsecs_running": Int64((now - operation.started) * 1_000_000),
                **({"lsid": operation.command["lsid"]} if operation.lsid else {}),
                **({"killPending": True} if operation.killed else {}),
            }
            for operation in self._gateway.operations
        ]

    async def _step_down(self, operation: Operation, client: Client) -> Reply:
        self._gateway.step_down(float(operation.command["replSetStepDown"] or _STEP_DOWN_SECONDS))
        return _OK
