"""A configuration as the objects that it describes: the factory with all that it shares, and where it listens."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from twisted.cred import strcred
from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from twistsmtp.clients import Networks
from twistsmtp.config import DEFAULT_DELIVERY, Config, ConfigError
from twistsmtp.delivery.api import Delivery
from twistsmtp.delivery.find import make_delivery
from twistsmtp.delivery.route import EVERYBODY, Route
from twistsmtp.delivery.tee import Tee
from twistsmtp.extensions import load_extensions
from twistsmtp.extensions.xclient import xclient
from twistsmtp.extensions.xforward import xforward
from twistsmtp.factory import LMTPFactory, SMTPFactory
from twistsmtp.policy.api import Policy
from twistsmtp.policy.find import make_policy
from twistsmtp.policy.relay import RelayRule
from twistsmtp.policy.senders import SenderLogins
from twistsmtp.portals import portal_for
from twistsmtp.proxied import ProxiedEndpoint
from twistsmtp.sasl import DEFAULT, MECHANISMS, load_mechanisms
from twistsmtp.sasl.api import Mechanism
from twistsmtp.sasl.credentials import IClientCertificate
from twistsmtp.security import Audience, Security
from twistsmtp.sockets import check_port, socket_endpoint
from twistsmtp.tls.certificates import Certificates
from twistsmtp.tls.context import ClientAuth
from twistsmtp.tls.transport import TLSFactory
from twistsmtp.verb import Extension

if TYPE_CHECKING:
    from twistsmtp.monitor import Monitor

__all__ = ["make_certificates", "make_endpoint", "make_factories", "make_monitor", "naming", "parts_of", "reason"]

#: Begins an endpoint that is TCP with TLS from the first octet, and one that is for proxies.
_TLS = "tls:"
_PROXY = "proxy:"

_log = Logger(namespace="twistsmtp.service")


def make_factories(config: Config, certificates: Certificates | None, reactor: Any) -> tuple[SMTPFactory, LMTPFactory]:
    """The factories that *config* describes, for SMTP and for LMTP. They share the delivery, and who failed to log in.

    :raises ConfigError: one of its settings cannot be made of its text, or would do nothing.
    """
    delivery = _delivery(config)
    with naming("extension"):
        extensions = [*load_extensions(config.extensions), *_for_trusted(config)]
    checkers, mechanisms = _checkers(config), _mechanisms(config)
    _refuse_idle(config, {verb.name for each in extensions for verb in each.verbs}, checkers, mechanisms)
    shared: dict[str, Any] = {
        "hostname": config.hostname,
        "policies": _policies(config, reactor),
        "security": Security(
            tls=certificates,
            require_tls=config.require_tls,
            portal=portal_for(delivery, *(each for _, each in checkers)) if checkers else None,
            require_auth=config.require_auth,
            plaintext_auth=config.plaintext_auth,
            mechanisms=mechanisms,
            verify=config.verify,
        ),
        "limits": config.limits,
        "extensions": extensions,
        "reactor": reactor,
    }
    return SMTPFactory(delivery, strict_greeting=config.strict_greeting, **shared), LMTPFactory(delivery, **shared)


def parts_of(config: Config, factories: Sequence[SMTPFactory]) -> Iterator[tuple[str, object]]:
    """The parts that *factories* have, and what the operator calls them, who has written *config*."""
    for factory in factories:
        yield f"delivery {'; '.join(config.destinations)!r}", factory.delivery
        portal = factory.security.portal
        for checker in portal.checkers.values() if portal else ():
            yield f"checker {type(checker).__name__}", checker
        # Those that other settings make stand in front.
        own = [type(each).__name__ for each in factory.policies[: -len(config.policies) or None]]
        names = (f"policy {each}" for each in (*own, *map(repr, config.policies)))
        yield from zip(names, factory.policies, strict=False)


def _delivery(config: Config) -> Delivery:
    """Where mail goes. A delivery that stands there more than once is one."""
    made: dict[str, Delivery] = {}

    def make(setting: str, texts: Sequence[str]) -> Delivery:
        for text in texts:
            if text not in made:
                with naming(f"{setting} {text!r}"):
                    made[text] = make_delivery(text)
        deliveries = [made[text] for text in texts]
        return deliveries[0] if len(deliveries) == 1 else Tee(deliveries)

    routes = {pattern: make(f"route {pattern}", texts) for pattern, texts in config.routes}
    if not routes:
        return make("delivery", config.deliveries)
    with naming("route"):
        others = None if EVERYBODY in routes else make("delivery", config.deliveries)
        return Route(routes, others, apart=config.route_apart)


def _for_trusted(config: Config) -> list[Extension]:
    """The extensions that there are for some addresses only."""
    makers = ((xclient, config.xclient_trusted), (xforward, config.xforward_trusted))
    return [make(trusted) for make, trusted in makers if trusted]


def _policies(config: Config, reactor: Any) -> list[Policy]:
    policies: list[Policy] = [RelayRule(config.domains, authenticated=config.relay_authenticated)]
    if config.sender_login:
        with naming("sender-login"):
            policies.append(SenderLogins(config.sender_login, seconds=reactor.seconds))
    for text in config.policies:
        with naming(f"policy {text!r}"):
            policies.append(make_policy(text))
    return policies


# --- TLS -----------------------------------------------------------------------------------------------------


def make_certificates(config: Config, reactor: Any, kept: dict[Path, bytes] | None = None) -> Certificates | None:
    """The certificates that *config* names, if it names any.

    :param kept: for `Certificates`.
    :raises ConfigError: they cannot be read, or what belongs together is not there.
    """
    if not config.tls_cert:
        return None
    certificates, keys = len(config.tls_cert), len(config.tls_key)
    if keys not in (0, certificates):
        raise ConfigError(f"{keys} tls-key for {certificates} tls-cert: give one for each, or none")
    sources = zip(config.tls_cert, config.tls_key, strict=True) if config.tls_key else config.tls_cert
    with naming("tls-cert"):
        return Certificates(
            *sources,
            client_auth=_client_auth(config),
            client_ca=config.tls_client_ca or None,
            seconds=reactor.seconds,
            kept=kept,
        )


def _client_auth(config: Config) -> ClientAuth:
    return ClientAuth(config.tls_client_cert or ("optional" if config.tls_client_ca else "none"))


@implementer(IStreamServerEndpoint)
@dataclass(frozen=True)
class _TLSEndpoint:
    """Listens as another endpoint does, with TLS from the first octet."""

    endpoint: Any
    certificates: Certificates

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See `IStreamServerEndpoint`."""
        port: Deferred[IListeningPort] = self.endpoint.listen(TLSFactory(self.certificates, False, factory))
        return port


