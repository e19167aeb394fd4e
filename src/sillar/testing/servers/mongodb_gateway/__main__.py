"""Run the gateway until SIGINT or SIGTERM: ``python -m sillar.testing.servers.mongodb_gateway --help``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys

import asyncpg

from sillar.testing.servers.mongodb_gateway.gateway import Gateway, GatewayOptions


def options_from(arguments: list[str]) -> GatewayOptions:
    """The options of a command line. Passwords may come from the environment, where ``ps`` does not show them."""
    parser = argparse.ArgumentParser(
        prog="python -m sillar.testing.servers.mongodb_gateway",
        description="A stand-in for MongoDB, for tests: its wire protocol in front of PostgreSQL 18 with DocumentDB.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    parser.add_argument("--announce", metavar="HOST:PORT", help="address for drivers, such as a proxy's")
    parser.add_argument("--postgresql-host", default="127.0.0.1")
    parser.add_argument("--postgresql-port", type=int, required=True)
    parser.add_argument("--postgresql-user", default="postgres")
    parser.add_argument("--postgresql-password", default=os.environ.get("PGPASSWORD"), help="or PGPASSWORD")
    parser.add_argument("--postgresql-database", default="postgres")
    parser.add_argument("--postgresql-connections-max", type=int, default=60)
    parser.add_argument("--certificate", help="PEM file; switches TLS on")
    parser.add_argument("--key", help="PEM file of the certificate's private key")
    parser.add_argument("--user", help="the one user; switches authentication on")
    parser.add_argument(
        "--password", default=os.environ.get("MONGODB_GATEWAY_PASSWORD"), help="or MONGODB_GATEWAY_PASSWORD"
    )
    parser.add_argument("--read-only", action="store_true", help="be a secondary: refuse writes")
    parser.add_argument("--standalone", action="store_true", help="be no member of a replica set: no transactions")
    parser.add_argument(
        "--max-connections", dest="connections_max", type=int, default=1000, help="refuse further sockets"
    )
    options = GatewayOptions(**vars(parser.parse_args(arguments)))
    if options.user is not None and not options.password:
        parser.error("--user needs --password or MONGODB_GATEWAY_PASSWORD")
    if options.key is not None and options.certificate is None:
        parser.error("--key needs --certificate")
    return options


async def serve(options: GatewayOptions) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Gateway(options) as gateway:
        print(f"listening on {gateway.options.announced}", flush=True)
        await stop.wait()


def main() -> int:
    options = options_from(sys.argv[1:])
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(serve(options))
    except (OSError, asyncpg.PostgresError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
