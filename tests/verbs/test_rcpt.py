"""RCPT: RFC 5321 section 4.1.1.3."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.scripted import Answer, Script, ScriptedDelivery, ScriptedPolicy
from tests.support import Client, Server
from twistsmtp.envelope import Parameter
from twistsmtp.limits import Limits
from twistsmtp.session import Stage
from twistsmtp.verb import Extension
from twistsmtp.wire.reply import Refusal, Reply

NOBODY = Answer(result=Refusal(Reply(550, "5.1.1", "Nobody")))


def begun(script: Script | None = None, **settings: Any) -> Client:
    """A client that said MAIL."""
    client = Server(ScriptedDelivery(script), **settings).connect().hello()
    client.say("MAIL FROM:<a@client.test>")
    return client


class RcptTests(SynchronousTestCase):
    def test_it_adds_a_recipient(self) -> None:
        client = begun()
        self.assertEqual(client.say("RCPT TO:<b@mx.test>"), ["250 2.1.5 Recipient OK"])
        client.say("RCPT TO:<c@mx.test>", "RCPT TO:<b@mx.test>")
        [transaction] = client.server.delivery.transactions
        self.assertEqual([str(each) for each in transaction.recipients], ["b@mx.test", "c@mx.test", "b@mx.test"])

    def test_paths(self) -> None:
        for argument, mailbox in (
            ("TO:<postmaster>", "postmaster"),
            ("to: <PostMaster>", "PostMaster"),
            ("TO:<@relay.test:b@mx.test>", "b@mx.test"),
            ("TO:b@mx.test", "b@mx.test"),
            ("TO:<b@[IPv6:::1]>", "b@[IPv6:::1]"),
        ):
            client = begun()
            self.assertEqual(client.codes(f"RCPT {argument}"), ["250 2.1.5"], argument)
            self.assertEqual(str(client.server.delivery.transactions[0].recipients[0]), mailbox)

    def test_no_paths(self) -> None:
        for argument, code in (
            ("", "501 5.5.4"),
            ("TO:<>", "501 5.1.3"),
            ("FROM:<b@mx.test>", "501 5.5.4"),
            ("TO:<b>", "553 5.1.3"),
            ("TO:<b@>", "501 5.1.3"),
            ("TO:<b@mx.test", "501 5.1.3"),
            ("TO:<b@" + "a" * 64 + ".test>", "553 5.1.3"),
        ):
            client = begun()
            self.assertEqual(client.codes(f"RCPT {argument}"), [code], argument)
            self.assertIs(client.session.stage, Stage.MAIL)

    def test_parameters_that_are_not_known(self) -> None:
        client = begun()
        self.assertEqual(
            client.say("RCPT TO:<b@mx.test> NOTIFY=NEVER"),
            ["555 5.5.4 RCPT parameter NOTIFY not recognized or not implemented"],
        )
        # What MAIL has, RCPT has not.
        self.assertEqual(client.codes("RCPT TO:<b@mx.test> SIZE=1", "RCPT TO:<b@mx.test> SMTPUTF8"), ["555 5.5.4"] * 2)

    def test_parameters_of_an_extension(self) -> None:
        colour: Parameter[str] = Parameter(
            keyword="COLOUR", parse=lambda session, value: (value or "").lower(), default="grey", octets=20
        )
        offer = Extension(name="colour", rfc="none", keyword="COLOUR", rcpt_parameters=(colour,))
        client = begun(extensions=[offer])
        self.assertEqual(client.codes("RCPT TO:<b@mx.test> colour=Red", "RCPT TO:<c@mx.test>"), ["250", "250"])
        first, second = client.server.delivery.transactions[0].recipients
        self.assertEqual((first.get(colour), second.get(colour)), ("red", "grey"))
        self.assertEqual((first.options, second.options), ((("COLOUR", "Red"),), ()))

    def test_a_delivery_refuses_one_and_takes_another(self) -> None:
        client = begun(Script(rcpt=[NOBODY, Answer()]))
        self.assertEqual(client.codes("RCPT TO:<b@mx.test>"), ["550 5.1.1"])
        self.assertIs(client.session.stage, Stage.MAIL)
        self.assertEqual(client.codes("RCPT TO:<c@mx.test>", "DATA", "."), ["250 2.1.5", "354", "250 2.0.0"])
        envelope = client.server.delivery.transactions[0].envelope
        self.assertEqual([str(each) for each in envelope.recipients], ["c@mx.test"])

    def test_policies_are_asked_before_the_delivery(self) -> None:
        script = Script(policy_rcpt=[NOBODY, Answer()])
        client = begun(script, policies=[ScriptedPolicy(script)])
        del script.calls[:]
        self.assertEqual(client.codes("RCPT TO:<b@mx.test>", "RCPT TO:<b@mx.test>"), ["550 5.1.1", "250 2.1.5"])
        self.assertEqual(script.calls, ["policy_rcpt", "policy_rcpt", "rcpt"])


class NoRecipientsTests(SynchronousTestCase):
    """DATA without a recipient: RFC 5321 section 3.3 has 503 or 554; 554 is for those who tried."""

    def test_rfc5321_3_3_none_was_given(self) -> None:
        self.assertEqual(begun().codes("DATA"), ["503 5.5.1"])

    def test_rfc5321_3_3_none_was_taken(self) -> None:
        client = begun(Script(rcpt=NOBODY))
        commands = ["RCPT TO:<b@mx.test>", "RCPT TO:<c@mx.test>", "DATA"]
        self.assertEqual(client.codes(*commands), ["550 5.1.1", "550 5.1.1", "554 5.5.1"])
        self.assertEqual(client.say("DATA"), ["554 5.5.1 No valid recipients"])

    def test_rfc5321_3_3_none_was_given_and_other_commands_were_refused(self) -> None:
        for refused in ("DATA", "NOOP " + "x" * 600, "XUNKNOWN", "RSET now", "MAIL FROM:<>", "EXPN x"):
            self.assertEqual(begun().codes(refused, "DATA")[1], "503 5.5.1", refused)

    def test_rfc5321_3_3_the_next_transaction_begins_anew(self) -> None:
        client = begun(Script(rcpt=[NOBODY]))
        client.say("RCPT TO:<b@mx.test>", "RSET", "MAIL FROM:<>")
        self.assertEqual(client.codes("DATA"), ["503 5.5.1"])


class RecipientsLimitTests(SynchronousTestCase):
    """RFC 5321 section 4.5.3.1.10: 452 past the limit, and those before it stand."""

    def test_rfc5321_4_5_3_1_10_past_the_limit(self) -> None:
        client = begun(limits=Limits(recipients=3))
        codes = client.codes(*[f"RCPT TO:<b{n}@mx.test>" for n in range(5)], "DATA", ".")
        self.assertEqual(codes, ["250 2.1.5"] * 3 + ["452 4.5.3"] * 2 + ["354", "250 2.0.0"])
        self.assertEqual(len(client.server.delivery.transactions[0].envelope.recipients), 3)

    def test_rfc5321_4_5_3_1_10_however_many_are_past_it(self) -> None:
        # A client that pipelines them all means no harm: those that were taken get their mail, and it sends the rest
        # in another transaction.
        client = begun(limits=Limits(recipients=3, errors=10))
        codes = client.codes(*[f"RCPT TO:<b{n}@mx.test>" for n in range(50)], "DATA", ".")
        self.assertEqual(codes, ["250 2.1.5"] * 3 + ["452 4.5.3"] * 47 + ["354", "250 2.0.0"])

    def test_rfc5321_4_5_3_1_10_those_that_were_refused_are_not_counted(self) -> None:
        client = begun(Script(rcpt=[NOBODY, NOBODY, Answer()]), limits=Limits(recipients=1))
        codes = client.codes(*[f"RCPT TO:<b{n}@mx.test>" for n in range(4)])
        self.assertEqual(codes, ["550 5.1.1", "550 5.1.1", "250 2.1.5", "452 4.5.3"])

    def test_rfc5321_4_5_3_1_10_the_next_transaction_has_its_own(self) -> None:
        client = begun(limits=Limits(recipients=1))
        client.say("RCPT TO:<b@mx.test>", "RCPT TO:<c@mx.test>", "RSET", "MAIL FROM:<>")
        self.assertEqual(client.codes("RCPT TO:<b@mx.test>"), ["250 2.1.5"])

    def test_rfc5321_4_5_3_1_10_the_default_takes_many(self) -> None:
        client = begun()
        codes = client.codes(*[f"RCPT TO:<b{n}@mx.test>" for n in range(1001)])
        self.assertEqual(codes, ["250 2.1.5"] * 1000 + ["452 4.5.3"])
