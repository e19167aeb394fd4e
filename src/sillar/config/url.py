"""Database URLs: taken apart into the settings of a connection. No fault quotes a URL: it may be a password."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from pydantic import SecretStr

from sillar.config.faults import suggestion
from sillar.config.tls import is_on_this_machine
from sillar.config.url_parameters import DRIVERS, PARAMETERS, REFUSED, Refusal

_SCHEMES = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "mongodb": "mongodb",
    "sqlite": "sqlite",
}
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class URLFault:
    """One thing that is wrong in a URL: a predicate about it, and the remedy."""

    problem: str
    remedy: str


@dataclass(slots=True)
class ParsedURL:
    """What a URL says: ``settings`` as nested tables (passwords as ``SecretStr``), ``faults`` if any of it is wrong."""

    settings: dict[str, Any] = field(default_factory=dict)
    faults: list[URLFault] = field(default_factory=list)

    def put(self, path: str, value: Any) -> None:
        """Set what stands at the dotted ``path``."""
        *tables, name = path.split(".")
        table = self.settings
        for part in tables:
            table = table.setdefault(part, {})
        table[name] = value

    def refuse(self, problem: str, remedy: str) -> None:
        """Note a fault."""
        self.faults.append(URLFault(problem, remedy))

    def decoded(self, text: str) -> str:
        """``text`` without its percent-encoding (RFC 3986, section 2.1)."""
        encoded = _BAD_PERCENT.search(text) is None
        decoded = unquote_to_bytes(text)
        try:
            plain = decoded.decode()
        except UnicodeDecodeError:
            encoded, plain = False, text
        if not encoded:
            self.refuse("has a % that begins no percent-encoded UTF-8 text", "write a % itself as %25")
        return plain


def parse_url(url: str) -> ParsedURL:
    """Take a database URL apart: ``engine[+driver]://user:password@host:port,host:port/database?parameter=value``.

    Returns:
        The settings of a ``DatabaseConnectionConfig`` and the faults; never raises for a wrong URL.
    """
    parsed = ParsedURL()
    scheme, separator, rest = url.strip().partition("://")
    engine = _read_scheme(parsed, scheme.lower()) if separator else None
    if not separator:
        parsed.refuse("is not a URL", f"write one such as postgresql://user@host/database ({', '.join(_SCHEMES)})")
    if engine is None:
        return parsed
    parsed.put("engine", engine)
    before_query, _, query = rest.partition("?")
    if engine == "sqlite":
        _read_sqlite_path(parsed, before_query)
        if parsed.faults:
            return parsed  # a host, perhaps with a password: nothing behind it is said
    else:
        authority, _, path = before_query.partition("/")
        if "@" in path or "@" in query:
            # A / or ? in a password ends the authority early. What follows may be the rest of it: nothing else is said.
            parsed.refuse(
                "has an @ after the host part",
                "percent-encode the user, the password and the parameters: / is %2F, ? is %3F, @ is %40",
            )
            return parsed
        _read_authority(parsed, authority)
        if path:
            parsed.put("database", parsed.decoded(path))
    _read_query(parsed, engine, query)
    if "unix_socket" in parsed.settings and is_on_this_machine(str(parsed.settings.get("host", ""))):
        parsed.settings.pop("host", None)  # mysql://localhost/…?unix_socket=…, as other tools want it written
    return parsed


def _read_scheme(parsed: ParsedURL, scheme: str) -> str | None:
    name, plus, driver = scheme.partition("+")
    engine = _SCHEMES.get(name)
    if engine is None:
        # A scheme is letters and digits; anything else is not shown.
        if re.fullmatch(r"[a-z0-9.+-]{1,32}", scheme):
            parsed.refuse(f"has the unknown scheme {scheme!r}", suggestion(name, list(_SCHEMES)))
        else:
            parsed.refuse("has no scheme", f"begin with one of {', '.join(_SCHEMES)}")
        return None
    if scheme == "mongodb+srv":
        parsed.put("connection_options.srv", True)
    elif plus and driver not in DRIVERS[engine]:
        parsed.refuse(
            f"names a driver that is not known for {engine}",
            suggestion(driver, DRIVERS[engine]) if DRIVERS[engine] else f"write {name}://",
        )
    return engine


def _read_sqlite_path(parsed: ParsedURL, path: str) -> None:
    if path in ("", "/", "/:memory:"):
        parsed.put("database", ":memory:")
    elif not path.startswith("/"):
        parsed.refuse("has a host, and SQLite has none",
                      "write sqlite:///file for a relative path, sqlite:////file for an absolute one")  # fmt: skip
    elif path.startswith("/file:"):
        parsed.refuse("has a SQLite file: URI as its path", "write the path alone, and mode=ro for a read-only file")
    else:
        parsed.put("database", parsed.decoded(path[1:]))


def _read_authority(parsed: ParsedURL, authority: str) -> None:
    userinfo, at_sign, hosts = authority.rpartition("@")
    if at_sign:
        user, colon, password = userinfo.partition(":")
        if user:
            parsed.put("credentials.user", parsed.decoded(user))
        if colon and password:
            parsed.put("credentials.password", SecretStr(parsed.decoded(password)))
    _put_nodes(parsed, list(_nodes(parsed, hosts.split(","))) if hosts else [])


def _nodes(parsed: ParsedURL, hosts: list[str]) -> Iterator[dict[str, Any]]:
    for number, host in enumerate(hosts, 1):
        which = f"host {number}" if len(hosts) > 1 else "the host"
        bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", host)
        if bracketed:
            name, port = bracketed[1], bracketed[2]
        elif host.count(":") > 1:
            parsed.refuse(f"has more than one colon in {which}", "put an IPv6 address in brackets: [::1]:5432")
            continue
        else:
            name, _, port = host.partition(":")
            name = parsed.decoded(name)
        if not name:
            parsed.refuse(f"leaves {which} empty", "name it")
            continue
        if port and not re.fullmatch(r"[0-9]{1,9}", port):
            parsed.refuse(f"has a port that is not a number at {which}",
                          "write host:port; percent-encode a : or @ in the password (%3A, %40)")  # fmt: skip
            continue
        yield {"host": name, **({"port": int(port)} if port else {})}


def _put_nodes(parsed: ParsedURL, nodes: list[dict[str, Any]]) -> None:
    """One host is the host; of several nobody is known to be the primary; a path is a Unix socket."""
    if len(nodes) == 1 and nodes[0]["host"].startswith("/"):
        parsed.settings.pop("host", None)
        parsed.put("unix_socket", nodes[0]["host"])
        if "port" in nodes[0]:
            parsed.put("port", nodes[0]["port"])
    elif len(nodes) == 1:
        parsed.settings.update(nodes[0])
    elif nodes:
        parsed.put("nodes", nodes)


def _read_query(parsed: ParsedURL, engine: str, query: str) -> None:
    known: dict[str, tuple[str, Callable[[str], Any]]] = PARAMETERS[engine]
    by_lower = {name.lower(): name for name in known} if engine == "mongodb" else {name: name for name in known}
    given: dict[str, str] = {}
    for part in query.split("&"):
        if not part:
            continue
        raw_name, _, raw_value = part.partition("=")
        name = parsed.decoded(raw_name)
        name = by_lower.get(name.lower() if engine == "mongodb" else name, name)
        if name in given:
            parsed.refuse(f"has the parameter {name!r} twice", "keep one of them")
            continue
        given[name] = parsed.decoded(raw_value)
    if engine == "postgresql" and ("host" in given or "port" in given):
        _read_libpq_hosts(parsed, given.pop("host", ""), given.pop("port", ""))
    for name, value in given.items():
        if name in known:
            path, convert = known[name]
            converted = convert(value)
            if isinstance(converted, Refusal):
                parsed.refuse(f"has a parameter {name!r} that {converted.problem}", converted.remedy)
            elif path == "":
                for below, found in converted.items():
                    parsed.put(below, found)
            else:
                parsed.put(path, converted)
        elif name in REFUSED:
            parsed.refuse(f"has the parameter {name!r}, which is not one", REFUSED[name])
        else:
            parsed.refuse(f"has the unknown parameter {name!r}", suggestion(name, list(known)))


def _read_libpq_hosts(parsed: ParsedURL, hosts: str, ports: str) -> None:
    """``?host=a,b&port=1,2`` as libpq reads it (PostgreSQL manual, 34.1.1.3)."""
    numbers = ports.split(",") if ports else []
    names = hosts.split(",") if hosts else []
    if not names:
        if len(numbers) == 1 and numbers[0].isdigit():
            parsed.put("port", int(numbers[0]))
        else:
            parsed.refuse("has a parameter 'port' that is not one number", "write one number, or host:port in the URL")
        return
    if len(numbers) not in (0, 1, len(names)):
        parsed.refuse(f"has {len(names)} hosts and {len(numbers)} ports", "give one port, or one for each host")
        return
    ports_each = numbers * len(names) if len(numbers) == 1 else numbers or [""] * len(names)
    joined = [f"{_bracketed(name)}:{port}" if port else _bracketed(name)
              for name, port in zip(names, ports_each, strict=True)]  # fmt: skip
    _put_nodes(parsed, list(_nodes(parsed, joined)))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
