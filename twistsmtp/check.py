"""What ``twistd smtp --check`` says: what the server would do, or what is wrong, and on which line of which file.

All that a start would read is read and all that it would make is made, but nothing is started: there is nobody who
listens, no file is written, no Maildir is made.
"""

import grp
import os
import pwd
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from textwrap import fill
from typing import Any, TextIO, TypeVar

from cryptography import x509
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from twistsmtp.assembly import (
    make_certificates,
    make_endpoint,
    make_factories,
    make_monitor,
    naming,
    parts_of,
    reason,
)
from twistsmtp.config import Config, ConfigError, load
from twistsmtp.delivery.route import EVERYBODY
from twistsmtp.extensions import load_extensions
from twistsmtp.factory import SMTPFactory
from twistsmtp.lifecycle import Parts
from twistsmtp.limits import Limits
from twistsmtp.log import one_line
from twistsmtp.sasl import load_mechanisms
from twistsmtp.settings import limits
from twistsmtp.textfile import BadLines
from twistsmtp.tls.certificates import Certificates
from twistsmtp.tls.development import is_development
from twistsmtp.tomllines import Entry, line_of, line_of_error, scan

__all__ = ["check"]

T = TypeVar("T")

#: Columns of what is said.
_WIDTH = 100
#: Endpoints whose sockets there are only when the server is really started.
_PASSED = ("systemd:", "fd:")


def check(
    options: Mapping[str, object],
    file: str | None,
    parent: Mapping[str, Any] | None = None,
    *,
    output: TextIO | None = None,
    errors: TextIO | None = None,
    reactor: Any = None,
) -> int:
    """Check the configuration that *options* and *file* make, and say what comes of it.

    :param options: as for `load`.
    :param parent: the options of twistd, which say whom the server runs as.
    :param output: by default the standard output.
    :param errors: where it says what is wrong, a line for each; by default the standard error.
    :returns: the exit status: 1 if something is wrong.
    """
    if reactor is None:
        from twisted.internet import reactor
    output, errors = output or sys.stdout, errors or sys.stderr
    source = _Source(file, frozenset(options))
    wrong: list[str] = []
    with _warnings() as warnings:
        config = _attempt(wrong, partial(load, wrong=wrong), options, file)
        warnings.extend(_dangers(config) if config is not None else ())
        parts = _make(config, wrong, reactor) if config is not None else None
    errors.writelines(f"{source.locate(each)}\n" for each in dict.fromkeys((*warnings, *wrong)))
    if wrong or config is None or parts is None:
        return 1
    output.write("\n".join(_describe(config, parts, file, parent or {})) + "\n")
    return 0


# --- what is wrong -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a configuration makes."""

    certificates: Certificates | None
    smtp: SMTPFactory
    lmtp: SMTPFactory


def _make(config: Config, wrong: list[str], reactor: Any) -> _Parts | None:
    """All that *config* describes, or ``None``; each thing that cannot be made adds to *wrong*.

    :param wrong: what is wrong with *config* by now. If there is something, what depends on several settings is not
        told: it may be wrong because of that.
    """
    if wrong:
        _sound(config, wrong, reactor)
        return None
    certificates = _attempt(wrong, make_certificates, config, reactor)
    if wrong and len(config.tls_key) in (0, len(config.tls_cert)):
        for number, path in enumerate(config.tls_cert):
            one = replace(config, tls_cert=(path,), tls_key=config.tls_key[number : number + 1])
            _attempt(wrong, make_certificates, one, reactor)
    encrypts = not config.tls_cert or certificates is not None  # else that is wrong, and has been said
    together: list[str] = []
    factories = _attempt(together, make_factories, config, certificates, reactor)
    if factories is None:
        before = len(wrong)
        sound = _sound(config, wrong, reactor)
        if len(wrong) == before:
            wrong.extend(together)
        elif sound is not None:
            config, factories = sound, _attempt(wrong, make_factories, sound, certificates, reactor)
    for setting, texts in ("listen", config.listen), ("listen-lmtp", config.listen_lmtp):
        for text in texts:
            plain = text.removeprefix("proxy:")
            if not plain.startswith(_PASSED) and (encrypts or not plain.startswith("tls:")):
                _attempt(wrong, make_endpoint, text, certificates, reactor, config.proxy_trusted, setting)
    if factories is not None:
        if not config.metrics.startswith(_PASSED):
            _attempt(wrong, make_monitor, config, certificates, factories, bool)
        errors = Parts(partial(parts_of, config, factories), reactor).check()
        wrong.extend(one_line(f"{each.name}: {reason(each.error)}") for each in errors)
    return None if factories is None else _Parts(certificates, *factories)


