"""DATA: RFC 5321 section 4.1.1.4; the message on its way from the wire to the delivery."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.scripted import AT_ONCE, LATER, Answer, How, Script, ScriptedDelivery, ScriptedTransaction
from tests.support import Client, Server, cuts, split_replies
from twistsmtp.limits import Limits
from twistsmtp.session import Stage
from twistsmtp.wire.dotstream import BareNewline
from twistsmtp.wire.reply import Refusal, Reply

FULL = Refusal(Reply(452, "4.3.1", "Full"))
SPAM = Refusal(Reply(554, "5.7.1", "Spam"))
EVERY_WAY = (*AT_ONCE, *LATER)


class Oops(Exception):
    """What nobody meant to raise; its text is nobody's business."""


def in_data(script: Script | None = None, **settings: Any) -> tuple[Client, ScriptedTransaction]:
    """A client that was told to go on, and its transaction."""
    delivery = ScriptedDelivery(script)
    client = Server(delivery, **settings).connect().data()
    return client, delivery.transactions[-1]


def ended(client: Client, octets: bytes) -> str:
    """The reply to the end of a message."""
    said = client.send(octets)
    script = client.server.delivery.script
    script.release_all()
    [reply] = split_replies(said + client.read())
    return reply


class MessageTests(SynchronousTestCase):
    def test_a_message(self) -> None:
        client, transaction = in_data()
        reply = ended(client, b"Subject: hi\r\n\r\n..dot\r\n.\r\n")
        self.assertEqual(reply, f"250 2.0.0 OK: message {transaction.envelope.id} accepted")
        self.assertEqual(transaction.body, b"Subject: hi\r\n\r\n.dot\r\n")
        self.assertEqual((transaction.commits, transaction.aborts), (1, 0))
        self.assertEqual((client.session.stage, client.session.transaction), (Stage.READY, None))
        self.assertEqual(client.session.counts.accepted, 1)

    def test_the_steps_in_their_order(self) -> None:
        script = Script()
        client = Server.scripted(script).connect().data()
        client.send(b"text\r\n.\r\n")
        before = ["policy_connect", "policy_hello", "policy_mail", "begin", "policy_rcpt", "rcpt"]
        self.assertEqual(script.calls, [*before, "policy_data", "open", "write", "policy_message", "commit"])

    def test_the_envelope(self) -> None:
        delivery = ScriptedDelivery()
        client = Server(delivery).connect().hello().begin("b@mx.test", "c@mx.test")
        client.say("DATA", ".")
        [transaction] = delivery.transactions
        self.assertEqual(transaction.envelope.reverse_path, transaction.reverse_path)
        self.assertEqual(transaction.envelope.recipients, tuple(transaction.recipients))

    def test_the_received_field_stands_in_front(self) -> None:
        client, transaction = in_data()
        client.send(b"Sub")
        self.assertRegex(transaction.chunks[0], rb"(?s)\AReceived: from client\.test .*; .* \+0000\r\nSub\Z")
        ended(client, b"ject: hi\r\n.\r\n")
        self.assertEqual(transaction.octets.count(b"Received:"), 1)

    def test_a_delivery_that_wants_no_received_field(self) -> None:
        delivery = ScriptedDelivery()
        delivery.wants_received = False
        Server(delivery).connect().hello().message(b"text\r\n")
        self.assertEqual(delivery.transactions[0].octets, b"text\r\n")

    def test_an_empty_message(self) -> None:
        for wants_received, start in ((True, b"Received:"), (False, b"")):
            delivery = ScriptedDelivery()
            delivery.wants_received = wants_received
            client = Server(delivery).connect().hello()
            self.assertEqual([reply[:3] for reply in client.message(b"")], ["250"])
            self.assertEqual(delivery.bodies, [b""])
            self.assertTrue(delivery.transactions[0].octets.startswith(start))

    def test_an_empty_message_for_a_delivery_that_takes_its_time(self) -> None:
        for how in LATER:
            script = Script(how)
            client = Server(ScriptedDelivery(script)).connect()
            client.send(b"EHLO client.test\r\nMAIL FROM:<>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\n.\r\nQUIT\r\n")
            script.release_all()
            self.assertEqual(client.server.delivery.bodies, [b""])
            self.assertTrue(client.server.delivery.transactions[0].octets.startswith(b"Received:"))

    def test_8_bit_and_nul_come_through(self) -> None:
        body = bytes(octet for octet in range(256) if octet not in b"\r\n") + b"\r\n"
        for parameter in ("", " BODY=8BITMIME", " BODY=7BIT"):
            delivery = ScriptedDelivery()
            client = Server(delivery).connect().hello()
            client.say("MAIL FROM:<>" + parameter, "RCPT TO:<b@mx.test>", "DATA")
            ended(client, body + b".\r\n")
            self.assertEqual(delivery.bodies, [body])

    @given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=6))
    def test_a_message_that_is_accepted_is_stored_as_it_was(self, octets: bytes, positions: list[int]) -> None:
        body = b"".join(line + b"\r\n" for line in octets.replace(b"\r", b"").split(b"\n"))
        stuffed = b"." * body.startswith(b".") + body.replace(b"\r\n.", b"\r\n..")
        client, transaction = in_data()
        for piece in cuts(stuffed + b".\r\nNOOP\r\n", positions):
            client.send(piece)
        self.assertEqual(transaction.body, body)
        self.assertEqual(transaction.commits, 1)

    def test_it_comes_to_the_delivery_as_it_comes(self) -> None:
        # Nothing is kept back but what may be the beginning of the end.
        client, transaction = in_data()
        for count in range(1, 6):
            client.send(b"x" * 10000 + b"\r\n")
            self.assertGreaterEqual(len(transaction.body), count * 10002 - len(b"\r\n"))

    def test_arguments(self) -> None:
        client = Server().connect().hello().begin()
        self.assertEqual(client.say("DATA now"), ["501 5.5.4 DATA takes no argument"])
        self.assertIs(client.session.stage, Stage.RCPT)

    def test_commands_behind_the_end_are_commands(self) -> None:
        client, _ = in_data()
        replies = split_replies(client.send(b"text\r\n.\r\nMAIL FROM:<>\r\nNOOP\r\n"))
        self.assertEqual([reply[:9] for reply in replies], ["250 2.0.0", "250 2.1.0", "250 2.0.0"])

    def test_many_messages(self) -> None:
        client = Server().connect().hello()
        for number in range(50):
            client.message(b"%d\r\n" % number)
        self.assertEqual(client.server.delivery.bodies, [b"%d\r\n" % number for number in range(50)])
        ids = {transaction.envelope.id for transaction in client.server.delivery.transactions}
        self.assertEqual(len(ids), 50)


