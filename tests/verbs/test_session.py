"""RSET, NOOP, QUIT, HELP, VRFY and EXPN: RFC 5321 sections 4.1.1.5 to 4.1.1.10."""

from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import Realm, authenticate, portal
from tests.scripted import AT_ONCE, LATER, Answer, Script, ScriptedDelivery
from tests.support import Client, Server
from twistsmtp.delivery.discard import Discard
from twistsmtp.delivery.memory import Memory
from twistsmtp.envelope import Recipient
from twistsmtp.later import Later
from twistsmtp.policy.api import Policy
from twistsmtp.policy.relay import RelayRule
from twistsmtp.security import Audience, Security
from twistsmtp.session import Session
from twistsmtp.wire.reply import Catalogue, Refusal, Reply


class Directory(ScriptedDelivery):
    """A delivery that knows its people."""

    people: Sequence[str] = ("Jim Smith <smith@mx.test>",)

    def verify(self, session: Session, text: str) -> Later[Sequence[str]]:
        self.asked = text
        return self.script.play("verify", lambda: self.people)

    def expand(self, session: Session, text: str) -> Later[Sequence[str]]:
        self.asked = text
        return self.script.play("expand", lambda: self.people)


def connected(
    delivery: ScriptedDelivery | None = None, verify: Audience = Audience.EVERYBODY, **settings: Any
) -> Client:
    client = Server(delivery, security=Security(verify=verify), **settings).connect()
    client.read()
    return client


