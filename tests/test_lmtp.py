"""LMTP: RFC 2033 sections 4.2 and 4.3, and all the rest as over SMTP."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import PASSWORD, Realm, TLSClient, authenticate, certificates, portal
from tests.chunks import COMMANDS, bdat, chunking, codes
from tests.lmtp import LMTPClient, LMTPServer
from tests.scripted import AT_ONCE, LATER, Answer, Script, ScriptedDelivery, ScriptedPolicy
from tests.support import Server, logged
from twistsmtp.assembly import make_certificates
from twistsmtp.config import Config, ConfigError
from twistsmtp.factory import LMTPFactory
from twistsmtp.limits import Limits
from twistsmtp.policy.relay import RelayRule
from twistsmtp.security import Security
from twistsmtp.service import SMTPService, StartError
from twistsmtp.session import Stage
from twistsmtp.wire.reply import Catalogue, Refusal, Reply

EVERY_WAY = (*AT_ONCE, *LATER)
NO = Refusal(Reply(452, "4.3.1", "Full"))
OK = Reply(250, "2.1.5", "Delivered")
GONE = Reply(550, "5.1.1", "Gone")
LATE = Reply(451, "4.2.0", "Busy")
AWAY = Reply(421, "4.3.2", "Away")
THREE = ("b@mx.test", "c@mx.test", "d@mx.test")
#: A message by DATA, and by BDAT in one chunk and in several.
WAYS = {
    "DATA": b"DATA\r\ntext\r\n.\r\n",
    "BDAT": bdat(b"text\r\n", True),
    "chunks": bdat(b"te") + bdat(b"xt\r\n") + b"BDAT 0 LAST\r\n",
}
#: What is said before the replies to the message.
BEFORE = {"DATA": ["354 Start"], "BDAT": [], "chunks": ["250 2.0.0"] * 2}


class Oops(Exception):
    """What nobody meant to raise."""


def begun(script: Script | None = None, recipients: Sequence[str] = THREE, **settings: Any) -> LMTPClient:
    """A client that may send its message."""
    script = script or Script()
    server = LMTPServer(ScriptedDelivery(script), policies=[ScriptedPolicy(script)], extensions=chunking(), **settings)
    client = server.connect().hello()
    client.begin(*recipients)
    return client


def answered(client: LMTPClient, octets: bytes) -> list[str]:
    """The codes of the replies to *octets*, when all has answered that is waited for."""
    said = client.send(octets)
    client.server.delivery.script.release_all()
    return codes(said + client.read())


class RepliesTests(SynchronousTestCase):
    """One reply for each recipient that was taken, in their order."""

    def test_one_for_each(self) -> None:
        for way, octets in WAYS.items():
            for recipients in (THREE[:1], THREE, THREE[:1] * 4):  # "even if ... the same forward-path"
                client = begun(recipients=recipients)
                expected = [*BEFORE[way], *["250 2.0.0"] * len(recipients), "250 2.0.0"]
                self.assertEqual(answered(client, octets + b"NOOP\r\n"), expected, way)
                self.assertEqual(client.server.delivery.bodies, [b"text\r\n"])
                self.assertIs(client.session.stage, Stage.READY)

    def test_only_for_those_that_were_taken(self) -> None:
        for way, octets in WAYS.items():
            script = Script(rcpt=[Answer(), Answer(result=Refusal(GONE)), Answer()])
            self.assertEqual(answered(begun(script), octets), BEFORE[way] + ["250 2.0.0"] * 2)

    def test_what_the_delivery_says_of_each(self) -> None:
        for how in EVERY_WAY:
            for way, octets in WAYS.items():
                client = begun(Script(commit=Answer(how, [OK, GONE, LATE])))
                expected = [*BEFORE[way], "250 2.1.5", "550 5.1.1", "451 4.2.0", "250 2.0.0"]
                self.assertEqual(answered(client, octets + b"NOOP\r\n"), expected, (how, way))
                [transaction] = client.server.delivery.transactions
                self.assertEqual((transaction.commits, transaction.aborts), (1, 0))

    def test_one_reply_of_the_delivery_is_everybodys(self) -> None:
        for way, octets in WAYS.items():
            self.assertEqual(answered(begun(Script(commit=Answer(result=OK))), octets), BEFORE[way] + ["250 2.1.5"] * 3)

    def test_replies_that_are_too_few(self) -> None:
        for octets in WAYS.values():
            client = begun(Script(commit=Answer(result=[OK, OK])))
            self.assertEqual(answered(client, octets)[-3:], ["451 4.3.0"] * 3)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_over_smtp_one_stands_for_all(self) -> None:
        client = Server(ScriptedDelivery(Script(commit=Answer(result=[OK, GONE, LATE])))).connect().hello()
        client.begin(*THREE)
        self.assertEqual(client.codes("DATA", "."), ["354", "451 4.2.0"])

    def test_a_message_that_is_refused(self) -> None:
        for step in ("write", "policy_message", "commit"):
            for how in EVERY_WAY:
                for way in ("DATA", "BDAT"):
                    for error, code in ((NO, "452 4.3.1"), (Oops("a secret"), "451 4.3.0")):
                        client = begun(Script(**{step: Answer(how, error)}))
                        expected = [*BEFORE[way], code, code, code, "250 2.0.0"]
                        self.assertEqual(answered(client, WAYS[way] + b"NOOP\r\n"), expected, (step, how, way))
                        [transaction] = client.server.delivery.transactions
                        self.assertEqual((transaction.commits, transaction.aborts), (0, 1))
                        self.flushLoggedErrors(Oops)

    def test_too_big(self) -> None:
        for octets, before in ((b"DATA\r\n" + b"x" * 50 + b"\r\n.\r\n", ["354 Start"]), (bdat(b"x" * 50, True), [])):
            client = begun(limits=Limits(message_size=20))
            self.assertEqual(answered(client, octets), before + ["552 5.3.4"] * 3)

    def test_a_message_that_is_not_even_begun(self) -> None:
        # In the place of 354 there is one reply; to the last chunk there is one for each recipient as ever.
        for step in ("policy_data", "open"):
            for how in EVERY_WAY:
                script = Script(**{step: Answer(how, NO)})
                self.assertEqual(answered(begun(script), b"DATA\r\nNOOP\r\n"), ["452 4.3.1", "250 2.0.0"])
                self.assertEqual(answered(begun(script), bdat(COMMANDS, True)), ["452 4.3.1"] * 3)
                self.assertEqual(answered(begun(script), b"BDAT 0 LAST\r\nNOOP\r\n")[:3], ["452 4.3.1"] * 3)

    def test_a_chunk_that_is_not_the_last(self) -> None:
        # It has one reply, whatever that is.
        client = begun(Script(write=[Answer(), Answer(result=NO)]))
        self.assertEqual(
            answered(client, bdat(b"a") + bdat(COMMANDS) + b"NOOP\r\n"), ["250 2.0.0", "452 4.3.1", "250 2.0.0"]
        )

    def test_the_last_chunk_behind_one_that_has_failed(self) -> None:
        """The client waits for as many replies as there are recipients (section 4.3), and gets them once."""
        for end in (b"BDAT 0 LAST\r\n", bdat(COMMANDS, True)):
            for between, owed in (
                (b"", 3),
                (bdat(COMMANDS), 3),
                (b"NOOP\r\n", 3),
                (b"RSET\r\n", 1),
                (b"LHLO again.test\r\n", 1),
                (b"MAIL FROM:<>\r\n", 0),
                (b"MAIL FROM:<>\r\nRCPT TO:<a@mx.test>\r\nBDAT 0 LAST\r\n", 1),
                (end, 1),
            ):
                client = begun(Script(write=[Answer(result=NO), *[Answer()] * 9]))
                client.send(bdat(COMMANDS) + between)
                self.assertEqual(codes(client.send(end + b"NOOP\r\n")), ["503 5.5.1"] * owed + ["250 2.0.0"], between)

    def test_without_valid_recipients(self) -> None:
        # Section 4.2: "the DATA command MUST fail with a 503 reply code".
        for recipients in ((), ("",), ("", "")):
            client = LMTPServer(extensions=chunking()).connect().hello()
            client.say("MAIL FROM:<>", *[f"RCPT TO:<{each}>" for each in recipients])
            self.assertEqual(client.codes("DATA", "NOOP"), ["503 5.5.1", "250 2.0.0"])
            self.assertEqual(codes(client.send(bdat(COMMANDS) + b"NOOP\r\n")), ["503 5.5.1", "250 2.0.0"])
            # Section 4.3: "If there were no previously successful RCPT commands in the mail transaction, then the BDAT
            # LAST command returns zero replies."
            for stream in (bdat(COMMANDS, True), b"BDAT 0 LAST\r\n"):
                self.assertEqual(codes(client.send(stream + b"NOOP\r\n")), ["250 2.0.0"])

    def test_the_text_says_why(self) -> None:
        client = LMTPServer().connect().hello()
        self.assertEqual(client.say("MAIL FROM:<>", "RCPT TO:<>", "DATA")[2], "503 5.5.1 No valid recipients")

    def test_pipelined(self) -> None:
        # Section 4.2's example, in one piece, twice.
        client = LMTPServer(policies=[RelayRule(["mx.test"])]).connect().hello()
        mail = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@mx.test>\r\nRCPT TO:<b@elsewhere.test>\r\nRCPT TO:<c@mx.test>\r\n"
        said = codes(client.send((mail + WAYS["DATA"]) * 2 + b"QUIT\r\n"))
        once = ["250 2.1.0", "250 2.1.5", "550 5.7.1", "250 2.1.5", "354 Start", "250 2.0.0", "250 2.0.0"]
        self.assertEqual(said, once * 2 + ["221 2.0.0"])


class CountTests(SynchronousTestCase):
    def ended(self, answer: object, octets: bytes = WAYS["DATA"]) -> tuple[LMTPClient, list[str]]:
        """A client whose message has been answered, and what the log says of it."""
        with logged("twistsmtp.message") as events:
            client = begun(Script(commit=Answer(result=answer)))
            client.send(octets)
        return client, [event["result"] for event in events]

    def test_a_message_is_counted_once(self) -> None:
        for octets in WAYS.values():
            client, results = self.ended(None, octets)
            counts = client.session.counts
            self.assertEqual((counts.accepted, counts.refused, counts.errors), (1, 0, 0))
            self.assertEqual(results, ["accepted"])

    def test_a_message_that_is_refused_is_counted_once(self) -> None:
        for octets in WAYS.values():
            client, results = self.ended(Refusal(GONE), octets)
            counts = client.session.counts
            self.assertEqual((counts.accepted, counts.refused), (0, 1))
            self.assertEqual(results, ["550 5.1.1 Gone"])

    def test_one_that_some_have_is_not_counted_as_everybodys(self) -> None:
        client, results = self.ended([OK, GONE, OK])
        counts = client.session.counts
        self.assertEqual(counts.accepted + counts.refused, 1)
        self.assertEqual(results, ["550 5.1.1 Gone"])

    def test_a_message_is_one_error(self) -> None:
        # However many recipients it has: else one message for many would end the connection.
        client, _ = self.ended(Refusal(GONE))
        self.assertEqual(client.session.counts.errors, 1)

    def test_all_replies_are_said_whatever_the_limit(self) -> None:
        # A client that does not hear of a recipient whose mail was taken sends it again.
        for error in (GONE, LATE):
            client = begun(Script(commit=Answer(result=[error, error, OK])), limits=Limits(errors=2))
            said = answered(client, WAYS["DATA"])
            self.assertEqual([code[:3] for code in said[:4]], ["354", str(error.code), str(error.code), "250"])

    def test_a_421_among_others_comes_in_its_turn_and_ends_the_connection(self) -> None:
        for replies in ([OK, AWAY, OK], [AWAY, OK, OK], [OK, OK, AWAY], [AWAY, AWAY, AWAY]):
            client = begun(Script(commit=Answer(result=replies)))
            said = answered(client, WAYS["DATA"] + b"NOOP\r\n")
            self.assertEqual(said[1:], [f"{each.code} {each.enhanced}" for each in replies])
            self.assertTrue(client.closed)

    def test_refused_messages_end_the_connection_at_last(self) -> None:
        client = LMTPServer(ScriptedDelivery(Script(commit=Answer(result=NO))), limits=Limits(errors=3)).connect()
        client.hello()
        for _ in range(3):
            client.message()
        self.assertTrue(client.closed)


class RestTests(SynchronousTestCase):
    """All that is as over SMTP, but for its name."""

    def received(self, client: LMTPClient | TLSClient) -> bytes:
        client.say("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>", "DATA")
        client.send(b"text\r\n.\r\n")
        octets: bytes = client.server.delivery.transactions[-1].octets
        return octets

    def test_received(self) -> None:
        # RFC 3848.
        octets = self.received(LMTPServer().connect().hello())
        self.assertIn(b"Received: from client.test ([192.0.2.1])\r\n\tby mx.test (twistsmtp) with LMTP id ", octets)

    def test_received_over_a_unix_socket(self) -> None:
        client = LMTPServer().connect(UNIXAddress("/run/lmtp")).hello()
        self.assertIn(b"Received: from client.test (local)\r\n", self.received(client))

    def test_received_of_a_client_under_tls(self) -> None:
        client = TLSClient(LMTPServer(security=Security(tls=certificates())))
        client.read()
        self.assertIn("STARTTLS", client.say("LHLO client.test")[0])
        client.start_tls()
        self.assertEqual(client.codes("EHLO client.test", "LHLO client.test"), ["500 5.5.1", "250"])
        self.assertIn(b" with LMTPS id ", self.received(client))

    def test_received_of_a_client_that_authenticated(self) -> None:
        realm = Realm()
        server = LMTPServer(realm.delivery, security=Security(portal=portal(realm=realm), plaintext_auth=True))
        client = server.connect().hello()
        self.assertEqual(authenticate(client, "PLAIN", PASSWORD)[-1][:3], "235")
        self.assertIn(b" with LMTPA id ", self.received(client))

    def test_received_of_one_that_did_both(self) -> None:
        realm = Realm()
        server = LMTPServer(realm.delivery, security=Security(tls=certificates(), portal=portal(realm=realm)))
        client = TLSClient(server)
        client.read()
        client.say("LHLO client.test")
        client.start_tls().say("LHLO client.test")
        self.assertEqual(authenticate(client, "PLAIN", PASSWORD)[-1][:3], "235")
        self.assertIn(b" with LMTPSA id ", self.received(client))

    def test_received_with_smtputf8(self) -> None:
        # RFC 6531 section 4.3.
        client = LMTPServer().connect().hello()
        client.say("MAIL FROM:<> SMTPUTF8", "RCPT TO:<é@mx.test>", "DATA", ".")
        self.assertIn(b" with UTF8LMTP id ", client.server.delivery.transactions[0].octets)

    def test_what_is_required_first(self) -> None:
        client = TLSClient(LMTPServer(security=Security(tls=certificates(), require_tls=True)))
        client.read()
        self.assertEqual(client.codes("LHLO client.test", "MAIL FROM:<>"), ["250", "530 5.7.0"])

    def test_own_replies(self) -> None:
        # Those of LMTP stay what they are where nobody has said otherwise.
        client = LMTPServer(replies=Catalogue(greeting=Reply(220, "", "hi"))).connect()
        self.assertEqual(client.read(), b"220 hi\r\n")
        said = client.say("MAIL FROM:<>", "LHLO client.test", "MAIL FROM:<>", "RCPT TO:<>", "DATA")
        self.assertEqual(said[0], "503 5.5.1 Say LHLO first")
        self.assertEqual(said[-1], "503 5.5.1 No valid recipients")

    def test_own_replies_of_a_kind_of_factory(self) -> None:
        farewell, hello = Reply(221, "2.0.0", "Farewell"), Reply(503, "5.5.1", "Hello?")

        class Polite(LMTPFactory):
            default_replies = replace(LMTPFactory.default_replies, bye=farewell)

        self.assertEqual(Polite().replies, Polite.default_replies)
        replies = Polite(replies=Catalogue(hello_first=hello)).replies
        self.assertEqual(replies, replace(Polite.default_replies, hello_first=hello))


class ServiceTests(SynchronousTestCase):
    """Section 5: "it MUST NOT be used on the TCP service port 25"; here it is not."""

    def service(self, *listen: str, **values: Any) -> SMTPService:
        config = Config(hostname="mx.test", listen=(), listen_lmtp=listen, delivery="discard:", **values)
        return SMTPService(config, MemoryReactorClock())

    def test_port_25(self) -> None:
        for endpoint in ("tcp:25", "tcp:25:interface=127.0.0.1", "tcp6:25"):
            service = self.service("tcp:24", endpoint)
            error = self.assertRaises(StartError, service.startService)
            self.assertIn(f"cannot listen on {endpoint}: LMTP is not for the port of SMTP", str(error))
            self.assertEqual(service.ports, [])

    def test_any_other_port(self) -> None:
        service = self.service("tcp:24", "unix:/run/lmtp")
        service.startService()
        self.assertEqual(len(service.ports), 2)
        self.successResultOf(service.stopService())

    def test_beside_smtp(self) -> None:
        config = Config(hostname="mx.test", listen=("tcp:25",), listen_lmtp=("tcp:24",), delivery="discard:")
        reactor = MemoryReactorClock()
        service = SMTPService(config, reactor)
        service.startService()
        factories = {port: factory for port, factory, _, _ in reactor.tcpServers}
        self.assertEqual(factories, {25: service.factory, 24: service.lmtp_factory})
        self.assertIs(service.factory.delivery, service.lmtp_factory.delivery)
        self.assertEqual((service.factory.lmtp, service.lmtp_factory.lmtp), (False, True))

    def test_an_endpoint_that_encrypts_by_itself(self) -> None:
        # As with --listen, it is what --require-tls may be meant for.
        config = Config(hostname="mx.test", listen=(), listen_lmtp=("ssl:24",), delivery="discard:", require_tls=True)
        self.assertIsNone(make_certificates(config, MemoryReactorClock()))

    def test_an_endpoint_that_is_none(self) -> None:
        error = self.assertRaises(ConfigError, self.service, "nonsense:1")
        self.assertIn("listen-lmtp 'nonsense:1'", str(error))