class BareNewlineTests(SynchronousTestCase):
    """What becomes of a bare CR or LF."""

    def test_rfc5321_2_3_8_refuse(self) -> None:
        for octets, found in ((b"a\nb\r\n", "LF"), (b"a\rb\r\n", "CR"), (b"a\r\r\n", "CR"), (b"\n.\r\n", "LF")):
            client, transaction = in_data()
            reply = ended(client, octets + b".\r\n")
            self.assertEqual(
                reply, f"550 5.6.0 Message holds a bare {found}: lines end with CRLF (RFC 5321 section 2.3.8)"
            )
            self.assertEqual((transaction.commits, transaction.aborts), (0, 1))
            self.assertEqual(client.session.counts.refused, 1)
            self.assertIs(client.session.stage, Stage.READY)

    def test_normalize(self) -> None:
        client, transaction = in_data(limits=Limits(bare_newline=BareNewline.NORMALIZE))
        self.assertEqual(ended(client, b"a\nb\rc\r\n.\r\n")[:3], "250")
        self.assertEqual(transaction.body, b"a\r\nb\r\nc\r\n")

    def test_accept(self) -> None:
        client, transaction = in_data(limits=Limits(bare_newline=BareNewline.ACCEPT))
        self.assertEqual(ended(client, b"a\nb\rc\r\n.\r\n")[:3], "250")
        self.assertEqual(transaction.body, b"a\nb\rc\r\n")

    def test_nothing_more_goes_to_the_delivery(self) -> None:
        client, transaction = in_data()
        client.send(b"good\r\n")
        client.send(b"bad\nline\r\n")
        self.assertEqual(transaction.aborts, 1)
        client.send(b"more\r\n" * 1000)
        self.assertEqual(transaction.body.strip(), b"good")
        self.assertEqual(client.codes("."), ["550 5.6.0"])


