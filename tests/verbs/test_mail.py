"""MAIL: RFC 5321 section 4.1.1.2."""

from twisted.trial.unittest import SynchronousTestCase

from tests.scripted import LATER, Answer, Script, ScriptedDelivery
from tests.support import Client, Server
from twistsmtp.limits import Limits
from twistsmtp.session import Stage
from twistsmtp.wire.grammar import PathLimits
from twistsmtp.wire.reply import Refusal, Reply


class MailTests(SynchronousTestCase):
    def test_it_opens_a_transaction(self) -> None:
        client = Server().connect().hello()
        self.assertEqual(client.say("MAIL FROM:<ann@client.test>"), ["250 2.1.0 Sender OK"])
        [transaction] = client.server.delivery.transactions
        self.assertEqual(str(transaction.reverse_path), "ann@client.test")
        self.assertIs(client.session.current.delivery, transaction)

    def test_paths(self) -> None:
        # The grammar has tests of its own; here is what it is joined to.
        for argument, mailbox in (
            ("FROM:<>", ""),
            ("from:<a@client.test>", "a@client.test"),
            ("FROM: <a@client.test>", "a@client.test"),
            ("FROM:a@client.test", "a@client.test"),
            ("FROM:<@relay.test,@other.test:a@client.test>", "a@client.test"),
            ('FROM:<"a b"@client.test>', '"a b"@client.test'),
            ("FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]"),
            ("FROM:<Ann@Client.Test>", "Ann@Client.Test"),
        ):
            client = Server().connect().hello()
            self.assertEqual(client.codes(f"MAIL {argument}"), ["250 2.1.0"], argument)
            self.assertEqual(str(client.server.delivery.transactions[0].reverse_path), mailbox)

    def test_no_paths(self) -> None:
        for argument, code in (
            ("", "501 5.5.4"),
            ("a@client.test", "501 5.5.4"),
            ("FROM", "501 5.5.4"),
            ("FROM:", "501 5.5.4"),
            ("TO:<a@client.test>", "501 5.5.4"),
            ("FROM:<a@client.test", "501 5.1.7"),
            ("FROM:<a b@client.test>", "501 5.1.7"),
            ("FROM:<postmaster>", "553 5.1.7"),
            ("FROM:<" + "a" * 65 + "@client.test>", "553 5.1.7"),
            ("FROM:<a@client.test>x", "501 5.1.7"),
        ):
            client = Server().connect().hello()
            self.assertEqual(client.codes(f"MAIL {argument}"), [code], argument)
            self.assertEqual((client.session.stage, client.server.delivery.transactions), (Stage.READY, []))

    def test_the_path_limits_can_be_set(self) -> None:
        client = Server(limits=Limits(path=PathLimits(local_part=100))).connect().hello()
        self.assertEqual(client.codes("MAIL FROM:<" + "a" * 100 + "@client.test>"), ["250 2.1.0"])

    def test_a_delivery_refuses_a_sender(self) -> None:
        script = Script(begin=[Answer(result=Refusal(Reply(550, "5.7.1", "Not you")))])
        client = Server(ScriptedDelivery(script)).connect().hello()
        self.assertEqual(client.say("MAIL FROM:<a@client.test>"), ["550 5.7.1 Not you"])
        self.assertIs(client.session.stage, Stage.READY)
        self.assertEqual(client.codes("MAIL FROM:<b@client.test>"), ["250 2.1.0"])

    def test_policies_are_asked_before_the_delivery(self) -> None:
        script = Script(policy_mail=[Answer(), Answer(result=Refusal(Reply(550, "5.7.1", "No")))])
        client = Server.scripted(script).connect().hello()
        del script.calls[:]
        self.assertEqual(
            client.codes("MAIL FROM:<a@b>", "RSET", "MAIL FROM:<a@b>"), ["250 2.1.0", "250 2.0.0", "550 5.7.1"]
        )
        self.assertEqual(script.calls, ["policy_mail", "begin", "abort", "policy_mail"])

    def test_neither_is_asked_about_bad_syntax(self) -> None:
        script = Script()
        client = Server.scripted(script).connect().hello()
        del script.calls[:]
        client.say("MAIL FROM:<a b>", "MAIL FROM:<a@b> X=1", "MAIL FROM:<ä@b>", "MAIL FROM:<> SIZE=x")
        self.assertEqual(script.calls, [])

    def test_a_transaction_that_could_not_begin_is_not_aborted(self) -> None:
        for how in LATER:
            script = Script(begin=Answer(how))
            client = Server(ScriptedDelivery(script)).connect().hello()
            client.say("MAIL FROM:<a@b>")
            client.vanish()
            self.assertNotIn("abort", script.calls)
            self.assertEqual(script.waiting, [])


class MessagesLimitTests(SynchronousTestCase):
    def test_messages_in_one_connection(self) -> None:
        client = Server(limits=Limits(messages=2)).connect().hello()
        for _ in range(2):
            self.assertEqual(client.message()[0][:3], "250")
        self.assertEqual(client.codes("MAIL FROM:<>"), ["421 4.7.0"])
        self.assertTrue(client.closed)
        self.assertEqual(len(client.server.delivery.bodies), 2)

    def test_another_connection_may_go_on(self) -> None:
        server = Server(limits=Limits(messages=1))
        for _ in range(3):
            self.assertEqual(server.connect().hello().message()[0][:3], "250")


class ParameterTests(SynchronousTestCase):
    """RFC 5321 section 4.1.1.11."""

    def setUp(self) -> None:
        self.client: Client = Server().connect().hello()

    def test_rfc5321_4_1_1_11_what_is_not_known(self) -> None:
        self.assertEqual(
            self.client.say("MAIL FROM:<> COLOUR=red"),
            ["555 5.5.4 MAIL parameter COLOUR not recognized or not implemented"],
        )
        self.assertEqual(self.client.codes("MAIL FROM:<> SIZE=1 COLOUR"), ["555 5.5.4"])
        self.assertIs(self.client.session.stage, Stage.READY)

    def test_rfc5321_4_1_1_11_what_is_no_parameter(self) -> None:
        for parameters in ("=", "=1", "SIZE=", "-X", "SIZE=1=2", "SIZE =1", "X=\u00a0\t=", "S_ZE=1", "<>"):
            self.assertEqual(self.client.codes(f"MAIL FROM:<> {parameters}"), ["501 5.5.4"], parameters)

    def test_rfc5321_4_1_1_11_one_that_comes_twice(self) -> None:
        self.assertEqual(self.client.codes("MAIL FROM:<> SIZE=1 size=1"), ["501 5.5.4"])

    def test_rfc5321_4_1_1_11_too_many(self) -> None:
        many = " ".join(f"A{n}" for n in range(33))
        self.assertEqual(self.client.codes(f"MAIL FROM:<> {many}"), ["555 5.5.4"])

    def test_rfc5321_4_1_1_11_keywords_in_any_case_and_values_as_they_are(self) -> None:
        self.assertEqual(self.client.codes("MAIL FROM:<> size=10 Body=8bitMIME"), ["250 2.1.0"])
        path = self.client.server.delivery.transactions[0].reverse_path
        self.assertEqual(path.options, (("SIZE", "10"), ("BODY", "8bitMIME")))

    def test_rfc5321_4_1_1_11_without_the_extension_there_is_no_parameter(self) -> None:
        client = Server(extensions=()).connect().hello()
        for parameter in ("SIZE=1", "BODY=7BIT", "SMTPUTF8"):
            self.assertEqual(client.codes(f"MAIL FROM:<> {parameter}"), ["555"])