def make_endpoint(
    text: str,
    certificates: Certificates | None,
    reactor: Any,
    proxies: Sequence[str] = (),
    setting: str = "listen",
    *,
    descriptor: int | None = None,
) -> Any:
    """The endpoint of *text*, as Twisted writes them, or ``tls:`` and what would follow ``tcp:``; or one of these
    behind ``proxy:``.

    :param proxies: where the proxies are.
    :param setting: whose *text* it is.
    :param descriptor: of the socket, where another process has opened it.
    :raises ConfigError: it is none.
    """
    with naming(f"{setting} {text!r}"):
        plain = text.removeprefix(_PROXY)
        encrypts = plain.startswith(_TLS)
        if encrypts and certificates is None:
            raise ValueError("tls: needs tls-cert")
        plain = f"tcp:{plain.removeprefix(_TLS)}" if encrypts else plain
        check_port(plain)
        endpoint = socket_endpoint(plain, reactor, descriptor) or serverFromString(reactor, plain)
        if text.startswith(_PROXY):
            if plain.partition(":")[0] in ("ssl", "haproxy", "proxy"):
                raise ValueError("proxy: stands in front of tcp, tls, unix, systemd and fd")
            if not proxies:
                raise ValueError("proxy: needs proxy-trusted")
            endpoint = ProxiedEndpoint(endpoint, Networks(proxies))
        return _TLSEndpoint(endpoint, certificates) if encrypts and certificates else endpoint


# --- what it tells of itself ---------------------------------------------------------------------------------


