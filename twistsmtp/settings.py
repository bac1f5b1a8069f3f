"""Everything that can be set, as a table: the command line, its help and the configuration file are made from it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any

from twistsmtp.extensions import DEFAULT
from twistsmtp.limits import Limits
from twistsmtp.sasl import DEFAULT as MECHANISMS
from twistsmtp.values import (
    AUDIENCE,
    BARE_NEWLINE,
    CLIENT_CERTIFICATES,
    COUNT,
    DOMAIN,
    DURATION,
    FLAG,
    HOST,
    LOG_FORMAT,
    NETWORK,
    ROUTE,
    SIZE,
    TEXT,
    WORD,
    WORKERS,
    Kind,
)
from twistsmtp.wire.address import PathLimits

__all__ = ["SETTINGS", "Setting", "limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One thing that can be set.

    :param name: as the command line and the file have it.
    :param target: the field of `Config` that it sets; ``"limits.message_size"`` is one of its `Limits`.
    :param help: what it does, in a few sentences; empty for what only a file can set.
    :param example: what may follow the name on the command line.
    :param default: how the help describes the default.
    :param many: makes the field's value of all that was given, where more than one can be.
    :param secret: whether there may be a secret in what is given, so that it is not to be shown.
    :param empty: whether a list of them may be empty.
    """

    name: str
    target: str
    kind: Kind
    help: str = ""
    example: str = ""
    default: str = ""
    many: Callable[[Iterable[Any]], Any] | None = None
    secret: bool = False
    empty: bool = False


def _limit(name: str, target: str, kind: Kind, help: str, example: str) -> Setting:
    default = kind.show(getattr(Limits(), target))
    return Setting(name=name, target=f"limits.{target}", kind=kind, help=help, example=example, default=default)


def _flag(name: str, target: str, help: str, default: str) -> Setting:
    return Setting(name=name, target=target, kind=FLAG, help=help, default=default)


def _places(given: Iterable[str]) -> tuple[str, ...]:
    """Where to listen; ``none`` by itself is nowhere."""
    places = tuple(given)
    return () if places == ("none",) else places


def _one_or_several(given: Iterable[str]) -> str | tuple[str, ...]:
    several = tuple(given)
    return several[0] if len(several) == 1 else several