def _sound(config: Config, wrong: list[str], reactor: Any) -> Config | None:
    """*config* without the deliveries and policies that cannot be made. Each of them adds to *wrong*, as do extensions,
    mechanisms and checkers; without these it would be another, and so it is ``None``.

    :param wrong: if something is in there, settings that checkers need may be missing because of that.
    """
    bare, certain = Config(hostname=config.hostname), not wrong

    def makes(**part: Any) -> bool:
        """Whether one thing can be made, where there is nothing else."""
        problems: list[str] = []
        made = _attempt(problems, make_factories, replace(bare, **part), None, reactor)
        wrong.extend(each for each in problems if certain or " is of no use " not in each)
        return made is not None

    def loads(setting: str, load: Callable[[list[str]], object], names: Iterable[str]) -> tuple[str, ...]:
        def load_one(name: str) -> object:
            with naming(setting):
                return load([name])

        return tuple(name for name in names if _attempt(wrong, load_one, name) is not None)

    extensions = loads("extension", load_extensions, config.extensions)
    mechanisms = loads("mechanism", load_mechanisms, config.mechanisms)
    needs = ("listen", "listen_lmtp", "tls_cert", "tls_client_ca", "tls_client_cert")
    accounts = {"mechanisms": mechanisms, "plaintext_auth": True, **{name: getattr(config, name) for name in needs}}
    auth = tuple(text for text in config.auth if makes(auth=(text,), **accounts))
    routes = [(key, tuple(text for text in texts if makes(routes=((key, (text,)),)))) for key, texts in config.routes]
    deliveries = tuple(text for text in config.deliveries if makes(delivery=text)) or bare.delivery
    left = replace(
        config,
        delivery=config.delivery if deliveries == config.deliveries else deliveries,
        routes=tuple(each for each in routes if each[1]),
        policies=tuple(text for text in config.policies if makes(policies=(text,))),
        sender_login=config.sender_login if makes(sender_login=config.sender_login) else "",
    )
    return left if (extensions, mechanisms, auth) == (config.extensions, config.mechanisms, config.auth) else None


def _attempt(wrong: list[str], make: Callable[..., T], *arguments: Any) -> T | None:
    """What *make* makes, unless it cannot, which adds to *wrong*."""
    try:
        return make(*arguments)
    except (ValueError, OSError) as error:
        wrong.extend(map(one_line, _sentences(error)))
        return None


def _sentences(error: Exception) -> Sequence[str]:
    """What *error* says, in a sentence for each thing that is wrong."""
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        return error.problems
    said, cause = str(error), error.__cause__
    while cause is not None and not isinstance(cause, BadLines):
        cause = cause.__cause__
    if cause is None:
        return [said]
    return [said.replace(str(cause), f"line {number}: {text}") for number, text in cause.problems.items()]


