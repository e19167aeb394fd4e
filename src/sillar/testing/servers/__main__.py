"""``python -m sillar.testing.servers install`` puts the servers on this machine; ``… list`` says which are there."""

from __future__ import annotations

import argparse
import asyncio
import sys

from sillar.testing.servers.errors import InstallError
from sillar.testing.servers.installer import install
from sillar.testing.servers.inventory import inventory, table


def main() -> int:
    """Run one command; returns the exit status: 0 when everything required is there, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m sillar.testing.servers", description="Throwaway servers for tests."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    installing = commands.add_parser(
        "install", help="install the servers' binaries (root, Debian); what is there is kept"
    )
    installing.add_argument("--force", action="store_true", help="make the trees of newer releases anew")
    commands.add_parser("list", help="which servers are there, their versions and how they were found")
    arguments = parser.parse_args()
    if arguments.command == "list":
        entries = asyncio.run(inventory())
        print(table(entries))
        return int(any(entry.is_missing for entry in entries))
    try:
        install(force=arguments.force)
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
