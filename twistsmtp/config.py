"""The configuration of a server, and where it comes from: defaults, then a TOML file, then the command line.

Every setting is a row of `SETTINGS`, and the command line, its help and the file are all made from the row. A
file has the same names, and a table ``limits`` that reaches each field of `Limits` besides::

    listen = ["tcp:25", "unix:/run/smtp.sock"]
    domain = ["example.org", "example.net"]
    max-size = "50M"

    [limits]
    hops = 50
    path.local-part = 128

Names may be written with ``_`` for ``-``.
"""

import socket
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from twistsmtp.extensions import DEFAULT
from twistsmtp.limits import Limits
from twistsmtp.values import (
    BARE_NEWLINE,
    COUNT,
    DOMAIN,
    DURATION,
    FLAG,
    HOST,
    LOG_FORMAT,
    SIZE,
    TEXT,
    WORD,
    Kind,
)
from twistsmtp.wire.address import PathLimits

__all__ = ["SETTINGS", "Config", "ConfigError", "Setting", "load"]


class ConfigError(ValueError):
    """A setting is wrong. The text is one line that names the setting, its value and the file that has it."""


def machine_name() -> str:
    """The name of this machine, as complete as it knows it, or ``"localhost"`` where it knows none."""
    for said in (socket.getfqdn(), socket.gethostname()):
        try:
            name: str = HOST.parse(said.rstrip("."))
        except ValueError:
            continue
        # What getfqdn() says where a hosts file or a resolver is half set up.
        if not name.startswith(("[", "localhost", "ip6-localhost")) and not name.endswith(".arpa"):
            return name
    return "localhost"


