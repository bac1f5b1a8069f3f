"""`Relay`: a client, our server and a far side, in memory."""

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.client.kit import ALL, GONE, Far, Net, extensions, result_of
from tests.support import Client, Server, logged, split_replies
from twistsmtp.client import ClientTLS, ClientTransaction, Credentials, Destination, Timeouts, TLSMode
from twistsmtp.delivery.find import make_delivery
from twistsmtp.delivery.relay import Relay
from twistsmtp.lifecycle import STOP_TIME
from twistsmtp.limits import Limits
from twistsmtp.wire.dotstream import BareNewline

MESSAGE = b"Subject: x\r\n\r\ntext\r\n"
OFFERS = (ALL, extensions("CHUNKING", "BINARYMIME"), ())


class RelayTestCase(SynchronousTestCase):
    net: Net
    relay: Relay
    server: Server

    def start(self, *offers: str, settings: Any = None, destination: Any = None, **replies: str) -> "RelayTestCase":
        """A far side, and a server that relays to it."""
        self.net = Net.scripted(*offers, **replies)
        self.start_relay(Destination(host="far.test", **destination or {}), **settings or {})
        return self

    def start_relay(self, destination: Destination, make: Callable[..., Relay] = Relay, **settings: Any) -> None:
        self.relay = make(destination, pool=self.net.pool())
        self.server = Server(self.relay, reactor=self.net.clock, **settings)
        self.server.clock = self.net.clock
        self.client = self.connect()

    def connect(self) -> Client:
        """A client that has been greeted."""
        client = self.server.connect()
        client.hello()
        return client

    def say(self, *lines: str | bytes, client: Client | None = None) -> list[str]:
        octets = b"".join((each if isinstance(each, bytes) else each.encode()) + b"\r\n" for each in lines)
        return split_replies(self.send(octets, client))

    def send(self, octets: bytes, client: Client | None = None) -> bytes:
        client = client or self.client
        said = client.send(octets)
        quiet = 0
        while quiet < 2:
            self.net.turn()
            heard = client.read()
            said += heard
            quiet = 0 if heard else quiet + 1
        return said

    def envelope(self, *recipients: str, parameters: str = "", client: Client | None = None) -> list[str]:
        to = [f"RCPT TO:<{each}>" for each in recipients or ("b@mx.test",)]
        return self.say(f"MAIL FROM:<a@x.test>{parameters}", *to, client=client)

    def message(self, octets: bytes = MESSAGE, client: Client | None = None) -> list[str]:
        """The replies to DATA and to the message."""
        first = self.say("DATA", client=client)
        return first + (split_replies(self.send(octets + b".\r\n", client)) if first[0][0] == "3" else [])

    def taken(self) -> list[bytes]:
        """The messages that the far sides took."""
        return [octets for far in self.net.fars for _, _, octets in far.taken]