class RsetTests(SynchronousTestCase):
    def test_rfc5321_4_1_1_5_it_ends_the_transaction(self) -> None:
        client = connected().hello().begin()
        self.assertEqual(client.codes("RSET", "DATA", "MAIL FROM:<>"), ["250 2.0.0", "503 5.5.1", "250 2.1.0"])
        self.assertEqual(client.server.delivery.transactions[0].aborts, 1)

    def test_rfc5321_4_1_1_5_it_keeps_the_greeting(self) -> None:
        client = connected().hello()
        client.say("RSET")
        self.assertEqual(client.session.helo, "client.test")

    def test_rfc5321_4_1_1_5_it_is_always_250(self) -> None:
        # "The receiver MUST send a 250 OK reply to a RSET command with no arguments", whatever its delivery does.
        client = connected(ScriptedDelivery(Script(abort=Answer(result=ZeroDivisionError())))).hello().begin()
        self.assertEqual(client.codes("RSET", "MAIL FROM:<>"), ["250 2.0.0", "250 2.1.0"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class QuitTests(SynchronousTestCase):
    def test_rfc5321_4_1_1_10_it_ends_the_connection(self) -> None:
        client = connected()
        self.assertEqual(client.say("QUIT"), ["221 2.0.0 Bye"])
        self.assertTrue(client.closed)

    def test_rfc5321_4_1_1_10_it_aborts_the_transaction(self) -> None:
        client = connected().hello().begin()
        client.say("QUIT")
        self.assertEqual(client.server.delivery.transactions[0].aborts, 1)

    def test_rfc5321_4_1_1_10_what_comes_behind_it_is_not_seen(self) -> None:
        client = connected()
        self.assertEqual(client.codes("QUIT", "NOOP", "QUIT"), ["221 2.0.0"])

    def test_rfc5321_4_1_1_10_it_is_always_221(self) -> None:
        # Section 4.1.1.10: "MUST send a 221 OK reply, and then close", whatever its delivery does.
        client = connected(ScriptedDelivery(Script(abort=Answer(result=ZeroDivisionError())))).hello().begin()
        self.assertEqual(client.codes("QUIT"), ["221 2.0.0"])
        self.assertTrue(client.closed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class NoopTests(SynchronousTestCase):
    def test_rfc5321_4_1_1_9_with_and_without_a_text(self) -> None:
        self.assertEqual(connected().codes("NOOP", "NOOP all of this <is> ignored"), ["250 2.0.0"] * 2)


class HelpTests(SynchronousTestCase):
    def test_rfc5321_4_1_1_8_of_everything(self) -> None:
        [reply] = connected().say("HELP")
        lines = reply.split("\r\n")
        self.assertTrue(all(line.startswith("214-2.0.0 ") for line in lines[:-1]))
        self.assertTrue(lines[-1].startswith("214 2.0.0 "))
        for verb in ("EHLO", "MAIL", "QUIT", "HELP"):
            self.assertIn(verb, reply.split())

    def test_rfc5321_4_1_1_8_of_each_verb(self) -> None:
        client = connected()
        unusable = {"AUTH", "ETRN", "EXPN", "STARTTLS"}  # without accounts, a queue, a list, and certificates
        for name, verb in client.server.factory.registry.verbs.items():
            if name in unusable:
                self.assertEqual(client.codes(f"HELP {name}"), ["504 5.5.4"])
                continue
            for argument in (name, name.lower()):
                lines = [line[10:] for line in client.say(f"HELP {argument}")[0].split("\r\n")]
                self.assertEqual(lines[:2], [verb.syntax, verb.help])

    def test_rfc3461_4_of_parameters(self) -> None:
        """Those that the client may use now (RFC 3461 section 4, and others)."""
        for delivery, parameters in ((Memory(), "NOTIFY ORCPT RRVS"), (Discard(), "")):
            client = Server(delivery).connect().hello()
            lines = [line[10:].strip() for line in client.say("HELP RCPT")[0].split("\r\n")]
            self.assertEqual(lines[2:], ["Parameters:", parameters] if parameters else [])
        self.assertIn("SIZE BODY", client.say("HELP MAIL")[0])

    def test_rfc5321_4_1_1_8_of_nothing(self) -> None:
        self.assertEqual(connected().codes("HELP XYZ", "HELP MAIL FROM"), ["504 5.5.4"] * 2)


class VrfyTests(SynchronousTestCase):
    """Sections 3.5 and 4.1.1.6."""

    def test_rfc5321_3_5_3_nobody_answers(self) -> None:
        # Section 3.5.3: 250 only for what was really verified.
        self.assertEqual(connected().codes("VRFY smith"), ["252 2.0.0"])

    def test_rfc5321_4_1_1_6_it_needs_an_argument(self) -> None:
        self.assertEqual(connected().say("VRFY"), ["501 5.5.4 Syntax: VRFY mailbox"])

    def test_rfc5321_4_1_1_6_a_delivery_answers(self) -> None:
        for how in AT_ONCE:
            delivery = Directory(Script(verify=Answer(how)))
            self.assertEqual(connected(delivery).say("VRFY Jim Smith"), ["250 2.1.5 Jim Smith <smith@mx.test>"])
            self.assertEqual(delivery.asked, "Jim Smith")

    def test_rfc5321_4_1_1_6_a_delivery_answers_later(self) -> None:
        for how in LATER:
            delivery = Directory(Script(verify=Answer(how)))
            client = connected(delivery)
            self.assertEqual(client.say("VRFY smith", "NOOP"), [])
            delivery.script.release()
            self.assertEqual(client.codes(), ["250 2.1.5", "250 2.0.0"])

    def test_rfc5321_3_5_2_it_is_offered_where_it_is_answered(self) -> None:
        # Section 3.5.2: "VRFY MAY be listed as a convenience".
        self.assertNotIn("VRFY", connected().say("EHLO client.test")[0])
        self.assertIn("VRFY", connected(Directory()).say("EHLO client.test")[0])

    def test_rfc5321_4_1_1_6_a_delivery_cannot_say(self) -> None:
        delivery = Directory()
        delivery.people = ()
        self.assertEqual(connected(delivery).codes("VRFY smith"), ["252 2.0.0"])

    def test_rfc5321_4_1_1_6_a_delivery_refuses(self) -> None:
        refusal = Refusal(Reply(550, "5.1.1", "That is a mailing list\nNot a user"))
        client = connected(Directory(Script(verify=Answer(result=refusal))))
        self.assertEqual(client.say("VRFY smith"), ["550-5.1.1 That is a mailing list\r\n550 5.1.1 Not a user"])

    def test_rfc5321_3_5_1_several_that_it_may_be(self) -> None:
        # "Use of exactly the forms given ... will facilitate automated translation".
        delivery = Directory()
        delivery.people = ("Jim <a@b>", "Joe <c@d>")
        self.assertEqual(
            connected(delivery).say("VRFY smith"),
            ["553-5.1.4 Ambiguous; Possibilities are\r\n553-5.1.4 Jim <a@b>\r\n553 5.1.4 Joe <c@d>"],
        )

    def test_rfc5321_4_1_1_6_what_rcpt_may_take_all_the_same(self) -> None:
        """Where the delivery knows no such mailbox: a policy may give its mail to others, or the domain is not ours."""
        unknown = Refusal(Catalogue().mailbox_unknown)
        ours = RelayRule(["mx.test"])

        class Aliases(Policy):
            def rcpt(self, session: Session, recipient: Recipient) -> None:
                session.redirect(recipient.mailbox)

        class Elsewhere(Policy):
            """Has nothing to do with RCPT."""

        for how in (*AT_ONCE, *LATER):
            for policies, text, code in (
                ([], "smith", "550 5.1.1"),
                ([ours], "smith", "550 5.1.1"),
                ([ours], "<smith@MX.test>", "550 5.1.1"),
                ([ours, Elsewhere()], "smith@mx.test", "550 5.1.1"),
                ([ours], "<smith@elsewhere.test>", "252 2.0.0"),
                ([ours, Aliases()], "smith@mx.test", "252 2.0.0"),
                ([RelayRule("*"), Aliases()], "smith", "252 2.0.0"),
            ):
                delivery = Directory(Script(verify=Answer(how, unknown)))
                client = connected(delivery, policies=policies)
                said = client.codes(f"VRFY {text}")
                delivery.script.release_all()
                self.assertEqual(said + client.codes(), [code], (policies, text, how))

    def test_rfc5321_4_1_1_6_what_is_found_stays_on_its_line(self) -> None:
        delivery = Directory()
        delivery.people = ("Jim\r\n250 Evil <smith@mx.test>\x1b",)
        self.assertEqual(connected(delivery).say("VRFY smith"), [r"250 2.1.5 Jim 250 Evil <smith@mx.test>\x1b"])

    def test_rfc6531_3_7_4_2_the_parameter_of_smtputf8(self) -> None:
        # RFC 6531 section 3.7.4.2: vrfy = "VRFY" SP String [ SP "SMTPUTF8" ] CRLF
        delivery = Directory()
        connected(delivery).say("VRFY Jörg SMTPUTF8")
        self.assertEqual(delivery.asked, "Jörg")


class ExpnTests(SynchronousTestCase):
    """Sections 3.5 and 4.1.1.7."""

    def test_rfc5321_4_1_1_7_nobody_answers(self) -> None:
        self.assertEqual(connected().say("EXPN list"), ["502 5.5.1 EXPN is not implemented"])
        self.assertNotIn("EXPN", connected().say("EHLO client.test")[0])

    def test_rfc5321_4_1_1_7_it_needs_an_argument(self) -> None:
        self.assertEqual(connected(Directory()).say("EXPN"), ["501 5.5.4 Syntax: EXPN list"])

    def test_rfc5321_4_1_1_7_a_delivery_answers(self) -> None:
        for how in (*AT_ONCE, *LATER):
            delivery = Directory(Script(expand=Answer(how)))
            delivery.people = ("Jon <a@mx.test>", "Fred <b@mx.test>", "<c@mx.test>")
            client = connected(delivery)
            said = client.say("EXPN list")
            delivery.script.release_all()
            self.assertEqual(
                said + client.say(),
                ["250-2.1.5 Jon <a@mx.test>\r\n250-2.1.5 Fred <b@mx.test>\r\n250 2.1.5 <c@mx.test>"],
            )

    def test_rfc5321_4_1_1_7_a_list_that_is_not_there(self) -> None:
        delivery = Directory()
        delivery.people = ()
        self.assertEqual(connected(delivery).codes("EXPN list"), ["550 5.1.1"])

    def test_rfc5321_3_5_2_it_is_offered_where_it_is_supported(self) -> None:
        # Section 3.5.2: "if EXPN is supported, it MUST be listed as a service extension in an EHLO response".
        self.assertIn("EXPN", connected(Directory()).say("EHLO client.test")[0].replace("-", " ").split())


class UTF8Tests(SynchronousTestCase):
    """RFC 6531 section 3.7.4.2."""

    def test_rfc6531_3_7_4_2_an_answer_that_is_not_ascii(self) -> None:
        # "MUST use either the reply-code 252 or 550", as 250 would have to have the mailbox.
        delivery = Directory()
        for delivery.people in ("Jörg <joerg@mx.test>",), ("<a@mx.test>", "<ö@mx.test>"):
            for text in ("joerg", "Jörg SMTPUTF8"):
                said = connected(delivery).codes(f"VRFY {text}", f"EXPN {text}")
                self.assertEqual(said, ["252 2.6.8"] * 2, (delivery.people, text))


class AudienceTests(SynchronousTestCase):
    """Section 7.3: a site may tell nobody, or only some, which mailboxes there are."""

    NOTHING = (
        "252 2.0.0 Cannot VRFY user, but will accept message and attempt delivery",
        "502 5.5.1 EXPN is not implemented",
    )
    SOMETHING = ("250 2.1.5 Jim Smith <smith@mx.test>",) * 2

    def client(self, **settings: Any) -> Client:
        """One who can authenticate, and has a delivery that knows its people in either case."""
        realm = Realm()
        realm.delivery = Directory()
        security = Security(portal=portal(realm=realm), plaintext_auth=True, **settings)
        client = Server(Directory(), security=security).connect()
        client.read()
        return client

    def asked(self, client: Client) -> tuple[str, ...]:
        """The answers, if what EHLO offers goes with them."""
        offers = client.say("EHLO client.test")[0].replace("-", " ").split()
        answers = tuple(client.say("VRFY smith", "EXPN smith"))
        self.assertEqual([verb in offers for verb in ("VRFY", "EXPN")], [answers == self.SOMETHING] * 2)
        self.assertEqual("EXPN" in client.say("HELP")[0].split(), answers == self.SOMETHING)
        return answers

    def test_rfc5321_7_3_nobody(self) -> None:
        # "implementations SHOULD support VRFY and EXPN", but "MUST NOT appear to have verified" what they did not: 252.
        client = self.client()
        self.assertEqual(self.asked(client), self.NOTHING)
        authenticate(client, "PLAIN")
        self.assertEqual(self.asked(client), self.NOTHING)

    def test_rfc5321_7_3_users(self) -> None:
        client = self.client(verify=Audience.USERS)
        self.assertEqual(self.asked(client), self.NOTHING)
        self.assertEqual(authenticate(client, "PLAIN")[-1][:3], "235")
        self.assertEqual(self.asked(client), self.SOMETHING)

    def test_rfc5321_7_3_nobody_in_particular_is_no_user(self) -> None:
        client = self.client(verify=Audience.USERS)
        client.session.authenticated("anonymous", Directory(), lambda: None)  # as SASL ANONYMOUS has it
        self.assertEqual(self.asked(client), self.NOTHING)

    def test_rfc5321_7_3_everybody(self) -> None:
        self.assertEqual(self.asked(self.client(verify=Audience.EVERYBODY)), self.SOMETHING)

    def test_rfc5321_7_3_the_delivery_is_not_asked_in_vain(self) -> None:
        delivery = Directory()
        connected(delivery, Audience.USERS).say("VRFY smith", "EXPN smith")
        self.assertEqual(delivery.script.calls, [])

    def test_rfc5321_7_3_an_argument_is_needed_in_any_case(self) -> None:
        client = connected(Directory(), Audience.NOBODY)
        self.assertEqual(client.codes("VRFY", "EXPN"), ["501 5.5.4"] * 2)


class NoArgumentTests(SynchronousTestCase):
    """Section 4.1.1: "not permitting parameters": 501."""

    def test_rfc5321_4_1_1_verbs_that_take_none(self) -> None:
        client = connected().hello().begin()
        for verb in ("RSET", "QUIT", "DATA"):
            self.assertEqual(client.say(f"{verb} x"), [f"501 5.5.4 {verb} takes no argument"])
        self.assertFalse(client.closed)