def _own_domains(hostname: str) -> tuple[str, ...]:
    short = hostname if hostname.startswith("[") else hostname.partition(".")[0]
    return tuple(dict.fromkeys(("localhost", hostname, short)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that a server is told."""

    #: Twisted's endpoint strings of where to listen.
    listen: tuple[str, ...] = ("tcp:8025:interface=127.0.0.1",)
    #: The name that the server goes by.
    hostname: str = field(default_factory=machine_name)
    #: Domains that mail is taken for; ``"*"`` is any. By default localhost and the names of this machine.
    domains: tuple[str, ...] = ()
    #: Where mail goes, as `make_delivery` reads it.
    delivery: str = "maildir:Maildir:create=yes"
    #: Names of the ESMTP extensions to offer, as `load_extensions` reads them.
    extensions: tuple[str, ...] = DEFAULT
    #: Whether a client that talks before the greeting is refused.
    strict_greeting: bool = False
    #: ``"text"`` or ``"json"``.
    log_format: str = "text"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.domains:
            object.__setattr__(self, "domains", _own_domains(self.hostname))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One thing that can be set.

    :param name: as the command line and the file have it.
    :param target: the field of `Config` that it sets; ``"limits.message_size"`` is one of its `Limits`.
    :param help: what it does, in a few sentences; empty for what only a file can set.
    :param example: what may follow the name on the command line.
    :param default: how the help describes the default.
    :param many: makes the field's value of all that was given, where more than one can be.
    """

    name: str
    target: str
    kind: Kind
    help: str = ""
    example: str = ""
    default: str = ""
    many: Callable[[Iterable[Any]], Any] | None = None


def _limit(name: str, target: str, kind: Kind, help: str, example: str) -> Setting:
    default = kind.show(getattr(Limits(), target))
    return Setting(name=name, target=f"limits.{target}", kind=kind, help=help, example=example, default=default)


#: What the command line can set, in the order of its help.
SETTINGS = (
    Setting(
        name="listen",
        target="listen",
        kind=TEXT.named("ENDPOINT"),
        help="Where to listen, as a Twisted endpoint: tcp, ssl, unix, systemd, haproxy, or what a plugin "
        "adds. May be given more than once.",
        example="tcp:25 --listen ssl:465:privateKey=key.pem:certKey=cert.pem",
        default="tcp:8025:interface=127.0.0.1",
        many=tuple,
    ),
    Setting(
        name="hostname",
        target="hostname",
        kind=HOST.named("NAME"),
        help="The name that the server greets with, and writes into Received fields.",
        example="mx1.example.org",
        default="this machine's name",
    ),
    Setting(
        name="domain",
        target="domains",
        kind=DOMAIN,
        help="A domain to take mail for; mail for any other is refused. May be given more than once. * is "
        "any domain, which is right only for a server that passes nothing on.",
        example="example.org --domain example.net",
        default="localhost and this machine's names",
        many=tuple,
    ),
    Setting(
        name="delivery",
        target="delivery",
        kind=TEXT.named("DELIVERY"),
        help="Where mail goes.",
        example="maildir:/var/mail/{domain}/{local}:create=yes",
        default="maildir:Maildir:create=yes",
    ),
    _limit("max-size", "message_size", SIZE, "The greatest message, in octets; K, M and G are units.", "100M"),
    _limit("max-recipients", "recipients", COUNT, "The most recipients of one message.", "100"),
    _limit("max-connections", "connections", COUNT, "The most connections at one time.", "20000"),
    _limit(
        "max-connections-per-client",
        "connections_per_client",
        COUNT,
        "The most connections at one time from one address.",
        "20",
    ),
    _limit(
        "timeout",
        "idle_time",
        DURATION,
        "How long a client may be silent, in seconds; s, m and h are units. RFC 5321 asks for 5m at least.",
        "10m",
    ),
    _limit("data-timeout", "data_time", DURATION, "How long a whole message may take to come.", "30m"),
    _limit(
        "bare-newline",
        "bare_newline",
        BARE_NEWLINE,
        "What to do with a message that has a CR or LF which is not part of a CRLF: refuse it, normalize it "
        "(each becomes a CRLF), or accept it as it is. Such a CR or LF never ends a message.",
        "normalize",
    ),
    Setting(
        name="strict-greeting",
        target="strict_greeting",
        kind=FLAG,
        help="Hold the greeting back for a moment, and refuse a client that does not wait for it, as many "
        "that send spam do not.",
        default="greet at once",
    ),
    Setting(
        name="extension",
        target="extensions",
        kind=TEXT.named("NAME"),
        help="An ESMTP extension to offer, by its name or, where it is not one of ours, by the dotted path "
        "of its module. May be given more than once; what is not given is not offered.",
        example="size --extension pipelining --extension yourpackage.yourmodule",
        default=" ".join(DEFAULT),
        many=tuple,
    ),
    Setting(
        name="log-format",
        target="log_format",
        kind=LOG_FORMAT,
        help="How the log is written: as lines of text, or as JSON, one object a line.",
        example="json",
        default="text",
    ),
)

_OCTETS = {"command_line", "message_size", "message_line", "data_rate", "buffered"}


def _all_limits() -> Iterator[Setting]:
    """Every field of `Limits`, and of the limits of paths, as a file sets it."""
    kinds = {"bare_newline": BARE_NEWLINE, "not_smtp": WORD}
    for each in fields(Limits):
        name = each.name.replace("_", "-")
        target = f"limits.{each.name}"
        kind = kinds.get(each.name) or (DURATION if each.type is float else COUNT)
        if each.name in _OCTETS:
            kind = SIZE
        if each.type is not PathLimits:
            many = frozenset if each.name == "not_smtp" else None
            yield Setting(name=f"limits.{name}", target=target, kind=kind, many=many)
    for each in fields(PathLimits):
        if each.init:
            name = each.name.replace("_", "-")
            yield Setting(name=f"limits.path.{name}", target=f"limits.path.{each.name}", kind=SIZE)


_BY_NAME = {setting.name: setting for setting in (*SETTINGS, *_all_limits())}
_TABLES = {name.rpartition(".")[0] for name in _BY_NAME} - {""}


def load(options: Mapping[str, object], file: str | None = None) -> Config:
    """The configuration that *file* and *options* make; *options* win.

    :param options: the values by the names of `SETTINGS`: text, or what TOML would have there.
    :param file: the path of a TOML file.
    :raises ConfigError: a value is wrong, a name is unknown, or the file cannot be read.
    """
    values = _values(_flat(_read(file)), f"{file}: ") if file is not None else {}
    values |= _values(options.items(), "--")
    path = {target: values.pop(f"limits.path.{target}") for target in _targets(values, "limits.path.")}
    limits = {target: values.pop(f"limits.{target}") for target in _targets(values, "limits.")}
    if path:
        limits["path"] = PathLimits(**path)
    return Config(**values, limits=Limits(**limits))


def _targets(values: Mapping[str, object], prefix: str) -> list[str]:
    return [target.removeprefix(prefix) for target in values if target.startswith(prefix)]


def _read(file: str) -> dict[str, object]:
    try:
        with open(file, "rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"--config {file}: {error.strerror}") from None
    except ValueError as error:  # of the syntax, with its line, or of the encoding
        raise ConfigError(f"{file}: {error}") from None


def _flat(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The names and values of a file, those of its tables behind the table's name."""
    for key, value in table.items():
        name = prefix + key.replace("_", "-")
        if name in _TABLES and isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _values(raw: Iterable[tuple[str, object]], source: str) -> dict[str, Any]:
    """What one source sets, by target."""
    values: dict[str, Any] = {}
    for name, value in raw:
        setting = _BY_NAME.get(name)
        if name in _TABLES:
            raise ConfigError(f"{source}{name} is a table, [{name}]")
        if setting is None:
            near = get_close_matches(name, _BY_NAME, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{source}{name!r} is not a setting{hint}")
        if setting.target in values:
            raise ConfigError(f"{source}{name} is set twice")
        values[setting.target] = _parse(setting, value, source + name)
    return values


def _parse(setting: Setting, value: object, where: str) -> object:
    if setting.many is None:
        return _parse_one(setting.kind, value, where)
    given = value if isinstance(value, list) else [value]
    if not given:
        raise ConfigError(f"{where}: there is none in the list")
    return setting.many([_parse_one(setting.kind, each, where) for each in given])


def _parse_one(kind: Kind, value: object, where: str) -> object:
    try:
        return kind.parse(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {value!r} {error}") from None