class SizeTests(SynchronousTestCase):
    """The message's size, whether it was declared or not: RFC 1870 section 6.3."""

    def test_rfc1870_6_3_at_the_limit_and_one_over_it(self) -> None:
        limits = Limits(message_size=100)
        client, transaction = in_data(limits=limits)
        self.assertEqual(ended(client, b"x" * 98 + b"\r\n.\r\n")[:3], "250")
        self.assertEqual(len(transaction.body), 100)
        client, transaction = in_data(limits=limits)
        self.assertEqual(ended(client, b"x" * 99 + b"\r\n.\r\n"), "552 5.3.4 Message exceeds the limit of 100 octets")
        self.assertEqual((transaction.commits, transaction.aborts), (0, 1))

    def test_rfc1870_6_3_the_dots_of_stuffing_are_not_counted(self) -> None:
        client, _ = in_data(limits=Limits(message_size=9))
        self.assertEqual(ended(client, b"..\r\n..\r\n..\r\n.\r\n")[:3], "250")

    def test_rfc1870_6_3_the_received_field_is_not_counted(self) -> None:
        client, _ = in_data(limits=Limits(message_size=3))
        self.assertEqual(ended(client, b"x\r\n.\r\n")[:3], "250")

    def test_rfc1870_6_3_it_is_enforced_while_the_octets_arrive(self) -> None:
        client, transaction = in_data(limits=Limits(message_size=1000))
        for _ in range(50):
            client.send(b"x" * 98 + b"\r\n")
        self.assertEqual(transaction.aborts, 1)
        self.assertLessEqual(len(transaction.body), 1000)
        self.assertEqual(client.codes(".", "NOOP"), ["552 5.3.4", "250 2.0.0"])

    def test_rfc1870_6_3_a_small_declaration_lets_no_more_in(self) -> None:
        client = Server(limits=Limits(message_size=1000)).connect().hello()
        client.say("MAIL FROM:<> SIZE=10", "RCPT TO:<b@mx.test>", "DATA")
        self.assertEqual(ended(client, b"x" * 2000 + b"\r\n.\r\n")[:9], "552 5.3.4")


class LineTests(SynchronousTestCase):
    def test_rfc5321_4_5_3_1_6_lines_of_998_octets_are_always_taken(self) -> None:
        # RFC 5321 section 4.5.3.1.6.
        client, transaction = in_data()
        self.assertEqual(ended(client, (b"x" * 998 + b"\r\n") * 3 + b".\r\n")[:3], "250")
        self.assertEqual(len(transaction.body), 3000)

    def test_longer_ones_up_to_the_limit(self) -> None:
        limits = Limits(message_line=2000)
        self.assertEqual(ended(in_data(limits=limits)[0], b"x" * 2000 + b"\r\n.\r\n")[:3], "250")
        client, transaction = in_data(limits=limits)
        self.assertEqual(
            ended(client, b"x" * 2001 + b"\r\n.\r\n"),
            "554 5.6.0 A line of the message exceeds the limit of 2000 octets",
        )
        self.assertEqual((transaction.commits, transaction.aborts), (0, 1))


class LoopTests(SynchronousTestCase):
    """RFC 5321 section 6.3."""

    def test_rfc5321_6_3_mail_that_has_passed_through_100_servers_is_a_loop(self) -> None:
        for fields, code in ((0, "250"), (99, "250"), (100, "554"), (500, "554")):
            client, transaction = in_data()
            reply = ended(client, b"received: by x\r\n" * fields + b"\r\nReceived: text\r\n.\r\n")
            self.assertEqual(reply[:3], code, fields)
            self.assertEqual((transaction.commits, transaction.aborts), (1, 0) if code == "250" else (0, 1))
        self.assertRegex(reply, r"^554 5\.4\.6 .*100 servers")

    def test_rfc5321_6_3_however_it_comes(self) -> None:
        client, _ = in_data(limits=Limits(hops=3))
        for octet in b"Received: a\r\n" * 4 + b"\r\n":
            client.send(bytes([octet]))
        self.assertEqual(client.codes("."), ["554 5.4.6"])

    def test_rfc5321_6_3_what_is_written_below_the_header_is_not_counted(self) -> None:
        client, _ = in_data(limits=Limits(hops=3))
        self.assertEqual(ended(client, b"Subject: x\r\n\r\n" + b"Received: a\r\n" * 9 + b".\r\n")[:3], "250")


