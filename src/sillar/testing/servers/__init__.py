"""Throwaway real servers for tests, without containers.

Each server class starts one server on a free loopback port, from the environment's address, from binaries on this
machine, or from what ``python -m sillar.testing.servers install`` put there::

    async with PostgreSQLServer(15) as server:
        ...  # server.url, server.kill(), await server.add_replica()
"""

from sillar.testing.servers.certificates import Certificate, CertificateAuthority, ServerCertificate
from sillar.testing.servers.cluster import ServerCluster
from sillar.testing.servers.errors import (
    InstallError,
    ServerCommandError,
    ServerNotFoundError,
    ServerNotOursError,
    ServerStartError,
)
from sillar.testing.servers.etcd import EtcdServer
from sillar.testing.servers.fleet import ServerFleet
from sillar.testing.servers.galera import GaleraCluster, GaleraNode
from sillar.testing.servers.inventory import InventoryEntry, inventory
from sillar.testing.servers.mariadb import MariaDBServer
from sillar.testing.servers.mongodb import MongoDBServer
from sillar.testing.servers.mysql import MySQLServer
from sillar.testing.servers.patroni import PatroniCluster, PatroniNode
from sillar.testing.servers.pgbouncer import PgBouncerServer
from sillar.testing.servers.postgresql import PostgreSQLServer
from sillar.testing.servers.redis import RedisServer
from sillar.testing.servers.redis_sentinel import RedisNode, RedisSentinelCluster, SentinelServer
from sillar.testing.servers.server import Server
from sillar.testing.servers.sql_server import SQLServer

__all__ = [
    "Certificate",
    "CertificateAuthority",
    "EtcdServer",
    "GaleraCluster",
    "GaleraNode",
    "InstallError",
    "InventoryEntry",
    "MariaDBServer",
    "MongoDBServer",
    "MySQLServer",
    "PatroniCluster",
    "PatroniNode",
    "PgBouncerServer",
    "PostgreSQLServer",
    "RedisNode",
    "RedisSentinelCluster",
    "RedisServer",
    "SQLServer",
    "SentinelServer",
    "Server",
    "ServerCertificate",
    "ServerCluster",
    "ServerCommandError",
    "ServerFleet",
    "ServerNotFoundError",
    "ServerNotOursError",
    "ServerStartError",
    "inventory",
]
