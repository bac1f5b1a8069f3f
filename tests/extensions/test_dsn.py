"""DSN: RFC 3461, and RFC 6533 for addresses in UTF-8."""

from hypothesis import given
from hypothesis import strategies as st

from tests.extensions.parameters import ParameterTestCase, memory
from twistsmtp.extensions.dsn import ENVID, NOTIFY, ORCPT, RET, Notify, OriginalRecipient, Return, extension
from twistsmtp.wire.grammar import encode_xtext


class OfferTests(ParameterTestCase):
    """Section 2."""

    def test_rfc3461_2_it_is_offered_where_the_delivery_reports(self) -> None:
        self.assertEqual(extension().keyword, "DSN")  # (3): no parameters
        self.assert_offered_where_honoured("DSN", mail="RET=HDRS", rcpt="NOTIFY=NEVER")

    def test_rfc3461_2_without_it_nothing_is_known(self) -> None:
        path = self.mail("")
        self.assertEqual((path.get(RET), path.get(ENVID)), (None, None))
        recipient = self.rcpt("")
        self.assertEqual((recipient.get(NOTIFY), recipient.get(ORCPT)), (None, None))

    def test_rfc3461_2_the_example_of_section_10_1(self) -> None:
        client = self.client()
        path = self.mail("RET=HDRS ENVID=QQ314159", client)
        self.assertEqual((path.get(RET), path.get(ENVID)), (Return.HDRS, "QQ314159"))
        commands = [
            "RCPT TO:<Bob@Example.COM> NOTIFY=SUCCESS ORCPT=rfc822;Bob@Example.COM",
            "RCPT TO:<Carol@Ivory.EDU> NOTIFY=FAILURE ORCPT=rfc822;Carol@Ivory.EDU",
            "RCPT TO:<Dana@Ivory.EDU> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Dana@Ivory.EDU",
            "RCPT TO:<Eric@Bombs.AF.MIL> NOTIFY=FAILURE ORCPT=rfc822;Eric@Bombs.AF.MIL",
            "RCPT TO:<Fred@Bombs.AF.MIL> NOTIFY=NEVER",
        ]
        self.assertEqual(client.codes(*commands), ["250 2.1.5"] * 5)
        recipients = client.session.current.recipients
        self.assertEqual(recipients[2].get(NOTIFY), {Notify.SUCCESS, Notify.FAILURE})
        self.assertEqual(recipients[2].get(ORCPT), OriginalRecipient("rfc822", "Dana@Ivory.EDU"))
        self.assertEqual(recipients[4].get(NOTIFY), {Notify.NEVER})

    def test_rfc3461_5_2_1_a_delivery_has_it_all(self) -> None:
        client = self.client()
        client.say(
            "MAIL FROM:<> RET=FULL ENVID=a+20b", "RCPT TO:<b@mx.test> NOTIFY=DELAY ORCPT=x400;c", "DATA", "x", "."
        )
        [message] = memory(client).messages
        self.assertEqual(message.envelope.reverse_path.get(ENVID), "a b")
        # Section 5.2.1: it has to be passed on as it was.
        self.assertEqual(message.envelope.reverse_path.options, (("RET", "FULL"), ("ENVID", "a+20b")))
        [recipient] = message.envelope.recipients
        self.assertEqual(recipient.options, (("NOTIFY", "DELAY"), ("ORCPT", "x400;c")))


