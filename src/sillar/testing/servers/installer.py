"""Puts the servers' binaries on a bare Debian: packages of its own release, and trees of newer ones.

What is there already is left alone, so the installer can run before every test run. Nothing it installs is started, now
or at the next boot.
"""

# ruff: noqa: S603, S607 - running the machine's own apt and dpkg, found by PATH, is its purpose

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from sillar.testing.servers.errors import InstallError
from sillar.testing.servers.tree import MARKER, TREES, Tree, servers_folder

PACKAGES = (
    "postgresql",
    "mariadb-server",
    "galera-4",
    "rsync",  # by which a Galera node gets the data of another
    "redis-server",
    "pgbouncer",
    "patroni",
    "python3-etcd",  # one of several that Patroni is content with
    "etcd-server",
    "etcd-client",
    "mmdebstrap",
    "openssl",
)
LOCK = Path("/run/sillar-servers-install.lock")
UNITS = Path("/lib/systemd/system")
SERVICES = {
    "postgresql": "postgresql",
    "mariadb-server": "mariadb",
    "redis-server": "redis-server",
    "pgbouncer": "pgbouncer",
    "patroni": "patroni",
    "etcd-server": "etcd",
    "rsync": "rsync",
}
POLICY = Path("/usr/sbin/policy-rc.d")
MIRROR_VARIABLE = "SILLAR_DEBIAN_MIRROR"
DEVICES = {"null": 3, "zero": 5, "random": 8, "urandom": 9}
"""Character devices of major number 1, by minor number."""


def say(text: str) -> None:
    """Print a line of progress at once."""
    print(text, flush=True)  # noqa: T201 - a command-line tool


def install(*, force: bool = False) -> bool:
    """Install whatever is missing.

    Args:
        force: make the trees anew even where they are complete.

    Returns:
        True when everything is there; False when only something optional (MySQL 9, whose one source moves) is missing.

    Raises:
        InstallError: something required could not be installed; the message says what and the remedy.
    """
    missing = [name for name in PACKAGES if not _is_installed(name)]
    if not missing and not force and all(tree.is_complete for tree in TREES):
        say(f"all servers are installed (packages {', '.join(PACKAGES)}; trees in {servers_folder()})")
        return True
    _require_root(missing)
    folder = servers_folder()
    folder.mkdir(parents=True, exist_ok=True)
    # One lock for the machine: the packages are its, whoever's the folder is.
    with _locked(LOCK):
        _install_packages([name for name in PACKAGES if not _is_installed(name)])
        complete = True
        for tree in TREES:
            try:
                _install_tree(tree, force=force)
            except InstallError as error:
                if tree.required:
                    raise
                complete = False
                say("!" * 100)
                say(f"WARNING: {error}\nWARNING: tests against {tree.name} will not take part.")
                say("!" * 100)
        return complete


def _require_root(missing: list[str]) -> None:
    if os.geteuid() == 0:
        if shutil.which("apt-get") is None:
            raise InstallError(
                "the installer needs Debian's apt-get, which is not on this machine; remedy: put the servers on PATH, "
                "or name running ones in SILLAR_TEST_POSTGRESQL_URL, SILLAR_TEST_MYSQL_URL, …"
            )
        return
    trees = [tree.name for tree in TREES if not tree.is_complete]
    raise InstallError(
        f"not root, and missing: packages {', '.join(missing) or 'none'}; trees {', '.join(trees) or 'none'}. Remedy: "
        f"run `sudo env SILLAR_SERVERS_DIR={servers_folder()} python -m sillar.testing.servers install` once, or put "
        "the servers on PATH, or name running ones in SILLAR_TEST_POSTGRESQL_URL, SILLAR_TEST_MYSQL_URL, …"
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; say so when somebody else holds it."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another installation is running: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- packages of the machine's own release ----------------------------------------------------------------------------


def _is_installed(package: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    asked = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.startswith("ii")


def _install_packages(missing: list[str]) -> None:
    if not missing:
        say(f"packages: {', '.join(PACKAGES)} are there")
        return
    say(f"packages: installing {', '.join(missing)}")
    # Somebody who ran such a service before goes on doing so.
    new_services = [
        service
        for package in missing
        if (service := SERVICES.get(package)) and not (UNITS / f"{service}.service").exists()
    ]
    wait = ["-o", "DPkg::Lock::Timeout=300"]
    _run(["apt-get", "update", "-q", *wait], remedy="check the network and the machine's apt sources")
    with _services_kept_down():
        _run(
            ["apt-get", "install", "-q", "-y", "--no-install-recommends", *wait, *missing],
            remedy="run `apt-get install` by hand and see what it says",
        )
    if shutil.which("systemctl"):
        for service in new_services:
            _run(["systemctl", "disable", "--quiet", service], remedy=f"disable the service {service} by hand")


@contextlib.contextmanager
def _services_kept_down() -> Iterator[None]:
    """Forbid maintainer scripts to start services, by Debian's own means (``policy-rc.d``), while this lasts."""
    saved = POLICY.with_name("policy-rc.d.before-sillar")
    if POLICY.exists() and not saved.exists():
        POLICY.rename(saved)
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        if saved.exists():
            saved.rename(POLICY)
        else:
            POLICY.unlink()


def _run(command: list[str], *, remedy: str, environment: dict[str, str] | None = None) -> None:
    """Run a command and show its output line by line.

    Raises:
        InstallError: it failed; the message has the last lines of its output.
    """
    # Nothing may ask a question, and a proxy or locale that the machine sets stays as it is.
    settings = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", **(environment or {})}
    lines: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=settings
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            say(f"    {lines[-1]}")
    if process.returncode != 0:
        tail = "\n".join(lines[-15:])
        raise InstallError(f"`{' '.join(command)}` failed with status {process.returncode}; remedy: {remedy}\n{tail}")


# --- trees of other releases ------------------------------------------------------------------------------------------


def _install_tree(tree: Tree, *, force: bool) -> None:
    if tree.is_complete and not force:
        say(f"tree {tree.name}: there already")
        return
    say(f"tree {tree.name}: extracting {', '.join(tree.packages)} from {tree.suite} …")
    started = time.monotonic()
    for leftover in tree.folder.parent.glob(f"{tree.name}.partial*"):
        shutil.rmtree(leftover)
    partial = tree.folder.with_name(f"{tree.name}.partial")
    _run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=extract",
            # The Release files of testing and unstable state a date after which apt refuses them; a mirror or an
            # archive that stands still is past it.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            f"--include={','.join(tree.packages)}",
            tree.suite,
            str(partial),
            _mirror(),
        ],
        remedy=f"see whether the mirror carries {tree.suite}, or name one that does in {MIRROR_VARIABLE}",
        environment=_proxy_environment(),
    )
    try:
        _complete(partial)
        version = _version(tree, partial)
    except OSError as error:
        raise InstallError(
            f"the tree {tree.name} could not be completed ({error}); remedy: run as the machine's real root, with the "
            "right to make device files and to chroot"
        ) from error
    marker = {"version": version, "suite": tree.suite, "packages": " ".join(tree.packages)}
    (partial / MARKER).write_text(json.dumps(marker, indent=2) + "\n")
    if tree.folder.exists():
        shutil.rmtree(tree.folder)
    partial.rename(tree.folder)
    say(f"tree {tree.name}: {version}, ready after {time.monotonic() - started:.0f} s in {tree.folder}")