class CommitTests(SynchronousTestCase):
    """What a delivery says at the end."""

    def reply_to(self, *answers: object) -> tuple[str, ScriptedTransaction, Client]:
        [answer] = answers
        client, transaction = in_data(Script(commit=Answer(result=answer)))
        return ended(client, b"text\r\n.\r\n"), transaction, client

    def test_a_reply_of_its_own(self) -> None:
        self.assertEqual(self.reply_to(Reply(250, "2.6.0", "Queued as 7"))[0], "250 2.6.0 Queued as 7")

    def test_a_reply_that_refuses(self) -> None:
        reply, transaction, client = self.reply_to(Reply(452, "4.3.1", "Full"))
        self.assertEqual(reply, "452 4.3.1 Full")
        # It has answered: whatever it has done is done.
        self.assertEqual(transaction.aborts, 0)
        self.assertEqual((client.session.counts.accepted, client.session.counts.refused), (0, 1))

    def test_rfc5321_4_2_5_one_reply_for_each_recipient(self) -> None:
        # SMTP has room for one, and nothing may be lost: RFC 5321 section 4.2.5.
        yes, no, later, soon = (
            Reply(250, "2.1.5", "Yes"),
            Reply(550, "5.1.1", "No"),
            Reply(450, "4.2.1", "Later"),
            Reply(451, "4.2.2", "Soon"),
        )
        for replies, expected in (
            ([yes], yes),
            ([yes, no], no),
            ([no, yes], no),
            ([no, later, yes], later),
            ([yes, soon, later], soon),
            ([no, no], no),
            ((yes, yes), yes),
        ):
            client = Server(ScriptedDelivery(Script(commit=Answer(result=replies)))).connect().hello()
            client.say("MAIL FROM:<>", *[f"RCPT TO:<b{n}@mx.test>" for n in range(len(replies))], "DATA")
            self.assertEqual(ended(client, b"text\r\n.\r\n"), str(expected))

    def test_replies_for_some_of_the_recipients(self) -> None:
        # To say 250 for a recipient that the delivery said nothing about could lose the mail.
        for replies in ([], [Reply(250, "2.0.0", "OK")] * 2):
            reply, transaction, _ = self.reply_to(replies)
            self.assertTrue(reply.startswith("451 4.3.0"))
            self.assertEqual(transaction.aborts, 0)  # it has answered: what it has done is done
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_what_makes_no_sense_is_an_error_of_ours(self) -> None:
        for answer in ([], 250, "250 OK", object(), [None]):
            reply, _, client = self.reply_to(answer)
            self.assertEqual(reply[:9], "451 4.3.0", answer)
            self.assertGreaterEqual(len(self.flushLoggedErrors()), 1)
            # The transaction is over, and the next one works.
            self.assertIs(client.session.stage, Stage.READY, answer)
            self.assertEqual(client.codes("MAIL FROM:<>"), ["250 2.1.0"], answer)

    def test_250_waits_for_it(self) -> None:
        for how in LATER:
            client, transaction = in_data(Script(commit=Answer(how)))
            self.assertEqual(client.send(b"text\r\n.\r\nNOOP\r\n"), b"")
            self.assertEqual(transaction.commits, 0)
            client.server.delivery.script.release()
            self.assertEqual([reply[:9] for reply in split_replies(client.read())], ["250 2.0.0"] * 2)
            self.assertEqual((transaction.commits, transaction.aborts), (1, 0))