def make_monitor(
    config: Config,
    certificates: Certificates | None,
    factories: Sequence[SMTPFactory],
    ready: Callable[[], object],
) -> "Monitor | None":
    """What tells of the server at the endpoint that *config* has for that, if it has one.

    :param factories: for SMTP and for LMTP.
    :param ready: whether mail is taken.
    :raises ConfigError: the endpoint is none, or what makes metrics is not installed.
    """
    if not config.metrics:
        return None
    from twistsmtp.metrics import Metrics
    from twistsmtp.monitor import Monitor  # and with it a web server, which takes memory

    with naming(f"metrics {config.metrics!r}"):
        if config.metrics.startswith(_PROXY):
            raise ValueError("proxy: is for mail")
    reactor: Any = factories[0].reactor
    endpoint = make_endpoint(config.metrics, certificates, reactor, setting="metrics")
    used = {"smtp": config.listen, "lmtp": config.listen_lmtp}
    counted = {name: each for name, each in zip(used, factories, strict=True) if used[name]}
    with naming("metrics"):
        return Monitor(endpoint, config.metrics, Metrics(counted), ready, reactor)


# --- accounts ------------------------------------------------------------------------------------------------


def _checkers(config: Config) -> list[tuple[str, ICredentialsChecker]]:
    """The checkers, each behind its kind: of the text no more is shown, as that of memory: has passwords in it."""
    return [(text.partition(":")[0], _checker(text)) for text in config.auth]


def _checker(text: str) -> ICredentialsChecker:
    with naming(f"auth {text.partition(':')[0]}"):
        try:
            checker = strcred.makeChecker(text)
        except strcred.InvalidAuthType:
            raise ValueError("is no checker; --help lists them") from None
        except strcred.StrcredException as error:
            raise ValueError(str(error)) from None
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        # What memory: makes has text, and the credentials of a client are octets: nobody could ever log in.
        users: dict[Any, Any] = checker.users
        checker.users = {name.encode(): password.encode() for name, password in users.items()}
    return cast(ICredentialsChecker, checker)


def _mechanisms(config: Config) -> tuple[Mechanism, ...]:
    with naming("mechanism"):
        mechanisms = load_mechanisms(config.mechanisms)
    unknown = config.exclude_mechanisms - {*MECHANISMS, *(each.name for each in mechanisms)}
    if unknown:
        raise ConfigError(f"exclude-mechanism: there is no {', '.join(sorted(unknown))}")
    return tuple(each for each in mechanisms if each.name not in config.exclude_mechanisms)


# --- what would do nothing -----------------------------------------------------------------------------------

#: Endpoints that have no TLS of their own; those that do not ask clients for certificates of their own; and what may
#: stand in front of another.
_PLAIN = frozenset({"tcp", "tcp6", "unix", "systemd", "fd", "stdio"})
_UNASKING = _PLAIN | {"ssl", "tls"}
_AROUND = re.compile(r"((haproxy|proxy):)*")


def _refuse_idle(
    config: Config,
    verbs: Collection[str],
    checkers: Sequence[tuple[str, ICredentialsChecker]],
    mechanisms: Sequence[Mechanism],
) -> None:
    """Who sets something relies on it: what would do nothing stops the start, or is warned of where that is harmless.

    ``sender-login`` is neither: where nobody can authenticate, nobody may use the addresses that it lists.

    :param verbs: those that extensions add.
    :raises ConfigError: something would do nothing.
    """
    kinds = {_AROUND.sub("", each, count=1).partition(":")[0] for each in (*config.listen, *config.listen_lmtp)}
    conditions = _conditions(config, kinds, verbs)
    idle = [f"{name} is of no use {why}" for name, given, useful, why in conditions if given and not useful]
    asks_clients = _client_auth(config) is not ClientAuth.NONE or not kinds <= _UNASKING
    for kind, checker in checkers:
        asked = {each.interface for each in mechanisms}.intersection(checker.credentialInterfaces)
        if not asked:
            idle.append(f"auth {kind} is of no use without {_mechanisms_for(checker)}")
        if asked == {IClientCertificate} and not asks_clients:
            why = "with tls-client-cert none" if config.tls_client_ca else "without tls-client-ca"
            idle.append(f"auth {kind} is of no use {why}")
    if idle:
        raise ConfigError(*idle)
    for name, given, useful, why in _harmless_conditions(config):
        if given and not useful:
            _log.warn("{name} is of no use {why}", name=name, why=why)


