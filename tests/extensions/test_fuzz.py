"""Whatever a client writes behind a parameter or a verb, or a proxy in front of all, it gets a reply or is dropped, and
nobody's log a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import Anybody, Realm, portal
from tests.support import Client, Server, split_replies
from tests.test_proxied import PROXY, Proxy
from tests.wire.proxies import INET, KNOWN, SIGNATURE, any_header, block, value, written
from twistsmtp import extensions
from twistsmtp.delivery.memory import Memory
from twistsmtp.envelope import Parameter
from twistsmtp.extensions.etrn import Pending, QueueRequest
from twistsmtp.extensions.xclient import xclient
from twistsmtp.extensions.xforward import xforward
from twistsmtp.proxied import ProxiedFactory
from twistsmtp.security import Security
from twistsmtp.session import Session
from twistsmtp.tls.facts import TLS
from twistsmtp.verb import Registry
from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.reply import Refusal

#: Each module that makes one is fuzzed, also one that is not on by default, or is added tomorrow.
NAMES = [each.name for each in iter_modules(extensions.__path__)]
EXTENSIONS = (
    *extensions.load_extensions(
        name for name in NAMES if hasattr(import_module(f"{extensions.__name__}.{name}"), "extension")
    ),
    xclient(["192.0.2.0/24"]),
    xforward(["192.0.2.0/24"]),
)
MAIL = sorted((p for each in EXTENSIONS for p in each.mail_parameters), key=lambda p: p.keyword)
RCPT = sorted((p for each in EXTENSIONS for p in each.rcpt_parameters), key=lambda p: p.keyword)
KEYWORDS = [p.keyword for p in (*MAIL, *RCPT)]

#: What is right, or nearly, by the name of a parameter or attribute. One that is not here is given that of all others.
LIKELY = {
    name: octets.encode().split()
    for name, octets in {
        "AUTH": "<> a+40b.test a@b.test e+3Dmc2@example.com",
        "BODY": "7BIT 8BITMIME BINARYMIME",
        "BY": "120;R 600;RT -600;N +0;NT",
        "ENVID": "QQ314159 a+2Bb+20c",
        "HOLDFOR": "1 3600 2592000",
        "HOLDUNTIL": "2026-11-22T12:00:00Z 2020-02-29T23:59:60.5+01:00 0001-01-01T00:00:00Z",
        "MT-PRIORITY": "-9 0 9",
        "NOTIFY": "NEVER SUCCESS,FAILURE,DELAY",
        "ORCPT": "rfc822;b+40mx.test utf-8;\\x{FC}@mx.test utf-8;\u00fc@mx.test utf-8;\\x{D800} x400;+2FG=a",
        "RET": "FULL HDRS",
        "RRVS": "2014-04-03T23:01:00Z 2014-04-03T23:01:00-08:00;C 9999-12-31T23:59:60Z;R",
        "SIZE": "0 1000 99999999999999999999",
        "SOLICIT": "org.example:ADV a,b-c_d.e:f",
        "ADDR": "192.0.2.9 IPV6:2001:db8::1 ::ffff:192.0.2.1 0.0.0.0",
        "DESTADDR": "198.51.100.7 IPV6:fe80::1",
        "DESTPORT": "25 65535",
        "HELO": "spike.test [192.0.2.9] [IPv6:2001:db8::1]",
        "IDENT": "3CF6B2AAE8",
        "LOGIN": "ada +C3+BC +FF+0A",
        "NAME": "spike.test [UNAVAILABLE] [TEMPUNAVAIL]",
        "PORT": "0 4711 65536",
        "PROTO": "SMTP ESMTP",
        "SOURCE": "LOCAL REMOTE",
    }.items()
}
ALL = sorted({each for values in LIKELY.values() for each in values})
#: And what gets into it.
PIECES = [*ALL, *map(bytes, zip(b'\t\r\n\0\x1b\x7f\xff,;.:-+=@#<>(){}"\\ 0aZ'))]
PIECES += [each.encode() for each in ("\u00fc", "\u4e2d", "\u017f", "\u0661", "\x85", "\u202e", "\u00a0", "\U0001f600")]
OCTETS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map(str.encode),
    st.binary(max_size=60),
    st.builds(
        bytes.__mul__, st.sampled_from([b"a", b"0", b"+", b"+41", b"a,", b"\xc3\xa9", b"\xff"]), st.integers(90, 2000)
    ),
)


@st.composite
def valued(draw: st.DrawFn, names: list[str]) -> bytes:
    """One of *names*, with a value that is likely, or was until something got into it, or never was; or without."""
    name = draw(st.sampled_from(names))
    value = draw(st.sampled_from(LIKELY.get(name, ALL)))
    match draw(st.sampled_from(["likely", "likely", "likely", "damaged", "wrong", "alone"])):
        case "damaged":
            position = draw(st.integers(0, len(value)))
            value = value[:position] + draw(OCTETS) + value[position:]
        case "wrong":
            value = draw(OCTETS)
        case "alone":
            return name.encode()
    return b"%b=%b" % (name.encode(), value)


def parameters(own: list[Parameter[Any]]) -> st.SearchStrategy[bytes]:
    """Some of *own*, and now and then of the others."""
    one = valued([p.keyword for p in own]) | valued([p.keyword for p in own]) | valued(KEYWORDS)
    return st.lists(one, min_size=1, max_size=3).map(b" ".join)


def attributes(names: str) -> st.SearchStrategy[bytes]:
    """Attributes of these *names*, or anything."""
    return st.lists(valued(names.split()), max_size=4).map(b" ".join) | OCTETS


class Willing(Memory):
    """Does all that can be asked for, that of an extension of tomorrow as well."""

    honours = frozenset(each.name for each in EXTENSIONS)

    def run_queue(self, session: Session, request: QueueRequest) -> Pending:
        return Pending(len(request.name))


class FuzzTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        security = Security(portal=portal(Anybody(), realm=Realm(visitors=Willing())))
        self.server = Server(Willing(), extensions=EXTENSIONS, security=security)

    def client(self, *, user: bool = False) -> Client:
        client = self.server.connect().hello()
        client.session.encrypted(TLS("TLSv1.3", "TLS_AES_256_GCM_SHA384"))
        client.say("EHLO client.test")
        if user:
            client.session.authenticated("ada", client.session.delivery, lambda: None)
        return client

    @contextmanager
    def nothing_breaks(self, octets: bytes) -> Iterator[None]:
        with capturedLogs() as events:
            yield
        self.assertEqual([each for each in events if each["log_level"] is LogLevel.critical], [], octets)

    def check(self, client: Client, command: bytes) -> str:
        """*command* has one reply, which is well-formed, and the session goes on."""
        command = command.replace(b"\r\n", b"\r")
        with self.nothing_breaks(command):
            [reply] = client.say(command)
            self.assertIn(reply[0], "245", command)
            self.assertEqual(client.codes("NOOP"), ["250 2.0.0"], command)
        self.assertFalse(client.closed, command)
        client.vanish()
        return reply


class ParameterTests(FuzzTestCase):
    def test_all_of_them(self) -> None:
        """Those that are registered, each of them offered to the client that is fuzzed."""
        registry = Registry((), EXTENSIONS)
        self.assertEqual({*registry.mail_parameters, *registry.rcpt_parameters}, set(KEYWORDS))
        session = self.client(user=True).session
        self.assertEqual([p.keyword for p in (*MAIL, *RCPT) if not p.usable(session)], [])

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(parameters(MAIL), st.booleans(), st.booleans())
    def test_mail(self, text: bytes, utf8: bool, user: bool) -> None:
        self.check(self.client(user=user), b"MAIL FROM:<> " + (b"SMTPUTF8 " if utf8 else b"") + text)

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(parameters(RCPT), st.booleans(), st.booleans())
    def test_rcpt(self, text: bytes, utf8: bool, user: bool) -> None:
        client = self.client(user=user)
        client.say("MAIL FROM:<> SMTPUTF8" if utf8 else "MAIL FROM:<>")
        self.check(client, b"RCPT TO:<b@mx.test> " + text)

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(st.sampled_from(MAIL + RCPT), st.data())
    def test_values_that_the_grammar_lets_through_or_not(self, parameter: Parameter[Any], data: st.DataObject) -> None:
        client = self.client().begin()
        _, equals, text = data.draw(valued([parameter.keyword])).decode("utf-8", "replace").partition("=")
        value = text if equals else None
        try:
            hash(parameter.parse(client.session, value))  # which a frozen value has
        except GrammarError as error:
            self.assertEqual((error.code, error.enhanced.partition(".")[0]), (501, "5"))
            self.assertTrue(error.text.isascii() and error.text.isprintable())
        except Refusal as refusal:
            self.assertFalse(refusal.reply.positive)
        client.vanish()


class VerbTests(FuzzTestCase):
    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(st.tuples(st.sampled_from([b"", b"@", b"#"]), OCTETS).map(b"".join))
    def test_etrn(self, argument: bytes) -> None:
        self.check(self.client(), b"ETRN " + argument)

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(attributes("NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"))
    def test_xclient(self, argument: bytes) -> None:
        self.check(self.client(), b"XCLIENT " + argument)

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(attributes("NAME ADDR PORT PROTO HELO IDENT SOURCE"))
    def test_xforward(self, argument: bytes) -> None:
        self.check(self.client(), b"XFORWARD " + argument)


class ProxyTests(FuzzTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.factory = ProxiedFactory(self.server.factory, ["10.0.0.0/24"], reactor=self.server.clock)

    def check_header(self, header: bytes) -> None:
        """A session begins behind it, and goes on; or the connection is dropped without a word."""
        with self.nothing_breaks(header):
            proxy = Proxy(self.factory, self.server, PROXY)
            replies = split_replies(proxy.send(header + b"\r\nEHLO client.test\r\nMAIL FROM:<>\r\nQUIT\r\n"))
            if replies:
                self.assertEqual((replies[0][:3], replies[-1][:3]), ("220", "221"), header)
            self.assertTrue(proxy.closed or not replies, header)
            proxy.wire.lose(ConnectionError())
        self.assertEqual((self.server.factory.connections, self.factory.connections), (set(), set()), header)

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(any_header, st.integers(0), st.integers(0, 255))
    def test_whatever_an_octet_becomes(self, header: Any, position: int, change: int) -> None:
        octets = bytearray(written(header))
        octets[position % len(octets)] ^= change
        self.check_header(bytes(octets))

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(
        st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", SIGNATURE]),
        st.lists(OCTETS, max_size=6),
    )
    def test_whatever_comes(self, beginning: bytes, pieces: list[bytes]) -> None:
        self.check_header(beginning + b" ".join(pieces))

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(st.lists(st.tuples(st.sampled_from(sorted(KNOWN)), st.binary(max_size=12)), max_size=4))
    def test_whatever_values(self, values: list[tuple[int, bytes]]) -> None:
        self.check_header(block(INET, b"".join(value(*each) for each in values)))