class RefusalTests(SynchronousTestCase):
    """Every step may refuse, or fail, at once or later."""

    def test_before_any_octet(self) -> None:
        for step in ("policy_data", "open"):
            for how in EVERY_WAY:
                script = Script(**{step: [Answer(how, SPAM)]})
                client = Server.scripted(script).connect().data()
                script.release_all()
                self.assertEqual(client.wire.writes[-1], b"554 5.7.1 Spam\r\n")
                client.read()
                # What would have been the message are commands now, so no client sends it. A policy that refuses leaves
                # the transaction as it was; a delivery that would not open its message has ended it.
                stays = step == "policy_data"
                self.assertIs(client.session.stage, Stage.RCPT if stays else Stage.READY)
                aborts = [transaction.aborts for transaction in client.server.delivery.transactions]
                self.assertEqual(aborts, [0 if stays else 1])
                self.assertEqual(client.codes("DATA"), ["354" if stays else "503 5.5.1"])

    def test_while_the_octets_arrive(self) -> None:
        for how in EVERY_WAY:
            client, transaction = in_data(Script(write=[Answer(), Answer(how, FULL)]))
            client.send(b"one\r\n")
            self.assertEqual(client.send(b"two\r\n"), b"")
            client.server.delivery.script.release_all()
            client.send(b"three\r\n")
            self.assertEqual(transaction.aborts, 1)
            self.assertEqual(client.say("."), ["452 4.3.1 Full"], how)
            self.assertNotIn(b"three", transaction.octets)
            self.assertEqual((transaction.commits, transaction.aborts), (0, 1))
            self.assertIs(client.session.stage, Stage.READY)

    def test_at_the_end(self) -> None:
        for step in ("policy_message", "commit"):
            for how in EVERY_WAY:
                script = Script(**{step: [Answer(how, SPAM)]})
                client = Server.scripted(script).connect().data()
                self.assertEqual(ended(client, b"text\r\n.\r\n"), "554 5.7.1 Spam", (step, how))
                [transaction] = client.server.delivery.transactions
                self.assertEqual((transaction.commits, transaction.aborts), (0, 1))
                self.assertEqual([reply[:3] for reply in client.message()], ["250"])

    def test_a_policy_that_refuses_keeps_the_delivery_from_committing(self) -> None:
        script = Script(policy_message=[Answer(result=SPAM)])
        client = Server.scripted(script).connect().data()
        ended(client, b"text\r\n.\r\n")
        self.assertNotIn("commit", script.calls)

    def test_a_policy_is_not_asked_about_a_message_that_is_refused_already(self) -> None:
        script = Script()
        client = Server.scripted(script).connect().data()
        ended(client, b"a\nb\r\n.\r\n")
        self.assertNotIn("policy_message", script.calls)

    def test_an_abort_that_fails(self) -> None:
        script = Script(write=[Answer(result=FULL)], abort=[Answer(result=Oops())])
        client, _ = in_data(script)
        self.assertEqual(ended(client, b"text\r\n.\r\n"), "452 4.3.1 Full")
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
        self.assertEqual([reply[:3] for reply in client.message()], ["250"])


class PendingWriteTests(SynchronousTestCase):
    """A delivery that has not taken the last octets is given no more."""

    def test_one_write_at_a_time(self) -> None:
        for how in LATER:
            client, transaction = in_data(Script(write=Answer(how)))
            script = client.server.delivery.script
            for text in (b"one", b" two\r\n", b"three\r\n", b".\r\n"):
                client.send(text)
            self.assertEqual((script.calls.count("write"), transaction.body), (1, b"one"), how)
            script.release()
            self.assertEqual((script.calls.count("write"), transaction.body), (2, b"one two\r\nthree\r\n"), how)
            self.assertEqual(client.read(), b"")
            script.release()
            self.assertEqual(split_replies(client.read())[0][:3], "250")
            self.assertEqual(transaction.commits, 1)

    def test_the_end_waits_for_the_last_write(self) -> None:
        for how in LATER:
            client, _ = in_data(Script(write=Answer(how)))
            script = client.server.delivery.script
            self.assertEqual(client.send(b"text\r\n.\r\nNOOP\r\n"), b"")
            self.assertNotIn("commit", script.calls, how)
            script.release()
            self.assertEqual(len(split_replies(client.read())), 2)

    def test_a_write_that_was_pending_does_not_hold_up_what_has_nothing_to_write(self) -> None:
        # The last octets of the end come alone, when the write before them is done.
        for how in (How.DEFERRED, How.AWAITING):
            client, _ = in_data(Script(write=[Answer(how)]))
            client.send(b"text\r\n")
            client.server.delivery.script.release_all()
            self.assertEqual([reply[:3] for reply in client.say(".")], ["250"])
