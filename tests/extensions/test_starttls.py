"""STARTTLS: RFC 3207, as far as it can be seen in memory; tests/test_connection_tls.py has it on sockets."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import PASSWORD, USER, Realm, TLSClient, authenticate, certificates, plain, portal, secured
from tests.scripted import LATER, Answer, Script
from tests.support import Client, Server, split_replies
from twistsmtp.envelope import ReversePath
from twistsmtp.extensions.starttls import extension
from twistsmtp.limits import Limits
from twistsmtp.policy.api import Policy
from twistsmtp.security import Security
from twistsmtp.session import Session, Stage

READY_FOR_TLS = b"220 2.0.0 Ready to start TLS\r\n"
RIGHT = "235 2.7.0"


class StartTLSTestCase(SynchronousTestCase):
    def server(self, delivery: object = None, **settings: Any) -> Server:
        own = {name: settings.pop(name) for name in Security.__dataclass_fields__ if name in settings}
        return Server(delivery, security=Security(**{"tls": certificates(), **own}), **settings)

    def client(self, **settings: Any) -> TLSClient:
        client = TLSClient(self.server(**settings))
        client.hello()
        return client


class CommandTests(StartTLSTestCase):
    """Section 4: where it is offered, and when it may be said."""

    def test_rfc3207_4_offered_until_it_is_used(self) -> None:
        client = self.client()
        self.assertIn("250-STARTTLS", client.say("EHLO client.test")[0])
        self.assertEqual(client.say("HELP STARTTLS"), ["214-2.0.0 STARTTLS\r\n214 2.0.0 Begin TLS."])
        client.start_tls()
        self.assertNotIn("STARTTLS", client.say("EHLO client.test")[0])
        self.assertEqual(client.codes("HELP STARTTLS"), ["504 5.5.4"])

    def test_rfc3207_4_not_offered_where_it_is_not_to_be_had(self) -> None:
        client = Server().connect().hello()
        self.assertNotIn("STARTTLS", client.say("EHLO client.test")[0])
        self.assertEqual(client.say("STARTTLS"), ["454 4.7.0 TLS is not available"])
        self.assertEqual(client.codes("MAIL FROM:<>"), ["250 2.1.0"])

    def test_rfc3207_4_not_offered_where_tls_is_implicit(self) -> None:
        client = TLSClient(self.server(), implicit=True).shake_hands()
        client.read()
        self.assertNotIn("STARTTLS", client.say("EHLO client.test")[0])
        self.assertEqual(client.codes("STARTTLS"), ["503 5.5.1"])

    def test_rfc3207_4_it_takes_no_argument(self) -> None:
        client = self.client()
        for argument in ("now", "=", "TLSv1.3", "EHLO"):
            self.assertEqual(client.say(f"STARTTLS {argument}"), ["501 5.5.4 STARTTLS takes no argument"])
        self.assertEqual(client.codes("NOOP", "STARTTLS  "), ["250 2.0.0", "220 2.0.0"])

    def test_rfc3207_4_twice(self) -> None:
        client = self.client().start_tls()
        self.assertEqual(client.codes("EHLO client.test", "STARTTLS"), ["250", "503 5.5.1"])
        self.assertEqual(client.codes("MAIL FROM:<>"), ["250 2.1.0"])

    def test_rfc3207_4_before_ehlo(self) -> None:
        for settings in ({}, {"require_tls": True}):
            client = TLSClient(self.server(**settings))
            client.read()
            # RFC 3207 does not ask for EHLO first, and GNU SASL's client does not say it.
            client.start_tls().hello()
            self.assertEqual(client.message()[0][:9], "250 2.0.0")

    def test_rfc3207_4_in_a_transaction(self) -> None:
        for recipients in ([], ["RCPT TO:<b@mx.test>"]):
            client = self.client()
            client.say("MAIL FROM:<>", *recipients)
            self.assertEqual(client.codes("STARTTLS"), ["503 5.5.1"])
            self.assertIsNotNone(client.session.transaction)
            self.assertEqual(client.codes("RSET", "STARTTLS"), ["250 2.0.0", "220 2.0.0"])

    def test_rfc3207_4_in_any_case(self) -> None:
        self.assertEqual(self.client().codes("starttls"), ["220 2.0.0"])

    def test_rfc3207_4_the_row_of_the_table(self) -> None:
        made = extension()
        [verb] = made.verbs
        stages = Stage.CONNECTED | Stage.READY | Stage.BARRED
        self.assertEqual((made.rfc, verb.name, verb.stages), ("RFC 3207", "STARTTLS", stages))


class RequiredTests(StartTLSTestCase):
    """Section 4: "530 Must issue a STARTTLS command first"."""

    def test_rfc3207_4_what_is_barred(self) -> None:
        client = self.client(require_tls=True)
        for command in ("MAIL FROM:<>", "RCPT TO:<b@mx.test>", "DATA", "VRFY b", "EXPN b"):
            self.assertEqual(client.say(command), ["530 5.7.0 Say STARTTLS first"])
        for command in ("NOOP", "EHLO client.test", "HELO client.test", "RSET", "HELP", "HELP MAIL"):
            self.assertIn(client.codes(command)[0][:3], ("250", "214"))
        client.start_tls().hello()
        self.assertEqual(client.message()[0][:9], "250 2.0.0")

    def test_rfc3207_4_to_quit_is_not(self) -> None:
        self.assertEqual(self.client(require_tls=True).codes("QUIT"), ["221 2.0.0"])

    def test_rfc3207_4_before_ehlo_too(self) -> None:
        client = TLSClient(self.server(require_tls=True))
        client.read()
        self.assertEqual(client.codes("MAIL FROM:<>"), ["530 5.7.0"])
        client.say("EHLO client.test")
        client.start_tls()
        self.assertEqual(client.codes("MAIL FROM:<>"), ["503 5.5.1"])  # EHLO is to be said again

    def test_rfc3207_4_nothing_of_a_message_gets_through(self) -> None:
        client = self.client(require_tls=True)
        client.send(b"MAIL FROM:<>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\ntext\r\n.\r\n")
        self.assertEqual(client.server.delivery.transactions, [])

    def test_rfc3207_4_implicit_tls_will_do(self) -> None:
        client = TLSClient(self.server(require_tls=True), implicit=True).shake_hands()
        client.hello()
        self.assertEqual(client.codes("MAIL FROM:<>"), ["250 2.1.0"])

    def test_rfc3207_4_both_are_required(self) -> None:
        client = self.client(require_tls=True, require_auth=True, portal=portal())
        self.assertEqual(client.say("MAIL FROM:<>"), ["530 5.7.0 Say STARTTLS first"])
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), ["538 5.7.11"])
        client.start_tls().hello()
        self.assertEqual(client.say("MAIL FROM:<>"), ["530 5.7.0 Authentication required"])
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}", "MAIL FROM:<>"), [RIGHT, "250 2.1.0"])


#: What somebody may slip in behind STARTTLS.
INJECTED = [
    b"EHLO evil.test\r\n",
    b"NOOP\r\n",
    b"MAIL FROM:<evil@client.test>\r\n",
    b"MAIL FROM:<evil@client.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nevil\r\n.\r\n",
    f"AUTH PLAIN {plain()}\r\n".encode(),
    b"RSET",
    b"MAIL FROM:<evil@client",
    b"x" * 5000,
    b"\r\n",
    b"STARTTLS\r\n",
    b"QUIT\r\n",
]


class InjectionTests(StartTLSTestCase):
    """Section 6 and CVE-2011-0411: what came in before the handshake never reaches a command after it."""

    def assert_new(self, client: TLSClient) -> None:
        """Nothing was answered but STARTTLS, and nothing is known."""
        session = client.session
        self.assertEqual((session.helo, session.identity, session.transaction), (None, None, None))
        client.shake_hands()
        self.assertIsNotNone(session.tls)
        self.assertEqual(client.read(), b"")
        self.assertEqual(client.codes("NOOP", "MAIL FROM:<>"), ["250 2.0.0", "503 5.5.1"])
        client.hello()
        self.assertEqual(client.message(b"good\r\n")[0][:9], "250 2.0.0")
        self.assertEqual([str(each.reverse_path) for each in client.server.delivery.transactions], ["a@client.test"])

    def test_rfc3207_6_in_one_segment(self) -> None:
        for injected in INJECTED:
            client = self.client(portal=portal(), plaintext_auth=True)
            self.assertEqual(client.send(b"STARTTLS\r\n" + injected), READY_FOR_TLS, injected)
            self.assert_new(client)

    def test_rfc3207_6_with_commands_before_it(self) -> None:
        for injected in INJECTED:
            client = self.client(portal=portal(), plaintext_auth=True)
            before = f"AUTH PLAIN {plain()}\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\nRSET\r\n".encode()
            said = client.send(before + b"STARTTLS\r\n" + injected)
            codes = ["235", "250", "250", "250", "220"] if client.session.transaction is None else []
            self.assertEqual([reply[:3] for reply in split_replies(said)], codes)
            client.server.delivery.transactions.clear()
            self.assert_new(client)

    def test_rfc3207_6_a_transaction_that_is_open_is_not_given_up_for_it(self) -> None:
        # STARTTLS is refused there, so it discards nothing, and no handshake follows.
        client = self.client()
        codes = client.codes("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>", "STARTTLS", "DATA")
        self.assertEqual(codes, ["250 2.1.0", "250 2.1.5", "503 5.5.1", "354"])

    def test_rfc3207_6_behind_a_command_that_takes_its_time(self) -> None:
        for how in LATER:
            for injected in INJECTED:
                script = Script(policy_hello=Answer(how))
                server = Server.scripted(script, security=Security(tls=certificates()))
                client = TLSClient(server)
                client.read()
                client.send(b"EHLO client.test\r\nSTARTTLS\r\n")
                client.send(injected)
                self.assertEqual([name for name, _ in script.waiting], ["policy_hello"])
                script.release()
                said = client.read()
                self.assertEqual([reply[:3] for reply in split_replies(said)], ["250", "220"], injected)
                script._answers.clear()
                self.assert_new(client)

    def test_rfc3207_6_more_than_is_kept(self) -> None:
        # The client is not read any more when STARTTLS is carried out; TLS must be.
        script = Script(policy_hello=Answer(LATER[0]))
        server = Server.scripted(script, security=Security(tls=certificates()), limits=Limits(buffered=1000))
        client = TLSClient(server)
        client.read()
        client.send(b"EHLO client.test\r\nSTARTTLS\r\n")
        client.send(b"NOOP\r\n" * 1000)
        self.assertEqual(client.wire.producerState, "paused")
        script.release()
        self.assertTrue(client.read().endswith(b"\r\n" + READY_FOR_TLS))
        script._answers.clear()
        self.assert_new(client)

    def test_rfc3207_6_in_the_next_segment_it_is_no_tls(self) -> None:
        # What comes behind the 220 is taken for TLS, whoever sent it, and is none.
        for injected in (b"EHLO evil.test\r\n", b"MAIL FROM:<evil@client.test>\r\n", b"\r\n" * 10):
            client = self.client()
            client.say("STARTTLS")
            said = client.raw(injected)
            self.assertNotIn(b"250", said)
            self.assertTrue(client.wire.lost, injected)
            self.assertEqual(client.server.delivery.transactions, [])

    @given(st.lists(st.sampled_from(INJECTED) | st.binary(max_size=50), max_size=4).map(b"".join))
    def test_rfc3207_6_whatever_it_is(self, injected: bytes) -> None:
        client = self.client()
        self.assertEqual(client.send(b"STARTTLS\r\n" + injected), READY_FOR_TLS)
        self.assert_new(client)


class Marking(Policy):
    """Leaves a mark on each session, and sees it again."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, str | None, bool]] = []

    def connect(self, session: Session) -> None:
        session.annotations["mark"] = session.client

    def mail(self, session: Session, reverse_path: ReversePath) -> None:
        self.seen.append((session.annotations.get("mark"), session.helo, session.tls is not None))


