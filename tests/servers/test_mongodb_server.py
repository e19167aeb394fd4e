"""The server that speaks MongoDB's protocol, whichever this machine has."""

from __future__ import annotations

import asyncio
import ssl

import pymongo.errors
import pytest
from pymongo import AsyncMongoClient

from sillar.testing.servers import CertificateAuthority, MongoDBServer

pytestmark = pytest.mark.asyncio


async def test_life_with_tls_and_login() -> None:
    async with MongoDBServer(tls=True) as server:
        assert ("stand-in" in server.version, "stand-in" in server.how_found) == (
            server.is_stand_in,
            server.is_stand_in,
        )
        assert server.password not in repr(server) or not server.password
        async with AsyncMongoClient(server.url, tls=True, tlsCAFile=str(server.ca_file)) as client:
            await client.sillar.stones.insert_one({"_id": 1, "weight": 2.5})
            await server.kill()
            assert not server.is_running
            await server.start()
            assert await client.sillar.stones.find_one({"_id": 1}) == {"_id": 1, "weight": 2.5}
            hello = await client.admin.command("hello")
            assert hello["isWritablePrimary"]
            assert hello["setName"]

            await server.freeze()
            asking = asyncio.ensure_future(client.sillar.stones.count_documents({}))
            done, _ = await asyncio.wait([asking], timeout=0.3)
            assert not done
            await server.thaw()
            assert await asyncio.wait_for(asking, 20) == 1

        wrong = server.url.replace(server.password, "wrong") if server.password else server.url
        options = {} if server.password else {"username": "nobody", "password": "wrong"}
        async with AsyncMongoClient(wrong, tls=True, tlsCAFile=str(server.ca_file), **options) as client:
            with pytest.raises(pymongo.errors.OperationFailure, match="Authentication failed"):
                await client.sillar.stones.find_one()

        # By hand: the driver leaves its socket open when it refuses a certificate, and tells no reason of its own.
        strangers = ssl.create_default_context(cadata=CertificateAuthority("strangers").certificate.decode())
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(server.host, server.port, ssl=strangers)