class NotifyTests(ParameterTestCase):
    """Section 4.1."""

    def test_rfc3461_4_1_values(self) -> None:
        for text, value in (
            ("NEVER", {Notify.NEVER}),
            ("never", {Notify.NEVER}),
            ("SUCCESS", {Notify.SUCCESS}),
            ("Failure,dElAy", {Notify.FAILURE, Notify.DELAY}),
            ("SUCCESS,FAILURE,DELAY", {Notify.SUCCESS, Notify.FAILURE, Notify.DELAY}),
            ("DELAY,DELAY", {Notify.DELAY}),
        ):
            self.assertEqual(self.rcpt(f"NOTIFY={text}").get(NOTIFY), value, text)

    def test_rfc3461_4_1_never_stands_alone(self) -> None:
        self.rcpt_refused("501 5.5.4", *[f"NOTIFY={each}" for each in ("NEVER,SUCCESS", "DELAY,NEVER", "NEVER,NEVER")])

    def test_rfc3461_4_1_what_is_no_condition(self) -> None:
        for each in (
            "",
            "=",
            "=,",
            "=SUCCESS,",
            "=,DELAY",
            "=SUCCESS,,DELAY",
            "=ALWAYS",
            "=SUCCESS;DELAY",
            "=\u017fUCCESS",
        ):
            self.rcpt_refused("501 5.5.4", f"NOTIFY{each}")


class OrcptTests(ParameterTestCase):
    """Section 4.2."""

    def test_rfc3461_4_2_values(self) -> None:
        for text, kind, address in (
            ("rfc822;Bob@Example.COM", "rfc822", "Bob@Example.COM"),
            ("RFC822;a+2Bb@mx.test", "rfc822", "a+b@mx.test"),
            ("rfc822;no+20address", "rfc822", "no address"),  # it need not be one of its type
            ("x400;/C=us/", "x400", None),
            ("x400;+2FC+3Dus+2F", "x400", "/C=us/"),
            ("rfc822;a;b", "rfc822", "a;b"),
            ("x-a+b;c", "x-a+b", "c"),
        ):
            if address is None:
                self.rcpt_refused("501 5.5.4", f"ORCPT={text}")
            else:
                self.assertEqual(self.rcpt(f"ORCPT={text}").get(ORCPT), OriginalRecipient(kind, address), text)

    def test_rfc3461_5_4_its_length(self) -> None:
        # Section 5.4 (c): at least 500.
        address = "a" * (500 - len("rfc822;"))
        self.assertEqual(self.rcpt(f"ORCPT=rfc822;{address}").get(ORCPT), OriginalRecipient("rfc822", address))
        self.rcpt_refused("501 5.5.4", f"ORCPT=rfc822;{address}a")

    def test_rfc3461_4_2_all_parameters_at_their_longest(self) -> None:
        longest = "NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;" + "a" * 493
        mailbox = "l" * 64 + "@" + ".".join(["d" * 60] * 3) + ".test"
        client = self.client()
        client.say("MAIL FROM:<>")
        self.assertEqual(client.codes(f"RCPT TO:<{mailbox}> {longest}"), ["250 2.1.5"])

    def test_rfc3461_4_2_what_is_malformed(self) -> None:
        values = (
            "",
            "=",
            "=rfc822",
            "=rfc822;",
            "=;a@b",
            "=a b;c",
            "=<x>;c",
            "=rfc822;a+2",
            "=rfc822;a+0D+0AX",
            "=a@b;c",
        )
        for each in values:
            self.rcpt_refused("501 5.5.4", f"ORCPT{each}")
        self.rcpt_refused("501 5.6.7", "ORCPT=rfc822;ü@mx.test")

    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=100))
    def test_rfc3461_4_2_any_address_comes_back(self, address: str) -> None:
        found = self.rcpt(f"ORCPT=X400;{encode_xtext(address)}").get(ORCPT)
        self.assertEqual(found, OriginalRecipient("x400", address))