class SessionTests(StartTLSTestCase):
    """Section 4.2: "the SMTP protocol is reset to the initial state"."""

    def test_rfc3207_4_2_what_the_client_said_is_forgotten(self) -> None:
        realm = Realm()
        client = self.client(portal=portal(realm=realm), plaintext_auth=True)
        client.say(f"AUTH PLAIN {plain()}")
        session = client.session
        self.assertEqual((session.identity, realm.left), (USER, []))
        client.start_tls()
        self.assertIs(client.session, session)
        self.assertEqual((session.helo, session.esmtp, session.identity, session.stage), (None, False, None, 1))
        self.assertEqual(realm.left, [USER.encode()])
        self.assertIs(session.delivery, client.server.delivery)
        client.hello()
        self.assertEqual(authenticate(client, "PLAIN", PASSWORD)[-1][:9], RIGHT)
        client.say("QUIT")
        self.assertEqual(realm.left, [USER.encode()] * 2)

    def test_rfc3207_4_2_what_is_known_of_it_otherwise_stays(self) -> None:
        policy = Marking()
        client = self.client(policies=[policy])
        peer = client.session.peer
        client.start_tls().hello()
        client.say("MAIL FROM:<>")
        self.assertEqual(policy.seen, [("192.0.2.1", "client.test", True)])
        self.assertIs(client.session.peer, peer)

    def test_rfc3207_4_2_counts_stay(self) -> None:
        client = self.client(limits=Limits(errors=4, idle_commands=50, unknown_commands=3))
        client.message()
        client.say("XUNKNOWN", "RCPT TO:<b@mx.test>", "NOOP")
        before = client.session.counts
        client.start_tls()
        after = client.session.counts
        self.assertIs(before, after)
        self.assertEqual((after.errors, after.unknown_commands, after.accepted, after.transactions), (2, 1, 1, 1))
        self.assertEqual(client.codes("XUNKNOWN", "RCPT TO:<>"), ["500 5.5.1", "503 5.5.1", "421 4.7.0"])
        self.assertTrue(client.closed)

    def test_rfc3207_4_2_failures_to_authenticate_stay(self) -> None:
        server = secured(tls=certificates(), limits=Limits(auth_failures=2))
        client = TLSClient(server)
        client.hello()
        self.assertEqual(authenticate(client, "PLAIN", "wrong")[-1][:9], "535 5.7.8")
        client.start_tls().hello()
        self.assertEqual(authenticate(client, "PLAIN", "wrong")[-1][:9], "421 4.7.0")

    def test_rfc3207_4_2_ids_of_messages_go_on(self) -> None:
        client = self.client()
        client.message()
        client.start_tls().hello()
        client.message()
        ids = [each.envelope.id for each in client.server.delivery.transactions]
        self.assertEqual(len(set(ids)), 2)

    def test_rfc3207_4_2_what_the_message_says(self) -> None:
        client = self.client().start_tls()
        client.hello()
        client.message()
        self.assertIn(b" with ESMTPS id ", client.server.delivery.transactions[0].octets)

    def test_rfc3207_4_2_the_facts_are_on_the_session(self) -> None:
        client = self.client()
        self.assertIsNone(client.session.tls)
        tls = client.start_tls().session.tls
        assert tls is not None
        self.assertEqual((tls.version, tls.server_name, tls.peer), ("TLSv1.3", None, None))

    def test_rfc3207_4_2_it_is_a_command_without_mail(self) -> None:
        client: Client = Server(limits=Limits(idle_commands=3)).connect().hello()
        self.assertEqual(client.codes(*["STARTTLS"] * 3), ["454 4.7.0"] * 2 + ["421 4.7.0"])