def _dangers(config: Config) -> Iterator[str]:
    """What works, and is hardly meant."""
    others = dict(config.routes).get(EVERYBODY, config.deliveries)
    if "*" in config.domains and not config.require_auth and any(each.startswith("relay:") for each in others):
        yield (
            "warning: domain '*' has everybody's mail forwarded to every domain there is: name the domains, or give "
            "relay-authenticated or require-auth"
        )


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What is logged meanwhile that somebody should look at."""
    said: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.warn and "twistsmtp" in event.get("log_namespace", ""):
            said.append(f"warning: {one_line(formatEvent(event))}")

    globalLogPublisher.addObserver(observe)
    try:
        yield said
    finally:
        globalLogPublisher.removeObserver(observe)


@dataclass(slots=True)
class _Source:
    """The file that a configuration is from.

    :param overruled: settings that the command line has, and so are not the file's.
    """

    file: str | None
    overruled: frozenset[str]
    _entries: Sequence[Entry] = ()
    _broken: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.file is None:
            return
        with suppress(OSError):  # which is what is wrong, and has no line
            with open(self.file, "rb") as stream:
                octets = stream.read()
            try:
                text = octets.decode()
                tomllib.loads(text)
            except ValueError as error:
                self._broken = line_of_error(error, octets)
            else:
                self._entries = scan(text)

    def locate(self, sentence: str) -> str:
        """*sentence* behind the file and the line that it is about, where there is one."""
        about = sentence.removeprefix(f"{self.file}: ")
        line = self._broken
        if line is None and not about.startswith("--"):
            overruled = self.overruled if about == sentence else ()
            line = line_of(about, self._entries, overruled)
        if line is None:
            return sentence
        return f"{self.file}:{line}: {about}"


# --- what it would do ----------------------------------------------------------------------------------------


def _describe(config: Config, parts: _Parts, file: str | None, parent: Mapping[str, Any]) -> Iterator[str]:
    source = f"{file} and the command line are" if file is not None else "The command line is"
    yield f"{source} right. The server would"
    yield _list("listen as", [config.hostname])
    yield _list("listen on", [*_places(config, parts)])
    yield _list("run as", [_who(parent), *_processes(config)])
    if parts.certificates is not None:
        yield _list("encrypt with", [*map(_certificate, parts.certificates.certificates)])
    yield _list("take mail for", [*_domains(config)])
    yield _list("take it from", [*_clients(config)])
    yield _list("give it to", config.destinations)
    if config.metrics:
        yield _list("tell of itself by HTTP, whoever connects, on", [config.metrics])
    accounts = [*_accounts(config, parts.smtp)]
    if accounts:
        yield _list("know users by", accounts)
    policies = [*([f"sender-login {config.sender_login}"] if config.sender_login else ()), *config.policies]
    if policies:
        yield _list("ask these policies", policies)
    yield _list("offer the extensions", [" ".join(each.name for each in parts.smtp.registry.extensions)])
    changed = [*_limits(config.limits)]
    if changed:
        yield _list("have other limits than the defaults", changed)


def _list(what: str, items: Iterable[str]) -> str:
    """*what* the server would do with *items*: a line if there is one of them, else a line for each."""
    shown = [one_line(each) for each in items]
    if len(shown) == 1:
        return _fill(f"- {what} {shown[0]}", subsequent_indent="    ")
    lines = (_fill(each, initial_indent="  - ", subsequent_indent="      ") for each in shown)
    return "\n".join([f"- {what}", *lines])


_fill = partial(fill, width=_WIDTH, break_long_words=False, break_on_hyphens=False)


def _places(config: Config, parts: _Parts) -> Iterator[str]:
    starttls = parts.certificates is not None and any(
        each.name == "starttls" for each in parts.smtp.registry.extensions
    )
    for speaks, texts in ("SMTP", config.listen), ("LMTP", config.listen_lmtp):
        for text in texts:
            plain = text.removeprefix("proxy:").removeprefix("haproxy:")
            if plain.startswith(("tls:", "ssl:")):
                encryption = ", TLS from the first octet"
            else:
                encryption = ", STARTTLS" if starttls else ", no encryption"
            passed = ", a socket that is passed to it when it starts" if plain.startswith(_PASSED) else ""
            yield f"{text} ({speaks}{encryption}{passed})"


def _who(parent: Mapping[str, Any]) -> str:
    user, group = parent.get("uid"), parent.get("gid")
    user, group = os.geteuid() if user is None else user, os.getegid() if group is None else group
    with suppress(KeyError):
        user = pwd.getpwuid(user).pw_name
    with suppress(KeyError):
        group = grp.getgrgid(group).gr_name
    return f"user {user}, group {group}"


def _processes(config: Config) -> Iterator[str]:
    if config.workers > 1:
        yield f"{config.workers} workers, which take the mail, and their parent, which listens"


def _certificate(certificate: x509.Certificate) -> str:
    until = certificate.not_valid_after_utc
    days = (until - datetime.now(UTC)).days
    when = f"in {days} days" if days >= 0 else "which is over"
    trial = "; made for development, and so for this machine alone" if is_development(certificate) else ""
    return f"the certificate for {_names(certificate)}, valid until {until:%Y-%m-%d}, {when}{trial}"


def _names(certificate: x509.Certificate) -> str:
    names: list[str] = []
    with suppress(x509.ExtensionNotFound):
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = [str(each.value) for each in extension.value]
    return ", ".join(names) or certificate.subject.rfc4514_string()


def _domains(config: Config) -> Iterator[str]:
    for domain in config.domains:
        yield "every domain there is" if domain == "*" else domain
    if config.relay_authenticated:
        yield "every domain there is, from users"


def _clients(config: Config) -> Iterator[str]:
    who = "users that have authenticated" if config.require_auth else "everybody"
    yield f"{who}, over TLS only" if config.require_tls else who


def _accounts(config: Config, factory: SMTPFactory) -> Iterator[str]:
    portal = factory.security.portal
    if portal is None:
        return
    able = [each.name for each in factory.security.mechanisms if each.interface in portal.checkers]
    where = "also without TLS" if config.plaintext_auth and not config.require_tls else "under TLS only"
    kinds = ", ".join(dict.fromkeys(text.partition(":")[0] for text in config.auth))
    yield f"{kinds}, by the mechanisms {' '.join(able)}, {where}"


def _limits(chosen: Limits) -> Iterator[str]:
    default = Limits()
    for setting in limits():
        value = attrgetter(setting.target.removeprefix("limits."))
        now, usual = value(chosen), value(default)
        if now != usual:
            yield f"{setting.name} = {_shown(setting.kind.show, now)}, in place of {_shown(setting.kind.show, usual)}"


def _shown(show: Any, value: Any) -> str:
    return " ".join(sorted(map(show, value))) if isinstance(value, frozenset) else show(value)