class Utf8AddressTests(ParameterTestCase):
    """RFC 6533 section 3."""

    def test_rfc6533_3_xtext_in_any_transaction(self) -> None:
        for text, address in (
            ("utf-8;a@mx.test", "a@mx.test"),
            ("UTF-8;\\x{FC}@mx.test", "ü@mx.test"),
            ("utf-8;\\x{fc}@mx.test", "ü@mx.test"),
            ("utf-8;a\\x{20}b\\x{2B}c\\x{3D}d\\x{5C}@mx.test", "a b+c=d\\@mx.test"),
            ("utf-8;\\x{10FFFF}\\x{1F600}\\x{4E2D}\\x{100}", "\U0010ffff😀中Ā"),
        ):
            self.assertEqual(self.rcpt(f"ORCPT={text}").get(ORCPT), OriginalRecipient("utf-8", address), text)

    def test_rfc6533_3_unitext_where_the_transaction_is_internationalized(self) -> None:
        value = self.rcpt("ORCPT=utf-8;用户\\x{2B}1@例え.example", mail="SMTPUTF8").get(ORCPT)
        self.assertEqual(value, OriginalRecipient("utf-8", "用户+1@例え.example"))
        self.rcpt_refused("553 5.6.7", "ORCPT=utf-8;ü@mx.test")

    def test_rfc6533_3_its_length_is_in_octets(self) -> None:
        self.rcpt("ORCPT=utf-8;" + "ü" * 247, mail="SMTPUTF8")
        self.rcpt_refused("501 5.5.4", "ORCPT=utf-8;" + "ü" * 248, mail="SMTPUTF8")

    def test_rfc6533_3_what_is_malformed(self) -> None:
        points = (
            "",
            "FC",
            "{}",
            "{0}",
            "{41}",
            "{0A}",
            "{0D}",
            "{7F}",
            "{85}",
            "{D800}",
            "{DFFF}",
            "{110000}",
            "{FC",
            "{202E}",
        )
        for each in points:
            self.rcpt_refused("501 5.5.4", f"ORCPT=utf-8;a\\x{each}")
        self.rcpt_refused("501 5.5.4", "ORCPT=utf-8;", "ORCPT=utf-8;a+2B", "ORCPT=utf-8;a\\b", "ORCPT=utf-8;\\x{0FC}")


class RetTests(ParameterTestCase):
    """Section 4.3."""

    def test_rfc3461_4_3_values(self) -> None:
        for text, value in (("FULL", Return.FULL), ("hdrs", Return.HDRS), ("Hdrs", Return.HDRS)):
            self.assertEqual(self.mail(f"RET={text}").get(RET), value)

    def test_rfc3461_4_3_what_is_none(self) -> None:
        self.mail_refused("501 5.5.4", "RET", "RET=", "RET=HEADERS", "RET=FULL,HDRS", "RET=HDR\u017f")


class EnvidTests(ParameterTestCase):
    """Section 4.4."""

    def test_rfc3461_4_4_values(self) -> None:
        for text, value in (
            ("QQ314159", "QQ314159"),
            ("aBc", "aBc"),
            ("a+2Bb+3D+20c", "a+b= c"),
            ("a" * 100, "a" * 100),
        ):
            self.assertEqual(self.mail(f"ENVID={text}").get(ENVID), value)

    def test_rfc3461_4_4_what_is_none(self) -> None:
        self.mail_refused(
            "501 5.5.4", "ENVID", "ENVID=", "ENVID=a+", "ENVID=a+2b", "ENVID=+00", "ENVID=+0A", "ENVID=+FC"
        )
        self.mail_refused("501 5.5.4", "ENVID=" + "a" * 101, "ENVID=a=b")
        self.mail_refused("501 5.6.7", "ENVID=ü")


class OnceTests(ParameterTestCase):
    """Section 4.5."""

    def test_rfc3461_4_5_none_comes_twice(self) -> None:
        self.mail_refused("501 5.5.4", "RET=FULL RET=FULL", "ENVID=a envid=b")
        self.rcpt_refused("501 5.5.4", "NOTIFY=DELAY NOTIFY=DELAY", "ORCPT=a;b ORCPT=a;b")

    def test_rfc3461_4_5_each_belongs_to_its_command(self) -> None:
        self.mail_refused("555 5.5.4", "NOTIFY=NEVER", "ORCPT=rfc822;a")
        self.rcpt_refused("555 5.5.4", "RET=FULL", "ENVID=a")
