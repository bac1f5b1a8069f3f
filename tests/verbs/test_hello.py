"""HELO and EHLO: RFC 5321 section 4.1.1.1."""

from twisted.trial.unittest import SynchronousTestCase

from tests.scripted import Answer, Script, ScriptedDelivery, ScriptedPolicy
from tests.support import Client, Server
from twistsmtp.policy.api import Policy
from twistsmtp.session import Session, Stage
from twistsmtp.wire.reply import Refusal, Reply


class HelloTests(SynchronousTestCase):
    def connect(self) -> Client:
        client = Server().connect()
        client.read()
        return client

    def test_helo_is_answered_by_one_line(self) -> None:
        client = self.connect()
        self.assertEqual(client.say("HELO client.test"), ["250 mx.test"])
        self.assertEqual((client.session.helo, client.session.esmtp), ("client.test", False))

    def test_rfc5321_4_1_1_1_ehlo_is_answered_by_what_is_offered(self) -> None:
        client = self.connect()
        lines = ["250-mx.test", "250-PIPELINING", "250-SIZE 33554432", "250-8BITMIME", "250-CHUNKING"]
        lines += ["250-ENHANCEDSTATUSCODES", "250-SMTPUTF8", "250-LIMITS RCPTMAX=1000 MAILMAX=100000"]
        lines += ["250 HELP"]  # RFC 5321 section 4.1.1.1
        self.assertEqual(
            client.say("EHLO client.test"),
            ["\r\n".join(lines)],
        )
        self.assertEqual((client.session.helo, client.session.esmtp), ("client.test", True))

    def test_ehlo_without_extensions(self) -> None:
        client = Server(extensions=()).connect()
        client.read()
        self.assertEqual(client.say("EHLO client.test"), ["250-mx.test\r\n250 HELP"])

    def test_names(self) -> None:
        for name in (
            "client.test",
            "client",
            "CLIENT.test",
            "client.test.",
            "my_host",
            "-x-",
            "[192.0.2.1]",
            "[IPv6:2001:db8::1]",
            "[ipv6:::1]",
            "[2001:db8::1]",
            "a" * 63 + ".test",
        ):
            for verb in ("HELO", "EHLO"):
                self.assertEqual(self.connect().say(f"{verb} {name}")[0][:3], "250", name)

    def test_rfc2034_4_no_names(self) -> None:
        for name in (
            "",
            " ",
            "a b",
            "a..b",
            ".a",
            "<a>",
            "a@b",
            "(a)",
            "a;b",
            '"a"',
            "[192.0.2.999]",
            "[x",
            "[]",
            "[IPv6:x]",
            "client.test SIZE=1",
            "ä.test",
            "a" * 64 + ".test",
            "a." * 130 + "a",
        ):
            for verb in ("HELO", "EHLO"):
                client = self.connect()
                # RFC 2034 section 4: no enhanced code.
                self.assertEqual(client.codes(f"{verb} {name}"), ["501"], name)
                self.assertIsNone(client.session.helo)

    def test_the_answer_to_bad_syntax_names_the_verb(self) -> None:
        self.assertIn("HELO", self.connect().say("HELO")[0])
        self.assertIn("EHLO", self.connect().say("ehlo")[0])

    def test_a_second_ehlo_replaces_the_first(self) -> None:
        client = self.connect()
        client.say("EHLO one.test", "HELO two.test")
        self.assertEqual((client.session.helo, client.session.esmtp), ("two.test", False))
        client.say("EHLO three.test")
        self.assertEqual((client.session.helo, client.session.esmtp), ("three.test", True))

    def test_a_second_ehlo_that_is_refused_leaves_the_first(self) -> None:
        client = self.connect().hello().begin()
        client.say("EHLO")
        self.assertEqual((client.session.helo, client.session.stage), ("client.test", Stage.RCPT))

    def test_policies_are_asked_about_the_name(self) -> None:
        class NoBots(Policy):
            def hello(self, session: Session, name: str) -> None:
                if name == "bot":
                    raise Refusal(Reply(550, "5.7.1", "No bots"))

        client = Server(policies=[NoBots()]).connect()
        client.read()
        self.assertEqual(client.codes("EHLO bot"), ["550 5.7.1"])
        self.assertIs(client.session.stage, Stage.CONNECTED)
        self.assertEqual(
            client.codes("EHLO client.test", "HELO bot", "MAIL FROM:<>"), ["250", "550 5.7.1", "250 2.1.0"]
        )
        self.assertEqual(client.session.helo, "client.test")

    def test_policies_are_not_asked_about_what_is_no_name(self) -> None:
        script = Script()
        client = Server(policies=[ScriptedPolicy(script)]).connect()
        client.say("EHLO a b")
        self.assertNotIn("policy_hello", script.calls)

    def test_rfc5321_4_1_4_a_delivery_that_fails_to_abort_is_not_the_clients_affair(self) -> None:
        # RFC 5321 section 4.1.4: a new EHLO is as RSET, and the new name is taken.
        client = Server(ScriptedDelivery(Script(abort=Answer(result=ZeroDivisionError())))).connect().hello().begin()
        self.assertEqual(client.codes("EHLO other.test"), ["250"])
        self.assertEqual(client.session.helo, "other.test")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
