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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from twistsmtp.delivery.route import EVERYBODY
from twistsmtp.extensions import DEFAULT
from twistsmtp.limits import Limits
from twistsmtp.sasl import DEFAULT as MECHANISMS
from twistsmtp.security import Audience
from twistsmtp.settings import SETTINGS, Setting, limits
from twistsmtp.values import HOST, ROUTE
from twistsmtp.wire.address import PathLimits

__all__ = ["DEFAULT_DELIVERY", "Config", "ConfigError", "load"]

#: Where mail goes when nobody says it.
DEFAULT_DELIVERY = "maildir:Maildir:create=yes"


class ConfigError(ValueError):
    """Settings are wrong. The text is one line, parted by ``;``.

    :param problems: a line for each, that names the setting, the file that has it, and its value unless there may be a
        secret in it.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


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
    #: The same for LMTP.
    listen_lmtp: tuple[str, ...] = ()
    #: Where the proxies are that endpoints ``proxy:`` are for, and who may say XCLIENT and XFORWARD.
    proxy_trusted: tuple[str, ...] = ()
    xclient_trusted: tuple[str, ...] = ()
    xforward_trusted: tuple[str, ...] = ()
    #: The name that the server goes by.
    hostname: str = field(default_factory=machine_name)
    #: Domains that mail is taken for; ``"*"`` is any. By default localhost and the names of this machine.
    domains: tuple[str, ...] = ()
    #: Where mail goes, as `make_delivery` reads it; several are a `Tee`.
    delivery: str | tuple[str, ...] = DEFAULT_DELIVERY
    #: Where mail for some recipients goes instead: the patterns of a `Route`, each with its deliveries.
    routes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    #: Whether a message over SMTP goes to one delivery of these.
    route_apart: bool = False
    #: Paths of certificates and, each for the one in the same place, of their keys; no keys where the files of the
    #: certificates have them.
    tls_cert: tuple[str, ...] = ()
    tls_key: tuple[str, ...] = ()
    #: Whether mail is taken over TLS only.
    require_tls: bool = False
    #: The path of the authorities for certificates of clients, and whether clients need one: ``"none"``,
    #: ``"optional"``, ``"required"``, or ``""`` for the second if there are authorities, else the first.
    tls_client_ca: str = ""
    tls_client_cert: str = ""
    #: Checkers of credentials, as `twisted.cred.strcred` reads them; there may be passwords in them.
    auth: tuple[str, ...] = field(default=(), repr=False)
    #: Whether mail is taken only from clients that have authenticated.
    require_auth: bool = False
    #: Whether these may send to every domain.
    relay_authenticated: bool = False
    #: The path of a map of who may send as whom.
    sender_login: str = ""
    #: Policies, as `make_policy` reads them, in the order in which they are asked, behind those that the settings above
    #: make.
    policies: tuple[str, ...] = ()
    #: Names of the SASL mechanisms to offer, as `load_mechanisms` reads them, and of some not to offer.
    mechanisms: tuple[str, ...] = MECHANISMS
    exclude_mechanisms: frozenset[str] = frozenset()
    #: Whether clients may authenticate without TLS.
    plaintext_auth: bool = False
    #: Who is told by VRFY and EXPN which mailboxes there are.
    verify: Audience = Audience.NOBODY
    #: Names of the ESMTP extensions to offer, as `load_extensions` reads them.
    extensions: tuple[str, ...] = DEFAULT
    #: Whether a client that talks before the greeting is refused.
    strict_greeting: bool = False
    #: Seconds that messages which are under way have to end, when the server is stopped.
    drain_time: float = 30.0
    #: ``"text"`` or ``"json"``.
    log_format: str = "text"
    #: Twisted's endpoint string of where metrics are, and whether the server is ready; nowhere if it is empty.
    metrics: str = ""
    limits: Limits = field(default_factory=Limits)
    #: How many processes ``twistd smtp`` is to take mail in.
    workers: int = 1

    def __post_init__(self) -> None:
        if not self.domains:
            object.__setattr__(self, "domains", _own_domains(self.hostname))

    @property
    def deliveries(self) -> tuple[str, ...]:
        """What `delivery` has, one or several."""
        return (self.delivery,) if isinstance(self.delivery, str) else self.delivery

    @property
    def destinations(self) -> list[str]:
        """Where mail goes, in words."""
        routes = [f"{' and '.join(deliveries)} for {pattern}" for pattern, deliveries in self.routes]
        if any(pattern == EVERYBODY for pattern, _ in self.routes):
            return routes
        return [*routes, " and ".join(self.deliveries) + (" for others" if routes else "")]


_BY_NAME = {setting.name: setting for setting in (*SETTINGS, *limits())}
_TABLES = {name.rpartition(".")[0] for name in _BY_NAME} - {""}


def load(
    options: Mapping[str, object], file: str | None = None, hostname: str = "", *, wrong: list[str] | None = None
) -> Config:
    """The configuration that *file* and *options* make; *options* win.

    :param options: the values by the names of `SETTINGS`: text, or what TOML would have there.
    :param file: the path of a TOML file.
    :param hostname: the name of the server where neither has one; by default the machine's.
    :param wrong: is told what is wrong with settings, which then are as if nobody had set them; of several values that
        one has, those that are right stay.
    :raises ConfigError: without *wrong* that is what is raised: a value is wrong, or a name is unknown. The file cannot
        be read.
    """
    problems: list[str] = []
    values = _values(_flat(_read(file)), f"{file}: ", problems) if file is not None else {}
    values |= _values(options.items(), "--", problems)
    if hostname:
        values.setdefault("hostname", hostname)
    path = {target: values.pop(f"limits.path.{target}") for target in _targets(values, "limits.path.")}
    chosen = {target: values.pop(f"limits.{target}") for target in _targets(values, "limits.")}
    if path:
        chosen["path"] = PathLimits(**path)
    config = Config(**values, limits=Limits(**chosen))
    if not (config.listen or config.listen_lmtp):
        source = "--" if "listen" in options else f"{file}: "
        problems.append(f"{source}listen: that is nowhere, and there is no listen-lmtp")
    if problems and wrong is None:
        raise ConfigError(*problems)
    if wrong is not None:
        wrong.extend(problems)
    return config


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


def _values(raw: Iterable[tuple[str, object]], source: str, problems: list[str]) -> dict[str, Any]:
    """What one source sets, by target; what is wrong adds to *problems*."""
    values: dict[str, Any] = {}
    for name, value in raw:
        try:
            setting = _setting(name, source)
            if setting.target in values:
                raise ConfigError(f"{source}{name} is set twice")
            values[setting.target] = _parse(setting, value, source + name, problems)
        except ConfigError as error:
            problems.extend(error.problems)
    return values


def _setting(name: str, source: str) -> Setting:
    if name in _TABLES:
        raise ConfigError(f"{source}{name} is a table, [{name}]")
    if name not in _BY_NAME:
        near = get_close_matches(name, _BY_NAME, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{source}{name!r} is not a setting{hint}")
    return _BY_NAME[name]


def _parse(setting: Setting, value: object, where: str, wrong: list[str]) -> object:
    if setting.many is None:
        return _parse_one(setting, value, where)
    if setting.kind is ROUTE and isinstance(value, dict):
        routes = [({key: each}, f'{where}."{key}"', each) for key, each in value.items()]
        return setting.many(_parse_each(setting, routes, wrong))
    given = value if isinstance(value, list) else [value]
    if not (given or setting.empty):
        raise ConfigError(f"{where}: there is none in the list")
    return setting.many(_parse_each(setting, [(each, where, each) for each in given], wrong))


def _parse_each(setting: Setting, given: Iterable[tuple[object, str, object]], wrong: list[str]) -> list[object]:
    """Those of the values that are right; what is wrong with others adds to *wrong*, or is raised where none is."""
    parsed: list[object] = []
    problems: list[str] = []
    for value, where, shown in given:
        try:
            parsed.append(_parse_one(setting, value, where, shown))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems and not parsed:
        raise ConfigError(*problems)
    wrong.extend(problems)
    return parsed


def _parse_one(setting: Setting, value: object, where: str, given: object = None) -> object:
    try:
        return setting.kind.parse(value)
    except ValueError as error:
        shown = "the value" if setting.secret else repr(value if given is None else given)
        raise ConfigError(f"{where}: {shown} {error}") from None