def _routes(given: Iterable[Iterable[tuple[str, tuple[str, ...]]]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """All routes; what is given for one pattern more than once is for it together."""
    routes: dict[str, tuple[str, ...]] = {}
    for pattern, deliveries in chain.from_iterable(given):
        routes[pattern] = (*routes.get(pattern, ()), *deliveries)
    return tuple(routes.items())


#: What the command line can set, in the order of its help.
SETTINGS = (
    Setting(
        name="listen",
        target="listen",
        kind=TEXT.named("ENDPOINT"),
        help="Where to listen, as a Twisted endpoint: tcp, ssl, unix, systemd, haproxy, or what a plugin "
        "adds; or tls, which is tcp with TLS from the first octet, by the certificates of --tls-cert; or fd, a socket "
        "that is inherited. With proxy: in front, for the proxies of --proxy-trusted. May be given more than once. "
        "none is nowhere, where there is --listen-lmtp.",
        example="tcp:25 --listen tls:465",
        default="tcp:8025:interface=127.0.0.1",
        many=_places,
        empty=True,
    ),
    Setting(
        name="listen-lmtp",
        target="listen_lmtp",
        kind=TEXT.named("ENDPOINT"),
        help="Where to listen for LMTP (RFC 2033), by which a mail server hands over what it has taken; an endpoint as "
        "for --listen, but not port 25. May be given more than once.",
        example="unix:/run/twistsmtp.lmtp:mode=660",
        default="nowhere",
        many=tuple,
    ),
    Setting(
        name="proxy-trusted",
        target="proxy_trusted",
        kind=NETWORK,
        help="Where the proxies are that endpoints with proxy: in front are for, as proxy:tcp:25 or proxy:tls:465: a "
        "network, an address, or unix. They say by the PROXY protocol who the client is. Others, and who does not say "
        "it, are not let in there. May be given more than once.",
        example="10.0.0.0/24 --proxy-trusted ::1",
        default="nowhere",
        many=tuple,
    ),
    Setting(
        name="xclient-trusted",
        target="xclient_trusted",
        kind=NETWORK,
        help="Who may say by XCLIENT that it speaks for another client, any there is: a network, an address, or unix. "
        "May be given more than once.",
        example="127.0.0.1",
        default="nobody",
        many=tuple,
    ),
    Setting(
        name="xforward-trusted",
        target="xforward_trusted",
        kind=NETWORK,
        help="Who may say by XFORWARD, for the log, where a message came from: a network, an address, or unix. May be "
        "given more than once.",
        example="127.0.0.1",
        default="nobody",
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
        help="Where mail goes. May be given more than once: a message goes to all of them, and all must take it.",
        example="maildir:/var/mail/{domain}/{local}:create=yes",
        default="maildir:Maildir:create=yes",
        many=_one_or_several,
    ),
    Setting(
        name="route",
        target="routes",
        kind=ROUTE,
        help="Where mail for some recipients goes instead: those of a domain, or one address; the most exact counts, "
        "and * is all others. May be given more than once; in a file it is a table, [route].",
        example="example.org=maildir:/srv/mail:create=yes --route lists@example.org=discard:",
        default="all mail goes to --delivery",
        many=_routes,
    ),
    _flag(
        "route-apart",
        "route_apart",
        "Over SMTP, have a message go to one delivery; for recipients of another, clients come again.",
        "a message goes to the deliveries of all its recipients",
    ),
    Setting(
        name="tls-cert",
        target="tls_cert",
        kind=TEXT.named("PATH"),
        help="A certificate with its chain, in PEM, and with its key if that is not in a file of its own; or a folder "
        "of such files. May be given more than once: a client gets the one for the host that it names, else the "
        "first. With one, STARTTLS is offered, and tls:465 as an endpoint has TLS from the first octet. Read again "
        "when the files change, and on SIGHUP.",
        example="/etc/ssl/mx.example.org.pem",
        default="no TLS",
        many=tuple,
    ),
    Setting(
        name="tls-key",
        target="tls_key",
        kind=TEXT.named("FILE"),
        help="The private key of --tls-cert, in PEM. If it is given, it is once for each --tls-cert.",
        example="/etc/ssl/private/mx.example.org.key",
        default="in the file of --tls-cert",
        many=tuple,
    ),
    _flag(
        "require-tls",
        "require_tls",
        "Take mail over TLS only. Not for a server that anybody is to send mail to (RFC 3207).",
        "mail is taken without TLS, too",
    ),
    Setting(
        name="tls-client-ca",
        target="tls_client_ca",
        kind=TEXT.named("FILE"),
        help="Certificate authorities, in PEM, that certificates of clients are checked with.",
        example="/etc/ssl/clients-ca.pem",
        default="clients are not asked for certificates",
    ),
    Setting(
        name="tls-client-cert",
        target="tls_client_cert",
        kind=CLIENT_CERTIFICATES,
        help="Whether clients need a certificate. Where it is optional, one that is not right is as none.",
        example="required",
        default="optional, if --tls-client-ca is given",
    ),
    Setting(
        name="auth",
        target="auth",
        kind=TEXT.named("CHECKER"),
        help="Who may authenticate. May be given more than once; a client needs to be known to one of them.",
        example="passwd:/etc/twistsmtp/users",
        default="nobody",
        many=tuple,
        secret=True,
    ),
    _flag("require-auth", "require_auth", "Take mail only from clients that have authenticated.", "from everybody"),
    _flag(
        "relay-authenticated",
        "relay_authenticated",
        "Take mail for every domain from clients that have authenticated.",
        "for --domain only, from them as well",
    ),
    Setting(
        name="sender-login",
        target="sender_login",
        kind=TEXT.named("FILE"),
        help="Who may send as whom: lines of an address, or @domain, and the users that may have it in MAIL. An "
        "address that is there is for these users alone, and users have no other.",
        example="/etc/twistsmtp/senders",
        default="everybody may send as everybody",
    ),
    Setting(
        name="policy",
        target="policies",
        kind=TEXT.named("POLICY"),
        help="A policy that may refuse clients, senders, recipients or messages. May be given more than once: they are "
        "asked in their order, behind the relay rule and --sender-login. Behind any of them, on_failure=pass lets "
        "mail pass where the policy itself fails, which else defers it.",
        example="helo --policy rate:client=100/h:on_failure=pass",
        default="none but these two",
        many=tuple,
    ),
    Setting(
        name="mechanism",
        target="mechanisms",
        kind=TEXT.named("NAME"),
        help="A SASL mechanism to offer, by its name or, where it is not one of ours, by the dotted path of its "
        "module, the preferred first. May be given more than once. Offered is what --auth can check.",
        example="SCRAM-SHA-256 --mechanism PLAIN",
        default=" ".join(MECHANISMS),
        many=tuple,
    ),
    Setting(
        name="exclude-mechanism",
        target="exclude_mechanisms",
        kind=WORD.named("NAME"),
        help="A SASL mechanism not to offer. May be given more than once.",
        example="CRAM-MD5 --exclude-mechanism LOGIN",
        default="none",
        many=frozenset,
    ),
    _flag(
        "plaintext-auth",
        "plaintext_auth",
        "Let clients authenticate without TLS, for everybody on the way to read along.",
        "under TLS only",
    ),
    Setting(
        name="verify",
        target="verify",
        kind=AUDIENCE,
        help="Who is told by VRFY and EXPN which mailboxes there are, where the delivery knows; users are clients that "
        "have authenticated. Everybody else gets the same answer for every mailbox.",
        example="users",
        default="nobody",
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
    _flag(
        "strict-greeting",
        "strict_greeting",
        "Hold the greeting back for a moment, and refuse a client that does not wait for it, as many that send spam "
        "do not.",
        "greet at once",
    ),
    Setting(
        name="extension",
        target="extensions",
        kind=TEXT.named("NAME"),
        help="An ESMTP extension to offer, by its name or, where it is not one of ours, by the dotted path "
        "of its module. May be given more than once; what is not given is not offered, unless all are changes: "
        "-NAME leaves a default one out, +NAME adds one.",
        example="-etrn --extension +yourpackage.yourmodule",
        default=" ".join(DEFAULT),
        many=tuple,
    ),
    Setting(
        name="drain-time",
        target="drain_time",
        kind=DURATION,
        help="How long messages that are under way have to end, when the server is stopped. A second signal ends it "
        "at once.",
        example="1m",
        default="30s",
    ),
    Setting(
        name="workers",
        target="workers",
        kind=WORKERS,
        help="How many processes take mail. With more than one, another one opens the ports, and starts and watches "
        "them. auto is one for each processor.",
        example="auto",
        default="1",
    ),
    Setting(
        name="log-format",
        target="log_format",
        kind=LOG_FORMAT,
        help="How the log is written: as lines of text, or as JSON, one object a line.",
        example="json",
        default="text",
    ),
    Setting(
        name="metrics",
        target="metrics",
        kind=TEXT.named("ENDPOINT"),
        help="Where to tell of the server by HTTP: metrics for Prometheus at /metrics, whether the process lives at "
        "/health, and whether it takes mail at /ready. An endpoint as for --listen, but not proxy:. Whoever can "
        "connect is told.",
        example="tcp:9100:interface=127.0.0.1",
        default="nowhere",
    ),
)

_OCTETS = {"command_line", "message_size", "message_line", "data_rate", "buffered"}


def limits() -> Iterator[Setting]:
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
