"""Credentials are asked for once, kept for their lease, watched, and replaced; by a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from sillar.config import DatabaseCredentials
from sillar.errors import AuthenticationError, ConfigurationError, ConnectError, UsageError
from sillar.security.credential_manager import DatabaseCredentialManager
from sillar.security.lease import CredentialLease
from sillar.security.opening import open_with_credentials
from sillar.security.rotation import CredentialRotation
from sillar.security.sources import Secret, SecretSource, wrong_secret


class ManualClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


class ScriptedSource(SecretSource):
    """Says what the test puts in; counts how often it is asked."""

    description = "the scripted source"

    def __init__(self, text: str = "one", *, seconds: float | None = None, renewable: bool = False) -> None:
        self.text, self.seconds, self.renewable = text, seconds, renewable
        self.failure: Exception | None = None
        self.reads = self.renewals = 0
        self.renewed_seconds: float | None = None
        self.revoked: list[object] = []
        self.stamp: str | None = None
        self.gate: asyncio.Event | None = None
        self.lose_reply = False
        self.closed = False

    async def read(self, name: str) -> Secret:
        self.reads += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        lease = None if self.seconds is None else (name, self.reads)
        return Secret(SecretStr(self.text), self.seconds, self.renewable, lease, self.stamp)

    def version(self, name: str) -> str | None:
        return self.stamp

    def check_writable(self, name: str) -> None:
        if name == "fixed":
            super().check_writable(name)

    async def write(self, name: str, text: SecretStr) -> None:
        if self.failure is not None and not self.lose_reply:
            raise self.failure
        self.text = text.get_secret_value()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    @property
    def issues_credentials(self) -> bool:
        return self.seconds is not None

    async def renew(self, name: str, secret: Secret) -> Secret | None:
        self.renewals += 1
        if self.failure is not None:
            raise self.failure
        if self.renewed_seconds is None:
            return None
        return Secret(secret.text, self.renewed_seconds, self.renewable, secret.lease)

    async def revoke(self, name: str, secret: Secret) -> None:
        if self.failure is not None:
            raise self.failure
        self.revoked.append(secret.lease)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def password(credentials: DatabaseCredentials) -> str:
    assert credentials.password is not None
    return credentials.password.get_secret_value()


async def test_one_asking_answers_all_and_a_caller_who_leaves_harms_nobody(clock: ManualClock) -> None:
    source = ScriptedSource()
    source.gate = asyncio.Event()
    async with DatabaseCredentialManager(source, clock=clock) as manager:
        callers = [asyncio.create_task(manager.get_credentials("main")) for _ in range(20)]
        await asyncio.sleep(0)
        callers[0].cancel()
        await asyncio.sleep(0)
        source.gate.set()
        found = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert {password(each) for each in found[1:] if isinstance(each, DatabaseCredentials)} == {"one"}
        assert source.reads == 1


async def test_a_failure_that_nobody_waits_for_any_more_is_not_reported(clock: ManualClock) -> None:
    source = ScriptedSource()
    source.gate, source.failure = asyncio.Event(), OSError("away")
    manager = DatabaseCredentialManager(source, clock=clock)
    caller = asyncio.create_task(manager.get_credentials("main"))
    await asyncio.sleep(0)
    caller.cancel()
    source.gate.set()
    await asyncio.sleep(0.1)
    source.failure = None
    assert password(await manager.get_credentials("main")) == "one"


async def test_a_secret_without_an_end_is_read_again_after_a_while(clock: ManualClock) -> None:
    source = ScriptedSource()
    async with DatabaseCredentialManager(source, refresh_seconds=60, clock=clock) as manager:
        await manager.get_credentials("main")
        source.text = "two"
        clock.now += 59
        assert password(await manager.get_credentials("main")) == "one"
        clock.now += 2
        assert password(await manager.get_credentials("main")) == "two"
        assert source.reads == 2
    assert source.closed


async def test_refresh_at_each_connect(clock: ManualClock) -> None:
    source = ScriptedSource()
    async with DatabaseCredentialManager(source, refresh_seconds=0, clock=clock) as manager:
        for text in ("one", "two", "three"):
            source.text = text
            assert password(await manager.get_credentials("main")) == text


async def test_a_changed_version_is_read_at_once(clock: ManualClock) -> None:
    source = ScriptedSource()
    source.stamp = "1"
    async with DatabaseCredentialManager(source, clock=clock) as manager:
        await manager.get_credentials("main")
        await manager.get_credentials("main")
        source.text, source.stamp = "two", "2"
        assert password(await manager.get_credentials("main")) == "two"
        assert source.reads == 2


async def test_a_source_that_is_down_is_bridged_for_the_grace(clock: ManualClock) -> None:
    source = ScriptedSource()
    async with DatabaseCredentialManager(source, refresh_seconds=60, grace_seconds=600, clock=clock) as manager:
        await manager.get_credentials("main")
        source.failure = RuntimeError("CANARY")
        clock.now += 599
        with capture_logs() as logs:
            assert password(await manager.get_credentials("main")) == "one"
            assert password(await manager.get_credentials("main")) == "one"
        assert [(each["event"], each["error"]) for each in logs] == [("source of credentials failed", "RuntimeError")]
        clock.now += 12
        with pytest.raises(ConnectError, match=r"'main'.*scripted source.*ended 11 s ago: RuntimeError") as caught:
            await manager.get_credentials("main")
        assert "CANARY" not in str(caught.value)
        source.failure = None
        await asyncio.sleep(0.1)  # a failure answers for a moment
        assert password(await manager.get_credentials("main")) == "one"


async def test_a_source_that_hangs_is_bridged_like_one_that_is_down(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sillar.security.current._PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr("sillar.security.current._ANSWER_SECONDS", 2.0)
    source = ScriptedSource()
    async with DatabaseCredentialManager(source, refresh_seconds=0, grace_seconds=3600, clock=clock) as manager:
        assert password(await manager.get_credentials("main")) == "one"
        source.gate = asyncio.Event()
        async with asyncio.timeout(10):
            assert [password(await manager.get_credentials("main")) for _ in range(3)] == ["one"] * 3
            assert source.reads == 2  # one asking for all of them
            clock.now += 3601
            with pytest.raises(ConnectError, match="it did not answer within 2 s"):
                await manager.get_credentials("main")


async def test_a_lease_is_used_to_its_end_and_no_longer(clock: ManualClock) -> None:
    source = ScriptedSource(seconds=90)
    async with DatabaseCredentialManager(source, clock=clock) as manager:
        first = await manager.lease("main")
        assert (first.valid_until, first.ask_again_at, first.ends) == (clock.now + 90, clock.now + 60, True)
        clock.now += 59
        assert await manager.lease("main") is first
        source.failure = ConnectError("Vault is away")
        clock.now += 2
        kept = await manager.lease("main")
        assert (kept.valid_until, kept.credentials) == (first.valid_until, first.credentials)
        clock.now += 30
        with pytest.raises(ConnectError, match="Vault is away"):
            await manager.lease("main")


async def test_a_renewable_lease_is_renewed_and_replaced_when_that_ends(clock: ManualClock) -> None:
    source = ScriptedSource('{"username": "u1", "password": "p1"}', seconds=90, renewable=True)
    source.renewed_seconds = 90
    async with DatabaseCredentialManager(source, clock=clock) as manager:
        await manager.lease("main")
        clock.now += 61
        renewed = await manager.lease("main")
        assert (renewed.valid_until, source.reads, source.renewals) == (clock.now + 90, 1, 1)
        source.renewed_seconds, source.text = None, '{"username": "u2", "password": "p2"}'
        clock.now += 61
        assert (await manager.lease("main")).credentials.user == "u2"
        assert (source.reads, source.renewals) == (2, 2)
    assert source.revoked == [("main", 1), ("main", 2)]


async def test_leases_that_have_ended_are_not_revoked_and_failures_of_it_are_logged(clock: ManualClock) -> None:
    source = ScriptedSource(seconds=90)
    manager = DatabaseCredentialManager(source, clock=clock)
    await manager.lease("main")
    clock.now += 100
    await manager.lease("main")
    await manager.close()
    assert source.revoked == [("main", 2)]
    await manager.lease("main")
    source.failure = ConnectError("away")
    with capture_logs() as logs:
        await manager.close()
    assert [(each["event"], each["error"]) for each in logs] == [("credentials not revoked", "away")]


async def test_faults_of_the_secret_are_said_as_they_are(clock: ManualClock) -> None:
    source = ScriptedSource()
    source.failure = wrong_secret("main", "is not there", "write it")
    async with DatabaseCredentialManager(source, clock=clock) as manager:
        with pytest.raises(ConfigurationError, match="is not there"):
            await manager.get_credentials("main")
        source.failure = RuntimeError()
        await asyncio.sleep(0.1)
        with pytest.raises(ConnectError, match="the scripted source has failed: RuntimeError"):
            await manager.get_credentials("main")


# --- being told -------------------------------------------------------------------------------------------------------


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_who_is_attached_is_told_of_changes_without_asking(clock: ManualClock) -> None:
    source = ScriptedSource()
    source.stamp = "1"
    told: list[str] = []
    async with DatabaseCredentialManager(
        source, secret_names={"main": "db/main"}, poll_seconds=0.01, clock=clock
    ) as manager:
        attachment = manager.attach("main", DatabaseCredentials(user="ann"), told.append)
        assert (await manager.get_credentials("main")).user == "ann"
        source.stamp = "2"
        await eventually(lambda: source.reads == 2)
        assert told == []  # the same value
        source.text, source.stamp = "two", "3"
        await eventually(lambda: bool(told))
        source.failure, source.stamp = OSError(), "4"
        await eventually(lambda: source.reads >= 4)
        assert password(await manager.get_credentials("main")) == "two"
        await attachment.detach()
        await attachment.detach()
        source.failure, source.text, source.stamp = None, "three", "5"
        await asyncio.sleep(0.05)
        assert told == ["the credentials have changed"]


async def test_the_keeper_goes_on_after_failures(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sillar.security.current._AGAIN_SECONDS", 0.01)
    source, told = ScriptedSource(), list[str]()
    source.failure = OSError()
    async with DatabaseCredentialManager(source, poll_seconds=0.01, clock=clock) as manager:
        with capture_logs() as logs:
            manager.attach("main", DatabaseCredentials(), told.append)
            await eventually(lambda: source.reads >= 2)
        assert logs[0]["event"] == "credentials not refreshed"
        source.failure = None
        await eventually(lambda: manager._current["main"]._lease is not None)


async def test_the_last_one_to_leave_has_leases_revoked(clock: ManualClock) -> None:
    source = ScriptedSource(seconds=90)
    async with DatabaseCredentialManager(source, clock=clock) as manager:
        first = manager.attach("main", DatabaseCredentials(), lambda _: None)
        second = manager.attach("main", DatabaseCredentials(), lambda _: None)
        await manager.lease("main")
        await first.detach()
        assert source.revoked == []
        await second.detach()
        assert source.revoked == [("main", 1)]


async def test_what_manager_and_configuration_disagree_about(clock: ManualClock) -> None:
    async with DatabaseCredentialManager(ScriptedSource(), secret_names={"named": "x"}, clock=clock) as manager:
        assert manager.serves("named", DatabaseCredentials())
        assert manager.serves("other", DatabaseCredentials(password_secret="y"))
        assert not manager.serves("other", DatabaseCredentials(user="u"))
        manager.attach("main", DatabaseCredentials(user="ann"), lambda _: None)
        with pytest.raises(UsageError, match="'main' is configured twice"):
            manager.attach("main", DatabaseCredentials(user="bob"), lambda _: None)
    with pytest.raises(UsageError, match="poll_seconds more than 0"):
        DatabaseCredentialManager(ScriptedSource(), poll_seconds=0)


def test_it_belongs_to_its_loop_until_it_is_closed() -> None:
    manager = DatabaseCredentialManager(ScriptedSource())
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        first.run_until_complete(manager.get_credentials("main"))
        with pytest.raises(UsageError, match="make one for each loop"):
            second.run_until_complete(manager.get_credentials("main"))
        first.run_until_complete(manager.close())
        assert password(second.run_until_complete(manager.get_credentials("main"))) == "one"
    finally:
        first.close()
        second.close()


# --- opening connections ----------------------------------------------------------------------------------------------


class Server:
    """Lets in who has the right password; counts the others."""

    def __init__(self, accepts: str) -> None:
        self.accepts, self.refused = accepts, 0

    async def open(self, credentials: DatabaseCredentials) -> Any:
        if password(credentials) == self.accepts:
            return Opened()
        self.refused += 1
        raise AuthenticationError("refused")


class Opened:
    expires_at = 0.0


async def test_a_refused_login_is_tried_again_only_with_something_new(clock: ManualClock) -> None:
    source, server = ScriptedSource(), Server("two")
    async with DatabaseCredentialManager(source, clock=clock) as manager:
        with pytest.raises(AuthenticationError):
            await open_with_credentials(manager, "main", server.open)
        assert (server.refused, source.reads) == (1, 2)
        source.text = "two"  # what was refused is not taken from the cache again
        opened = await open_with_credentials(manager, "main", server.open)
        assert opened.expires_at == 0.0
        assert (server.refused, source.reads) == (1, 3)
        await open_with_credentials(manager, "main", server.open)
        assert source.reads == 3


async def test_a_new_secret_is_used_within_the_same_connect(clock: ManualClock) -> None:
    source, server = ScriptedSource(), Server("one")
    async with DatabaseCredentialManager(source, clock=clock) as manager:
        await open_with_credentials(manager, "main", server.open)
        server.accepts = source.text = "two"
        await open_with_credentials(manager, "main", server.open)
        assert server.refused == 1
        # The source learns of it a little later than the server: a login that has worked is worth a moment.
        server.accepts = "three"
        later = asyncio.get_running_loop().call_later(0.1, setattr, source, "text", "three")
        await open_with_credentials(manager, "main", server.open)
        later.cancel()
        assert server.refused == 2


async def test_a_source_that_keeps_changing_does_not_make_it_hammer(clock: ManualClock) -> None:
    server = Server("never")

    class Restless(ScriptedSource):
        async def read(self, name: str) -> Secret:
            self.text = str(self.reads)
            return await super().read(name)

    async with DatabaseCredentialManager(Restless(), clock=clock) as manager:
        with pytest.raises(AuthenticationError):
            await open_with_credentials(manager, "main", server.open)
    assert server.refused == 3


async def test_a_source_that_is_down_when_the_login_is_refused(clock: ManualClock) -> None:
    source, server = ScriptedSource(), Server("two")
    async with DatabaseCredentialManager(source, clock=clock) as manager:
        await manager.lease("main")
        source.failure = ConnectError("away")
        with pytest.raises(AuthenticationError) as caught:
            await open_with_credentials(manager, "main", server.open)
        assert "the server refuses what it said before" in caught.value.__notes__[0]
        with pytest.raises(ConnectError, match="refuses what it said before"):
            await open_with_credentials(manager, "main", server.open)
        assert server.refused == 1


async def test_a_connection_lives_shorter_than_its_login(clock: ManualClock) -> None:
    now = asyncio.get_running_loop().time()
    for seconds, margin in ((100.0, 10.0), (3600.0, 30.0)):
        async with DatabaseCredentialManager(ScriptedSource(seconds=seconds), clock=clock) as manager:
            opened = await open_with_credentials(manager, "main", Server("one").open)
            assert opened.expires_at == pytest.approx(now + seconds - margin, abs=5.0)


# --- rotation ---------------------------------------------------------------------------------------------------------


class Swap(CredentialRotation):
    """A rotation whose server is :class:`Server`."""

    def __init__(self, server: Server, new: str) -> None:
        self.server, self.new = server, new
        self.between: Callable[[], Awaitable[None]] | None = None
        self.given: list[DatabaseCredentials] = []

    async def rotate(
        self, current: DatabaseCredentials, publish: Callable[[DatabaseCredentials], Awaitable[None]]
    ) -> None:
        self.given.append(current)
        self.server.accepts = self.new
        if self.between is not None:
            await self.between()
        await publish(DatabaseCredentials(user=current.user, password=SecretStr(self.new)))


async def test_who_is_refused_during_a_rotation_waits_for_it(clock: ManualClock) -> None:
    source, server = ScriptedSource('{"username": "u", "password": "one", "host": "h"}'), Server("one")
    swap = Swap(server, "two")
    manager = DatabaseCredentialManager(source, rotations={"main": swap}, clock=clock)
    told: list[str] = []
    async with manager:
        manager.attach("main", DatabaseCredentials(), told.append)
        await open_with_credentials(manager, "main", server.open)
        connecting: list[asyncio.Task[object]] = []

        async def connect() -> None:
            connecting.extend(
                asyncio.create_task(open_with_credentials(manager, "main", server.open)) for _ in range(3)
            )
            await asyncio.sleep(0.05)

        swap.between = connect
        await manager.rotate_credentials("main")
        await asyncio.gather(*connecting)
        assert server.refused == 3
        assert told == ["the credentials have changed"]
        assert json.loads(source.text) == {"username": "u", "password": "two", "host": "h"}
        assert password(swap.given[0]) == "one"


async def test_a_rotation_whose_reply_was_lost_is_done(clock: ManualClock) -> None:
    source, server = ScriptedSource(), Server("one")
    swap = Swap(server, "two")
    async with DatabaseCredentialManager(source, rotations={"main": swap}, clock=clock) as manager:
        await manager.get_credentials("main")

        async def lose() -> None:
            source.lose_reply, source.failure = True, OSError()

        swap.between = lose
        await manager.rotate_credentials("main")
        assert password(await manager.get_credentials("main")) == "two"

        async def break_down() -> None:
            source.lose_reply, source.failure = False, OSError()

        swap.between = break_down
        swap.new = "three"
        with pytest.raises(OSError):
            await manager.rotate_credentials("main")
        assert source.text == "two"


async def test_what_cannot_be_rotated_is_refused_before_anything_changes(clock: ManualClock) -> None:
    source, swap = ScriptedSource(), Swap(Server("one"), "two")
    manager = DatabaseCredentialManager(
        source, secret_names={"locked": "fixed"}, rotations={"locked": swap}, clock=clock
    )  # fmt: skip
    async with manager:
        with pytest.raises(UsageError, match="nobody has said how the credentials of 'main' are rotated"):
            await manager.rotate_credentials("main")
        with pytest.raises(UsageError, match="cannot be written"):
            await manager.rotate_credentials("locked")
        assert swap.server.accepts == "one"


async def test_a_source_that_issues_users_rotates_by_issuing_another(clock: ManualClock) -> None:
    source, told = ScriptedSource("one", seconds=90, renewable=True), list[str]()
    source.renewed_seconds = 90
    async with DatabaseCredentialManager(source, clock=clock) as manager:
        manager.attach("main", DatabaseCredentials(user="u"), told.append)
        await manager.lease("main")
        source.text = "two"
        await manager.rotate_credentials("main")
        assert password(await manager.get_credentials("main")) == "two"
        assert (told, source.renewals) == (["the credentials have changed"], 0)


def test_reprs_hold_nothing(clock: ManualClock) -> None:
    manager = DatabaseCredentialManager(ScriptedSource("CANARY"), clock=clock)
    lease = CredentialLease(
        DatabaseCredentials(user="u", password=SecretStr("CANARY")), 1.0, 1.0, False, Secret(SecretStr("CANARY"))
    )
    assert (repr(manager), repr(lease)) == (
        "<DatabaseCredentialManager on the scripted source>",
        "<CredentialLease of 'u', ends by itself>",
    )