#: A setting, whether it is given, whether it does anything, and if not, why.
_Condition: TypeAlias = tuple[str, object, object, str]


def _conditions(config: Config, kinds: Collection[str], verbs: Collection[str]) -> list[_Condition]:
    cert, auth = config.tls_cert, config.auth
    starttls = bool(cert) and "STARTTLS" in verbs
    encrypts = starttls or not _PLAIN.issuperset(kinds)
    return [
        ("tls-key", config.tls_key, cert, "without tls-cert"),
        ("tls-client-ca", config.tls_client_ca, cert, "without tls-cert"),
        ("tls-client-cert", config.tls_client_cert not in ("", "none"), cert, "without tls-cert"),
        ("tls-cert", cert, starttls or "tls" in kinds, "without the extension starttls or an endpoint tls:"),
        ("require-tls", config.require_tls, encrypts, "without tls-cert"),
        ("require-auth", config.require_auth, auth, "without auth"),
        ("relay-authenticated", config.relay_authenticated, auth, "without auth"),
        ("plaintext-auth", config.plaintext_auth, auth, "without auth"),
        ("plaintext-auth", config.plaintext_auth, not config.require_tls, "with require-tls"),
        ("verify users", config.verify is Audience.USERS, auth, "without auth"),
        ("delivery", config.delivery != DEFAULT_DELIVERY, EVERYBODY not in dict(config.routes), "with a route for *"),
        ("route-apart", config.route_apart, config.routes, "without route"),
        ("proxy-trusted", config.proxy_trusted, _has_proxies(config), "without an endpoint proxy:"),
        *_trusting(config),
        ("auth", auth, "AUTH" in verbs, "without the extension auth"),
        ("auth", auth, encrypts or config.plaintext_auth, "without tls-cert"),
    ]


def _trusting(config: Config) -> list[_Condition]:
    """Behind ``haproxy:`` all clients have the proxy's address: where that is trusted, everybody would be."""
    told = not any(each.startswith("haproxy:") for each in (*config.listen, *config.listen_lmtp))
    why = "behind haproxy:, where every client has the proxy's address: use proxy:"
    return [
        ("xclient-trusted", config.xclient_trusted, told, why),
        ("xforward-trusted", config.xforward_trusted, told, why),
    ]


def _has_proxies(config: Config) -> bool:
    return any(each.startswith(_PROXY) for each in (*config.listen, *config.listen_lmtp))


def _harmless_conditions(config: Config) -> list[_Condition]:
    return [
        ("tls-client-ca", config.tls_client_ca, config.tls_client_cert != "none", "with tls-client-cert none"),
        ("mechanism", config.mechanisms != DEFAULT, config.auth, "without auth"),
        ("exclude-mechanism", config.exclude_mechanisms, config.auth, "without auth"),
    ]


def _mechanisms_for(checker: ICredentialsChecker) -> str:
    names = [each.name for each in load_mechanisms(MECHANISMS) if each.interface in checker.credentialInterfaces]
    return f"mechanism {' or '.join(names)}" if names else "a mechanism for its kind of credentials"


# --- errors --------------------------------------------------------------------------------------------------


@contextmanager
def naming(setting: str) -> Iterator[None]:
    """Whatever goes wrong in here is the fault of *setting*."""
    try:
        yield
    except Exception as error:
        file = getattr(error, "filename", None)
        raise ConfigError(f"{setting}: {reason(error)}" + (f": {file}" if file else "")) from error


def reason(error: object) -> str:
    """What *error* says, as far as an operator can use it."""
    if isinstance(error, CannotListenError):
        error = error.socketError
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    for pattern, replacement in _PLAINER:
        text = re.sub(pattern, replacement, text)
    return text if isinstance(error, (ValueError, TypeError, OverflowError, str)) else f"{type(error).__name__}: {text}"


#: What endpoints let through of their inside, as in "_parseTCP() got an unexpected keyword argument 'x'".
_PLAINER = (
    (r"^\w+\(\) ", ""),
    (r"^invalid literal for int\(\) with base \d+: (.*)$", r"\1 is not a number"),
)