class RelayTests(RelayTestCase):
    def test_a_message(self) -> None:
        for offers in OFFERS:
            self.start(*offers)
            self.assertEqual([each[:3] for each in self.envelope("b@mx.test", "c@mx.test")], ["250"] * 3)
            replies = self.message(b"Subject: x\r\n\r\n..dot\r\n" * 9000)
            self.assertEqual(replies[1:], ["250 2.0.0 Queued"])
            [octets] = self.taken()
            self.assertRegex(octets, rb"\AReceived: from client\.test ")
            self.assertTrue(octets.endswith(b"\r\n\r\n" + b".dot\r\nSubject: x\r\n\r\n" * 8999 + b".dot\r\n"))
            self.assertEqual(self.net.far.heard[0], "EHLO mx.test")

    def test_a_verdict_for_each(self) -> None:
        self.start(*ALL, RCPT_2="450 4.2.1 Busy", RCPT_3="550-5.1.1 No such\r\n550 5.1.1 user\x1b[1m")
        replies = self.envelope("b@mx.test", "c@mx.test", "d@mx.test")
        self.assertEqual(replies[1:], ["250 2.1.5 Recipient OK", "450 4.2.1 Busy", "550 5.1.1 No such user\\x1b[1m"])
        self.assertEqual(self.message()[-1], "250 2.0.0 Queued")
        [(_, recipients, _)] = self.net.far.taken
        self.assertEqual(recipients, ["RCPT TO:<b@mx.test>"])

    def test_refusals(self) -> None:
        """Of the mail, they are the far side's own."""
        for offers in OFFERS:
            for reply in ("451 4.7.1 Greylisted", "554 5.7.1 Spam"):
                self.start(*offers, MAIL=reply)
                self.assertEqual(self.envelope("b@mx.test", "c@mx.test")[1:], [reply] * 2)
                self.assertEqual(len([line for line in self.net.far.heard if "MAIL" in line]), 1)
                self.start(*offers, RCPT=reply)
                self.assertEqual(self.envelope()[1], reply)
                self.start(*offers, end=reply)
                self.envelope()
                self.assertEqual(self.message()[-1], reply)
                if not offers:
                    self.start(*offers, DATA=reply)
                    self.envelope()
                    self.assertEqual(self.message(), [reply])
                self.assertEqual(self.taken(), [])

    def test_refusals_without_an_enhanced_code(self) -> None:
        self.start(*ALL, RCPT="550 No such user", end="451 Busy")
        self.assertEqual(self.envelope()[1], "550 5.0.0 No such user")

    def test_of_us(self) -> None:
        """What is not about the mail is in the log, and a 451 for the client."""
        for step, reply in (
            ("greeting", "554 5.7.1 We do not like you"),
            ("greeting", "421 4.3.2 Busy"),
            ("EHLO", "421 4.3.2 Busy"),
            ("MAIL", "530 5.7.0 Authentication required"),
            ("MAIL", "503 5.5.1 What"),
            ("MAIL", "421 4.3.2 Bye"),
        ):
            self.start(*ALL, **{step: reply})
            with logged("twistsmtp.relay") as events:
                self.assertEqual(self.envelope()[1], "451 4.4.0 The next server does not take mail from here now")
            self.assertIn(reply[4:9], events[0]["problem"])

    def test_what_of_the_mail_is_not_done(self) -> None:
        """504 is of an address or a parameter that the client has said."""
        for step in ("MAIL", "RCPT"):
            self.start(*ALL, **{step: "504 5.5.2 Need a fully-qualified address"})
            self.assertEqual(self.envelope()[1], "504 5.5.2 Need a fully-qualified address")

    def test_an_echo_of_auth(self) -> None:
        """What a far side says again of the line with the password is nowhere, the log included."""
        ada = Credentials(username="ada", password="geheim", plaintext=True)
        encoded = b64encode(b"\0ada\0geheim").decode()
        for code in (421, 500, 535):
            self.start("AUTH PLAIN", AUTH=f"{code} AUTH PLAIN {encoded}", destination={"credentials": ada})
            with logged("twistsmtp.relay") as events:
                self.assertEqual(self.envelope()[1], "451 4.4.0 The next server does not take mail from here now")
            self.assertEqual(self.net.far.heard[1], f"AUTH PLAIN {encoded}")
            self.assertIn(f"AUTH PLAIN: {code} AUTH was refused", events[0]["problem"])
            self.assertNotIn(encoded, repr(events))

    def test_it_is_slow_to_begin(self) -> None:
        """There is a bound to all that comes before MAIL."""
        for step in ("greeting", "EHLO"):
            self.net = Net.scripted(*ALL, **{step: ""})
            delivery = make_delivery("relay:far.test:25")
            assert isinstance(delivery, Relay)
            self.start_relay(delivery.destination)
            self.assertEqual(len(self.envelope()), 1)
            self.net.clock.advance(59)
            self.assertEqual(self.send(b""), b"")
            self.net.clock.advance(1)
            self.assertEqual(split_replies(self.send(b""))[0], "451 4.4.1 The next server cannot be reached")
            self.assertTrue(self.net.ends[0].lost)

    def test_credentials(self) -> None:
        """That they are wrong is nothing for the client to know."""
        ada = Credentials(username="ada", password="geheim", plaintext=True)
        self.start("AUTH PLAIN", AUTH="535 5.7.8 No, ada", destination={"credentials": ada})
        with logged("twistsmtp.relay") as events:
            self.assertEqual(self.envelope()[1], "451 4.4.0 The next server does not take mail from here now")
        self.assertNotIn("geheim", repr(events))

    def test_credentials_for_anybody(self) -> None:
        """Is to be said twice, and is in the log."""
        for text, warned in (("tls=none:insecure=yes", True), ("tls=opportunistic:insecure=yes", True), ("", False)):
            self.net = Net.scripted("AUTH PLAIN")
            delivery = make_delivery(f"relay:mx.test:25:username=ada:{text or 'tls=required'}")
            assert isinstance(delivery, Relay)
            self.start_relay(delivery.destination)
            with logged("twistsmtp.relay") as events:
                self.relay.start()
                self.relay.stop()
            said = [formatEvent(each) or "" for each in events]
            self.assertEqual([each for each in said if "show who it is" in each] != [], warned)

    def test_no_tls(self) -> None:
        self.start(*ALL, destination={"tls": ClientTLS(TLSMode.REQUIRED)})
        self.assertEqual(self.envelope()[1], "451 4.7.5 The next server cannot be spoken to securely")
        self.assertEqual([line for line in self.net.far.heard if "MAIL" in line], [])

    def test_nobody_there(self) -> None:
        def refuse() -> None:
            raise ConnectionRefusedError

        self.net = Net(refuse)
        self.start_relay(Destination(host="far.test"))
        self.assertEqual(self.envelope()[1], "451 4.4.1 The next server cannot be reached")

    def test_it_dies(self) -> None:
        """At every step: a 451 for the client, and nothing that was not accepted is called so."""
        for offers in OFFERS:
            for reply in (GONE, "nonsense"):
                for step in ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "body", "end"):
                    if (step == "DATA" and "CHUNKING" in offers) or (step == "body" and reply != GONE):
                        continue
                    self.start(*offers, **{step: reply})
                    replies = self.envelope()
                    refused = [each for each in replies if each[0] != "2"]
                    if not refused:
                        refused = [each for each in self.message(MESSAGE * 20_000) if each[0] not in "23"]
                    self.assertRegex(refused[0], r"\A451 4\.(4\.2|5\.0) ", (offers, reply, step))
                    self.assertEqual(self.taken(), [], (offers, reply, step))
                    self.assertEqual([each for each in self.say("RSET", "NOOP") if each[:3] != "250"], [])

    def test_it_says_nothing(self) -> None:
        for step in ("MAIL", "RCPT", "end"):
            self.start(*ALL, **{step: ""}, settings={"limits": Limits(answer_time=3600, idle_time=3600)})
            replies = self.envelope()
            if step == "end":
                replies += self.message()
            for _ in range(8):
                self.net.clock.advance(100)
                replies += split_replies(self.send(b""))
            self.assertEqual([each[:9] for each in replies if each[0] == "4"][:1], ["451 4.4.2"], step)
            self.assertEqual(self.taken(), [])

    def test_the_client_dies(self) -> None:
        """At every step nothing of the message goes on, and the far side's connection is used again or gone."""
        for offers in OFFERS:
            for octets in (b"", b"MAIL FROM:<a@x.test>\r\n", b"RCPT TO:<b@mx.test>\r\n", b"DATA\r\n", MESSAGE * 20_000):
                if not octets:
                    self.start(*offers)
                    said = b""
                said += self.send(octets)
            self.client.vanish()
            self.net.turn()
            self.assertEqual((self.taken(), len(said) > 0), ([], True))
            self.client = self.connect()
            self.envelope()
            self.assertEqual(self.message()[-1], "250 2.0.0 Queued")
            self.assertEqual(len(self.net.fars), 1 if "CHUNKING" in offers else 2)

    def test_the_client_changes_its_mind(self) -> None:
        self.start(*ALL)
        for _ in range(3):
            self.envelope()
            self.assertEqual(self.say("RSET"), ["250 2.0.0 OK"])
        self.envelope()
        self.assertEqual(self.message()[-1], "250 2.0.0 Queued")
        self.assertEqual(len(self.net.fars), 1)

    def test_connections_are_used_again(self) -> None:
        self.start(*ALL)
        for _ in range(5):
            self.envelope()
            self.message()
            self.client = self.connect()
        self.assertEqual((len(self.net.fars), len(self.taken())), (1, 5))

    def test_several_clients(self) -> None:
        self.start(*ALL)
        clients = [self.connect() for _ in range(3)]
        for client in clients:
            self.envelope(client=client)
        for client in clients:
            self.assertEqual(self.message(client=client)[-1], "250 2.0.0 Queued")
        self.assertEqual([len(far.taken) for far in self.net.fars], [1, 1, 1])

    def test_a_slow_client(self) -> None:
        """Who has said no more than MAIL, or has no recipient that is taken here, holds no connection."""
        self.start(*ALL)
        self.relay._pool._connections = 1
        waiting = [self.connect() for _ in range(5)]
        for client in waiting:
            self.assertEqual(self.say("MAIL FROM:<a@x.test>", client=client), ["250 2.1.0 Sender OK"])
        self.assertEqual(self.net.fars, [])
        for client in waiting:
            self.say("RCPT TO:<b@mx.test>", client=client)
            self.assertEqual(self.message(client=client)[-1], "250 2.0.0 Queued")
        self.assertEqual((len(self.net.fars), len(self.taken())), (1, 5))

    def test_nobody_there_for_many_recipients(self) -> None:
        """What MAIL has come to is asked for once in a transaction, and is the next one's to ask again."""
        self.net = Net.scripted(*ALL, greeting="")
        self.start_relay(Destination(host="far.test", timeouts=Timeouts(opening=60)))
        for begun in (1, 2):
            self.envelope(*[f"{n}@mx.test" for n in range(5)])
            self.net.clock.advance(60)
            replies = split_replies(self.send(b""))
            self.assertEqual([each[:9] for each in replies], ["451 4.4.1"] * 5)
            self.assertEqual(len(self.net.fars), begun)
            self.assertEqual(self.say("RSET"), ["250 2.0.0 OK"])

    def test_a_slow_far_side(self) -> None:
        """The client is held back, and memory does not grow."""
        for offers in OFFERS:
            self.start(*offers)
            self.envelope()
            self.say("DATA")
            self.net.ends[0].other.pauseProducing()
            sent = 0
            while self.client.wire.producerState == "producing" and sent < 10_000_000:
                self.send(b"x" * 998 + b"\r\n")
                sent += 1000
            self.assertLess(sent, 2_000_000)
            self.net.ends[0].other.resumeProducing()
            self.assertEqual(split_replies(self.send(b".\r\n")), ["250 2.0.0 Queued"])
            self.assertEqual(self.taken()[0].count(b"x" * 998), sent // 1000)

    def test_stop(self) -> None:
        self.start(*ALL)
        self.envelope()
        self.message()
        stopped = self.relay.stop()
        self.net.turn()
        result_of(stopped)
        self.assertTrue(self.net.ends[0].lost)
        self.assertEqual(self.net.far.heard[-1], "QUIT")
        self.envelope()
        self.assertEqual(self.message()[-1], "250 2.0.0 Queued")

    def test_stop_before_it_is_reached(self) -> None:
        """Nothing is left of what was begun at the start."""
        self.net = Net.scripted(*ALL)
        cancelled: list[object] = []
        connecting: Deferred[Any] = Deferred(cancelled.append)
        self.patch(self.net, "connect", lambda factory: connecting)
        self.start_relay(Destination(host="far.test"))
        with logged("twistsmtp.relay") as events:
            self.relay.start()
            result_of(self.relay.stop())
        self.assertEqual(cancelled, [connecting])
        self.assertEqual((events, self.relay._pool._shelves), ([], {}))
        self.start(*ALL, EHLO="")
        self.relay.start()
        self.net.turn()
        result_of(self.relay.stop())
        self.net.turn()
        self.assertTrue(self.net.ends[0].lost)


class DrainTests(RelayTestCase):
    """The server ends while mail goes through."""

    def in_the_middle(self, offers: tuple[str, ...], **replies: str) -> Any:
        """A message is half there when the server is told to end."""
        self.start(*offers, **replies)
        self.envelope()
        self.say("DATA")
        self.send(MESSAGE * 4000)
        return self.server.factory.shutdown(20)

    def ended(self, done: Any) -> None:
        """The server ends, and then its delivery, and nothing is left."""
        self.send(b"")
        result_of(done)
        stopped = self.relay.stop()
        self.net.turn()
        result_of(stopped)
        self.assertEqual((self.net.clock.getDelayedCalls(), self.relay._pool._shelves), ([], {}))
        self.assertTrue(all(end.lost for end in self.net.ends))

    def test_a_message_is_ended(self) -> None:
        for offers in OFFERS:
            done = self.in_the_middle(offers)
            said = split_replies(self.send(b"end\r\n.\r\n"))
            self.assertEqual([each[:9] for each in said], ["250 2.0.0", "421 4.3.2"])
            [octets] = self.taken()
            self.assertTrue(octets.endswith(MESSAGE + b"end\r\n"))
            self.ended(done)

    def test_a_message_is_not_ended_in_time(self) -> None:
        """Nothing of it is there."""
        for offers in OFFERS:
            done = self.in_the_middle(offers)
            self.net.clock.advance(20)
            self.assertEqual([each[:9] for each in split_replies(self.send(b""))], ["421 4.3.2"])
            self.net.clock.advance(1)
            self.ended(done)
            self.assertEqual(self.taken(), [])

    def test_the_far_side_has_no_word_in_time(self) -> None:
        """The client is not told 250, and comes again."""
        for offers in OFFERS:
            done = self.in_the_middle(offers, end="")
            self.assertEqual(self.send(b".\r\n"), b"")
            self.net.clock.advance(20)
            self.assertEqual([each[:9] for each in split_replies(self.send(b""))], ["421 4.3.2"])
            self.net.clock.advance(1)
            self.ended(done)

    def test_a_far_side_that_does_not_say_goodbye(self) -> None:
        """Is left before the time for a part of the server to stop is over."""
        self.start(*ALL)
        self.envelope()
        self.message()
        self.net.far.dataReceived = lambda data: None
        stopped = self.relay.stop()
        self.net.clock.advance(STOP_TIME - 1)
        self.net.turn()
        result_of(stopped)


class ExtensionTests(RelayTestCase):
    def offered(self) -> set[str]:
        """What our server offers."""
        [reply] = self.say("EHLO client.test")
        return {line[4:].split()[0] for line in reply.splitlines()[1:]}

    def test_what_the_far_side_offers(self) -> None:
        """DSN and the like are offered when the far side is known to offer it."""
        self.start(*extensions("BINARYMIME"), "MT-PRIORITY")
        self.assertFalse({"DSN", "MT-PRIORITY"} & self.offered())
        self.relay.start()
        self.net.turn()
        self.assertLess({"DSN", "MT-PRIORITY"}, self.offered())
        self.assertFalse({"BINARYMIME", "REQUIRETLS", "DELIVERBY"} & self.offered())
        self.assertEqual(len(self.net.fars), 1)

    def test_requiretls(self) -> None:
        """Offered when the far side does, and has shown who it is (RFC 8689)."""
        self.start("REQUIRETLS")
        connection = self.net.open()
        for connection.verified in (False, True):
            self.relay._learn(ClientTransaction(connection))
            self.assertEqual(self.relay.honours, {"requiretls"} if connection.verified else set())

    def test_the_far_side_is_not_there(self) -> None:
        def refuse() -> None:
            raise ConnectionRefusedError

        self.net = Net(refuse)
        self.start_relay(Destination(host="far.test"))
        with logged("twistsmtp.relay") as events:
            self.relay.start()
            self.net.turn()
        self.assertEqual(events[0]["destination"], "far.test:25")
        self.assertNotIn("DSN", self.offered())

    def test_dsn(self) -> None:
        """Passed on as it was said (RFC 3461 section 5.2.1)."""
        self.start(*ALL)
        self.relay.start()
        self.net.turn()
        self.offered()
        mail = "MAIL FROM:<a@x.test> RET=HDRS ENVID=QQ+2B314159 BODY=7BIT"
        rcpt = "RCPT TO:<b@mx.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob+2Bx@mx.test"
        self.assertEqual([each[:3] for each in self.say(mail, rcpt)], ["250", "250"])
        self.assertEqual(self.net.far.heard[1:], [mail, rcpt])

    def test_priority(self) -> None:
        """Passed on as it was granted (RFC 6710 section 4.1): who is not known gets no more than the usual one."""
        self.start(*ALL, "MT-PRIORITY")
        self.relay.start()
        self.net.turn()
        self.offered()
        for asked, granted in (("9", "0"), ("-3", "-3"), ("0", "0")):
            self.envelope(parameters=f" RET=HDRS MT-Priority={asked}")
            self.say("RSET")
            [mail] = [each for each in self.net.far.heard[-3:] if each.startswith("MAIL")]
            self.assertEqual(mail, f"MAIL FROM:<a@x.test> RET=HDRS MT-PRIORITY={granted} BODY=8BITMIME")
        self.client.session.identity = "ann"
        self.envelope(parameters=" BODY=7BIT MT-PRIORITY=9")
        self.assertEqual(self.net.far.heard[-2], "MAIL FROM:<a@x.test> BODY=7BIT MT-PRIORITY=9")

    def test_eight_bits(self) -> None:
        self.start(*ALL)
        self.envelope(parameters=" BODY=8BITMIME SIZE=100")
        self.assertEqual(self.net.far.heard[1], "MAIL FROM:<a@x.test> BODY=8BITMIME SIZE=100")
        self.assertEqual(self.message("Grüße\r\n".encode())[-1], "250 2.0.0 Queued")
        # Who does not say what there is may send anything.
        self.envelope(parameters=" SIZE=100")
        self.assertEqual(self.net.far.heard[-2], "MAIL FROM:<a@x.test> SIZE=100 BODY=8BITMIME")
        self.assertEqual(self.message("Grüße\r\n".encode())[-1], "250 2.0.0 Queued")
        for offers in (extensions("8BITMIME"), ()):
            self.start(*offers)
            self.envelope(parameters=" BODY=8BITMIME")
            self.assertEqual(self.net.far.heard[1], "MAIL FROM:<a@x.test>")
            self.assertEqual(self.message("Grüße\r\n".encode())[-1][:9], "554 5.6.3")
            self.envelope(parameters=" BODY=8BITMIME")
            self.assertEqual(self.message()[-1], "250 2.0.0 Queued")

    def test_utf8(self) -> None:
        self.start(*ALL)
        said = self.say("MAIL FROM:<grün@x.test> SMTPUTF8", "RCPT TO:<grün@mx.test>")
        self.assertEqual([each[:3] for each in said], ["250", "250"])
        mail = "MAIL FROM:<grün@x.test> SMTPUTF8 BODY=8BITMIME"
        self.assertEqual(self.net.far.heard[1:], [mail, "RCPT TO:<grün@mx.test>"])
        self.start()
        self.assertEqual(self.envelope(parameters=" SMTPUTF8")[1][:9], "550 5.6.7")

    def test_too_big(self) -> None:
        """Behind RCPT 552 would mean too many recipients (RFC 5321 section 4.5.3.1.10)."""
        self.start("SIZE 1000")
        self.assertEqual(self.envelope(parameters=" SIZE=1001")[1][:9], "554 5.3.4")
        self.start("SIZE", MAIL="552 5.3.4 Too big for today")
        self.assertEqual(self.envelope()[1], "554 5.3.4 Too big for today")
        self.start("SIZE", RCPT="552 5.2.2 Mailbox full")
        self.assertEqual(self.envelope()[1], "552 5.2.2 Mailbox full")

    def test_binary(self) -> None:
        self.start(*ALL)
        self.relay.start()
        self.net.turn()
        self.offered()
        octets = b"\x00\n\r\xff" * 1000
        self.say("MAIL FROM:<a@x.test> BODY=BINARYMIME", "RCPT TO:<b@mx.test>")
        reply = self.send(b"BDAT %d LAST\r\n" % len(octets) + octets)
        self.assertEqual(reply, b"250 2.0.0 Queued\r\n")
        self.assertTrue(self.taken()[0].endswith(octets))

    def test_bare_newlines(self) -> None:
        """A server that lets them in does not send them on."""
        for offers in OFFERS:
            self.start(*offers, settings={"limits": Limits(bare_newline=BareNewline.ACCEPT)})
            self.envelope()
            self.assertEqual(self.message(b"a\r\n.\nMAIL FROM:<>\n\r\n")[-1][:9], "550 5.6.0")
            self.assertEqual(self.taken(), [])

    def test_it_offers_less_now(self) -> None:
        """What was promised and cannot be kept is refused for now."""
        offers = [list(ALL), ["PIPELINING"]]
        self.net = Net(lambda: Far(offers.pop(0) if len(offers) > 1 else offers[0]))
        self.start_relay(Destination(host="far.test"))
        self.relay.start()
        self.net.turn()
        self.offered()
        self.net.clock.advance(60)
        self.net.turn()
        said = self.envelope(parameters=" RET=HDRS")[1:]
        self.assertEqual(said, ["451 4.3.3 The next server does not offer DSN"])


class StringTests(SynchronousTestCase):
    """``relay:HOST:PORT`` and its options."""

    def test_what_it_means(self) -> None:
        path = Path(self.mktemp())
        path.write_text("geheim\n")
        delivery = make_delivery(
            f"relay:mx.test:2525:tls=required:username=ada:password-file={path}:chunking=no:hostname=me.test"
        )
        assert isinstance(delivery, Relay)
        made = delivery.destination
        self.assertEqual((made.host, made.port, made.tls.mode), ("mx.test", 2525, TLSMode.REQUIRED))
        self.assertEqual((made.chunking, made.hostname), (False, "me.test"))
        self.assertEqual(made.credentials, Credentials(username="ada", password="geheim"))
        self.assertNotIn("geheim", repr(made))

    def test_defaults(self) -> None:
        delivery = make_delivery(r"relay:2001\:db8\:\:1:25")
        assert isinstance(delivery, Relay)
        self.assertEqual(str(delivery.destination), "[2001:db8::1]:25")
        self.assertIs(delivery.destination.tls.mode, TLSMode.OPPORTUNISTIC)
        self.assertEqual(delivery.destination.timeouts, Timeouts(opening=60))
        self.assertGreaterEqual(delivery._pool._connections, Limits().connections_per_client)

    def test_timeout(self) -> None:
        for text, command, opening in (("20", 20, 60), ("90", 90, 90)):
            delivery = make_delivery(f"relay:mx.test:25:timeout={text}")
            assert isinstance(delivery, Relay)
            self.assertEqual(delivery.destination.timeouts, Timeouts(command=command, opening=opening))

    def test_what_is_wrong(self) -> None:
        empty = Path(self.mktemp())
        empty.touch()
        for text in (
            "relay:",
            "relay:mx.test",
            "relay:mx.test:smtp",
            "relay:mx.test:0",
            "relay:mx.test:25:tls=yes",
            "relay:mx.test:25:ca=/nowhere",
            "relay:mx.test:25:speed=9",
            "relay:mx.test:25:chunking=maybe",
            "relay:mx.test:25:connections=0",
            "relay:mx.test:25:connections=many",
            "relay:mx.test:25:idle=0",
            "relay:mx.test:25:timeout=0",
            "relay:mx.test:25:hostname=a b",
            "relay:mx.test:25:insecure=yes",
            "relay:mx.test:25:username=ada:tls=none",
            "relay:mx.test:25:username=ada:tls=opportunistic",
            f"relay:mx.test:25:username=ada:password-file={empty}",
            "relay:mx.test:25:username=ada:password-file=/nowhere",
            f"relay:mx.test:25:password-file={__file__}",
        ):
            with self.assertRaises(ValueError) as caught:
                make_delivery(text)
            self.assertTrue(str(caught.exception).startswith("relay: "), text)
