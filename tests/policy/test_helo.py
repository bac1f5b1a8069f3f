"""HELO sanity: names that cannot be."""

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import USER, plain, secured
from tests.lmtp import LMTPServer
from tests.policy.maps import known
from tests.support import Server, Wire
from twistsmtp.clients import ProxiedAddress
from twistsmtp.policy.find import make_policy
from twistsmtp.policy.helo import HeloSanity
from twistsmtp.wire.proxy import read_header

OK, REFUSED = "250 2.1.0", "550 5.7.1"

#: Names that no honest client has, and those that some have.
WRONG = ("mx.test", "MX.Test", "mx.test.", "192.0.2.1", "198.51.100.7", "127.0.0.1")
DOUBTFUL = ("localhost", "ada-pc", "x_1", "[198.51.100.7]", "[127.0.0.1]", "[IPv6:2001:db8::1]", "[2001:db8::1]")
RIGHT = ("client.test", "localhost.localdomain", "a_b.test", "1.2.3.test", "mx.test.elsewhere.test", "[192.0.2.1]")


def codes(names: tuple[str, ...], *, peer: Any = "192.0.2.1", verb: str = "EHLO", **settings: Any) -> list[str]:
    """What MAIL gets behind each of *names*; they themselves are always taken."""
    server = Server(policies=[HeloSanity(**settings)])
    found = []
    for name in names:
        client = server.connect(peer)
        client.read()
        assert client.codes(f"{verb} {name}") == ["250"], name
        found += client.codes("MAIL FROM:<a@client.test>")
    return found


class NameTests(SynchronousTestCase):
    def test_by_default(self) -> None:
        for verb in ("EHLO", "HELO"):
            self.assertEqual([REFUSED] * len(WRONG), codes(WRONG, verb=verb))
            others = (*DOUBTFUL, *RIGHT)
            self.assertEqual([OK] * len(others), codes(others, verb=verb))

    def test_strict(self) -> None:
        names = (*WRONG, *DOUBTFUL)
        self.assertEqual([REFUSED] * len(names), codes(names, strict=True))
        self.assertEqual([OK] * len(RIGHT), codes(RIGHT, strict=True))

    def test_own(self) -> None:
        """The server's other names, and its addresses in whatever form."""
        own = ["Mail.Example.ORG", "203.0.113.9", "2001:db8::9"]
        names = ("mail.example.org", "[203.0.113.9]", "203.0.113.9", "[IPv6:2001:DB8:0::9]", "[2001:db8::9]")
        self.assertEqual([REFUSED] * 5, codes(names, own=own))
        self.assertEqual([OK, OK], codes(("example.org", "[203.0.113.8]"), own=own))

    def test_where_the_client_has_connected_to(self) -> None:
        """Whatever that is; also where a proxy says it."""
        host = Wire(Clock(), IPv4Address("TCP", "192.0.2.1", 1)).getHost().host
        self.assertEqual([REFUSED, REFUSED, OK], codes((host, f"[{host}]", "[10.255.0.7]")))
        header, _ = read_header(b"PROXY TCP6 2001:db8::7 2001:db8::25 50000 25\r\n") or self.fail("no header")
        peer = ProxiedAddress(IPv6Address("TCP", "2001:db8::7", 50000), header)
        names = ("[IPv6:2001:DB8:0::25]", "[IPv6:2001:db8::26]", f"[{host}]")
        self.assertEqual([REFUSED, OK, OK], codes(names, peer=peer))

    def test_ipv6(self) -> None:
        """An address in brackets is the client's, however it is written."""
        peer = IPv6Address("TCP", "2001:db8::7", 50000)
        names = ("[IPv6:2001:db8::7]", "[ipv6:2001:DB8:0:0::7]", "[2001:db8::7]")
        self.assertEqual([OK] * 3, codes(names, peer=peer, strict=True))
        self.assertEqual([REFUSED], codes(("[IPv6:2001:db8::8]",), peer=peer, strict=True))

    def test_what_it_says(self) -> None:
        client = Server(policies=[HeloSanity(strict=True)]).connect()
        client.read()
        for name, reason in {
            "mx.test": "that is this server",
            "192.0.2.1": "an address stands in brackets there",
            "[192.0.2.9]": "that is not your address",
            "pc": "that is no full host name",
        }.items():
            client.say(f"EHLO {name}")
            said = f"550 5.7.1 You said {name} in HELO or EHLO: {reason}"
            self.assertEqual([said], client.say("MAIL FROM:<>"))


class WhoTests(SynchronousTestCase):
    """Who may say what it likes."""

    def test_local_clients(self) -> None:
        """The machine itself does have its own name."""
        peers = ("127.0.0.1", "10.1.2.3", IPv6Address("TCP", "::1", 1), UNIXAddress(b"/run/x"))
        for peer in peers:
            self.assertEqual([OK] * len(WRONG), codes(WRONG, peer=peer), peer)

    def test_trusted_clients(self) -> None:
        trusted = ["198.51.100.0/24", "2001:db8::/32"]
        self.assertEqual([OK], codes(("mx.test",), peer="198.51.100.7", trusted=trusted))
        self.assertEqual([OK], codes(("mx.test",), peer=IPv6Address("TCP", "2001:db8::7", 1), trusted=trusted))
        self.assertEqual([REFUSED], codes(("mx.test",), peer="192.0.2.1", trusted=trusted))

    def test_users(self) -> None:
        """Who authenticates is not asked for a name, and has had time to."""
        client = secured(policies=[HeloSanity(strict=True)]).connect()
        client.read()
        self.assertEqual(["250"], client.codes("EHLO pc"))
        self.assertEqual([REFUSED], client.codes("MAIL FROM:<>"))
        self.assertEqual(["235 2.7.0", OK], client.codes(f"AUTH PLAIN {plain()}", "MAIL FROM:<>"))
        self.assertEqual(USER, client.session.identity)

    def test_anonymous(self) -> None:
        client = Server(policies=[HeloSanity()]).connect()
        client.read()
        client.say("EHLO mx.test")
        self.assertEqual([REFUSED], known(client, "anonymous").codes("MAIL FROM:<>"))

    def test_lmtp(self) -> None:
        """Whoever hands over what it has taken may be this very server."""
        client = LMTPServer(policies=[HeloSanity(strict=True)]).connect()
        client.read()
        self.assertEqual(["250", OK], client.codes("LHLO mx.test", "MAIL FROM:<>"))

    def test_a_better_name(self) -> None:
        client = Server(policies=[HeloSanity()]).connect()
        client.read()
        client.say("EHLO mx.test")
        self.assertEqual([REFUSED, "250", OK], client.codes("MAIL FROM:<>", "EHLO client.test", "MAIL FROM:<>"))

    def test_by_name(self) -> None:
        policy = make_policy(r"helo:strict=yes:own=mail.test, 2001\:db8\:\:9:trusted=198.51.100.0/24,fd00\:\:/8")
        assert isinstance(policy, HeloSanity)
        server = Server(policies=[policy])
        for peer, name, code in (
            ("192.0.2.1", "mail.test", REFUSED),
            ("192.0.2.1", "[IPv6:2001:db8::9]", REFUSED),
            ("192.0.2.1", "pc", REFUSED),
            ("198.51.100.7", "pc", OK),
        ):
            client = server.connect(peer)
            client.read()
            self.assertEqual(["250", code], client.codes(f"EHLO {name}", "MAIL FROM:<>"), (peer, name))
        self.assertFalse(HeloSanity.from_options().strict)
        self.assertRaises(ValueError, make_policy, "helo:trusted=everybody")