def _mirror() -> str:
    """The mirror that the machine's own apt sources name for its release."""
    if given := os.environ.get(MIRROR_VARIABLE):
        return given.rstrip("/")
    listed = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)",
            "Created-By: Packages",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    entries = [line.split(maxsplit=3) for line in listed.stdout.splitlines()]
    for fields in entries:
        # Updates and security have names with a dash; only the release's own mirror has the other suites.
        if len(fields) == 4 and fields[0] == "Debian" and "-" not in fields[1] and fields[2] == "main":
            return fields[3].rstrip("/")
    raise InstallError(
        f"the machine's apt sources name no mirror of a Debian release ({len(entries)} sources read); remedy: run "
        f"`apt-get update`, or set {MIRROR_VARIABLE} to the address of one"
    )


def _proxy_environment() -> dict[str, str]:
    """The machine's apt proxies as environment variables: mmdebstrap does not read the machine's apt configuration."""
    found = {}
    for scheme in ("http", "https"):
        asked = subprocess.run(
            ["apt-config", "shell", "PROXY", f"Acquire::{scheme}::Proxy"], capture_output=True, text=True, check=False
        )
        value = asked.stdout.strip().removeprefix("PROXY=").strip("'")
        if value and value != "DIRECT":
            found[f"{scheme}_proxy"] = value
    return found


def _complete(root: Path) -> None:
    """Make what extracted packages lack because no maintainer script ran: users, devices, links, loader cache."""
    ids = {"root": (0, 0), "nobody": (65534, 65534)}
    for user in ("postgres", "mysql"):
        # The ids of this machine, so that a folder's owner reads the same inside and outside.
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(user)
            ids[user] = (entry.pw_uid, entry.pw_gid)
    # The server's user has to read what follows, however private root's own files usually are.
    usual_mask = os.umask(0o022)
    try:
        _write_system_files(root, ids)
    finally:
        os.umask(usual_mask)
    # DocumentDB asks for `postgis` by that name; the package installs it under its major version.
    for control in root.glob("usr/share/postgresql/*/extension/postgis-3.control"):
        link = control.with_name("postgis.control")
        if not link.exists():
            link.symlink_to(control.name)
    _run(["chroot", str(root), "/sbin/ldconfig"], remedy="run as the machine's real root, with the right to chroot")


def _write_system_files(root: Path, ids: dict[str, tuple[int, int]]) -> None:
    root.chmod(0o755)
    for name in ("etc", "dev/shm", "proc", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/passwd").write_text("".join(f"{user}:x:{u}:{g}:{user}:/tmp:/bin/sh\n" for user, (u, g) in ids.items()))
    (root / "etc/group").write_text("".join(f"{user}:x:{group}:\n" for user, (_, group) in ids.items()))
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    for name in ("bin", "sbin", "lib", "lib64"):
        if not (root / name).exists():
            (root / "usr" / name).mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(f"usr/{name}")
    for name in ("tmp", "dev/shm"):
        (root / name).chmod(0o1777)
    for name, minor in DEVICES.items():
        device = root / "dev" / name
        if not device.exists():
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
            device.chmod(0o666)


def _version(tree: Tree, root: Path) -> str:
    """Ask the server itself, from inside the tree: a proof that it runs."""
    asked = subprocess.run(
        ["chroot", str(root), f"{tree.binaries}/{tree.server}", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode != 0:
        raise InstallError(
            f"{tree.server} does not run inside the new tree (status {asked.returncode}): {asked.stderr.strip()}; "
            f"remedy: {tree.suite} may be in flux, try again later or with another mirror in {MIRROR_VARIABLE}"
        )
    return asked.stdout.strip()
