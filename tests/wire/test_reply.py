"""Replies on the wire, and the catalogue of them."""

import re
from dataclasses import FrozenInstanceError, fields, replace
from string import Formatter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support import Server, split_replies
from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.reply import LINE_LIMIT, Catalogue, Refusal, Reply

any_text = st.text(st.characters(codec=None, exclude_categories=[]), max_size=700)
CATALOGUE = {each.name: getattr(Catalogue(), each.name) for each in fields(Catalogue)}


class OctetsTests(SynchronousTestCase):
    """RFC 5321 section 4.2 and RFC 2034 section 4."""

    def test_rfc5321_4_2_one_line(self) -> None:
        self.assertEqual(Reply(250, "2.1.0", "Sender OK").octets, b"250 2.1.0 Sender OK\r\n")

    def test_rfc5321_4_2_without_an_enhanced_code(self) -> None:
        self.assertEqual(Reply(354, "", "Go on").octets, b"354 Go on\r\n")
        self.assertEqual(Reply(354, "", "Go on").basic_octets, b"354 Go on\r\n")

    def test_rfc5321_4_2_many_lines_each_with_the_enhanced_code(self) -> None:
        reply = Reply(250, "2.1.5", "one\ntwo\nthree")
        self.assertEqual(reply.octets, b"250-2.1.5 one\r\n250-2.1.5 two\r\n250 2.1.5 three\r\n")
        self.assertEqual(reply.basic_octets, b"250-one\r\n250-two\r\n250 three\r\n")

    def test_rfc5321_4_2_the_octets_are_made_once(self) -> None:
        reply = Reply(250, "2.1.0", "Sender OK")
        self.assertIs(reply.octets, reply.octets)
        self.assertIs(reply.basic_octets, reply.basic_octets)

    def test_rfc5321_4_2_what_is_not_printable_is_escaped(self) -> None:
        self.assertEqual(
            Reply(550, "", "a\r\tb\x00\x1b\x7fé\u2028").octets, rb"550 a\x0d\x09b\x00\x1b\x7f\xe9\u2028" + b"\r\n"
        )

    def test_rfc5321_4_2_a_line_at_the_limit_and_one_over_it(self) -> None:
        # Section 4.5.3.1.5: 512 octets with the code and the CRLF.
        room = 512 - len("550 5.1.1 \r\n")
        self.assertEqual(Reply(550, "5.1.1", "x" * room).octets, b"550 5.1.1 " + b"x" * room + b"\r\n")
        cut = Reply(550, "5.1.1", "x" * (room + 1)).octets
        self.assertEqual(len(cut), 512)
        self.assertTrue(cut.endswith(b"x...\r\n"))

    @given(st.integers(200, 599), st.booleans(), any_text)
    def test_rfc5321_4_2_whatever_the_text_it_is_one_reply(self, code: int, enhanced: bool, text: str) -> None:
        reply = Reply(code, f"{code // 100}.999.999" if enhanced else "", text)
        for octets in (reply.octets, reply.basic_octets):
            lines = octets.split(b"\r\n")
            self.assertEqual(lines.pop(), b"")
            self.assertEqual(len(lines), text.count("\n") + 1)
            for number, line in enumerate(lines, 1):
                self.assertLessEqual(len(line) + 2, LINE_LIMIT)
                self.assertTrue(line.startswith(b"%d%s" % (code, b" " if number == len(lines) else b"-")))
                self.assertTrue(all(0x20 <= octet <= 0x7E for octet in line))


class ReplyTests(SynchronousTestCase):
    def test_what_it_says_of_the_command(self) -> None:
        for code, positive, temporary in (
            (250, True, False),
            (354, True, False),
            (451, False, True),
            (550, False, False),
        ):
            reply = Reply(code, "", "")
            self.assertEqual((reply.positive, reply.temporary), (positive, temporary))

    def test_a_code_out_of_range(self) -> None:
        for code in (0, 99, 199, 600, 2500):
            self.assertRaises(ValueError, Reply, code, "", "")

    def test_an_enhanced_code_of_another_class(self) -> None:
        for code, enhanced in ((250, "5.0.0"), (550, "4.0.0"), (451, "2.0.0"), (550, "x")):
            self.assertRaises(ValueError, Reply, code, enhanced, "")

    def test_it_is_a_value(self) -> None:
        reply = Reply(250, "2.0.0", "OK")
        self.assertEqual(reply, Reply(250, "2.0.0", "OK"))
        self.assertEqual(hash(reply), hash(Reply(250, "2.0.0", "OK")))
        self.assertNotEqual(reply, Reply(250, "2.0.0", "Fine"))
        self.assertEqual(replace(reply, text="Fine").octets, b"250 2.0.0 Fine\r\n")
        with self.assertRaises(FrozenInstanceError):
            reply.code = 550  # type: ignore[misc]  # what it is about

    def test_as_text(self) -> None:
        self.assertEqual(str(Reply(250, "2.0.0", "OK")), "250 2.0.0 OK")
        self.assertEqual(str(Reply(354, "", "Go on")), "354 Go on")

    def test_a_refusal_carries_its_reply(self) -> None:
        reply = Reply(550, "5.1.1", "Nobody")
        self.assertIs(Refusal(reply).reply, reply)
        self.assertEqual(str(Refusal(reply)), "550 5.1.1 Nobody")


class FillTests(SynchronousTestCase):
    def test_places_are_filled(self) -> None:
        reply = Reply(555, "5.5.4", "{verb} parameter {keyword}").fill(verb="MAIL", keyword=7)
        self.assertEqual(reply, Reply(555, "5.5.4", "MAIL parameter 7"))

    def test_a_value_is_no_template(self) -> None:
        self.assertEqual(Reply(550, "", "{a} {b}").fill(a="{b}", b="%s{0}").text, "{b} %s{0}")

    def test_a_template_may_have_lines(self) -> None:
        self.assertEqual(Reply(214, "", "{a}\n{b}").fill(a="x", b="y").octets, b"214-x\r\n214 y\r\n")

    def test_the_same_values_can_be_used_again(self) -> None:
        values = {"verb": "X\n"}
        Reply(502, "", "{verb}").fill(**values)
        self.assertEqual(values, {"verb": "X\n"})

    @given(any_text)
    def test_a_value_adds_no_line(self, value: str) -> None:
        self.assertEqual(len(split_replies(Reply(550, "5.0.0", "<{value}>").fill(value=value).octets)), 1)
        self.assertEqual(Reply(550, "5.0.0", "<{value}>").fill(value=value).octets.count(b"\r\n"), 1)


class RefusalTests(SynchronousTestCase):
    def test_what_refuses_nothing_is_none(self) -> None:
        for code in (250, 354):
            with self.assertRaises(ValueError):
                Refusal(Reply(code, "", "Fine"))
        self.assertEqual(str(Refusal(Reply(550, "5.1.1", "No"))), "550 5.1.1 No")


class CatalogueTests(SynchronousTestCase):
    def test_a_place_that_nothing_fills(self) -> None:
        with self.assertRaisesRegex(ValueError, r"\Athe reply bye has no \{name\} to fill\Z"):
            replace(Catalogue(), bye=Reply(221, "2.0.0", "Bye, {name}"))

    def test_all_of_it_is_replies(self) -> None:
        for name, reply in CATALOGUE.items():
            self.assertIsInstance(reply, Reply, name)

    def test_the_codes_are_those_of_rfc_5321(self) -> None:
        # Sections 4.2.2 and 4.2.3, and 555 (section 4.1.1.11); 551 is for a delivery to say.
        known = {
            211,
            214,
            220,
            221,
            250,
            252,
            354,
            421,
            450,
            451,
            452,
            455,
            500,
            501,
            502,
            503,
            504,
            550,
            552,
            553,
            554,
        }
        extensions = {555} | {235, 454, 530, 535, 538} | {251, 253, 458, 459}  # RFC 4954, RFC 1985 section 5
        self.assertEqual({reply.code for reply in CATALOGUE.values()} - known - extensions, set())

    def test_enhanced_codes_stand_where_rfc_2034_has_them(self) -> None:
        # Section 4: all 2xx, 4xx and 5xx but the greeting and what answers HELO and EHLO.
        without = {"greeting", "hello", "hello_syntax", "start_message"}
        for name, reply in CATALOGUE.items():
            if name in without:
                self.assertEqual(reply.enhanced, "", name)
            else:
                match = re.fullmatch(r"([245])\.(\d{1,3})\.(\d{1,3})", reply.enhanced)
                self.assertTrue(match and match[1] == str(reply.code)[0], name)

    def test_rfc3463_3_a_code_and_its_enhanced_code_agree(self) -> None:
        # RFC 3463 section 3; who closes with 421 is about the system, the network or policy.
        classes = {"too_many_recipients": "4.5.3", "message_too_big": "5.3.4", "smtputf8_needed": "5.6.7"}
        classes |= {
            "mail_loop": "5.4.6",
            "bare_newline": "5.6.0",
            "message_line_too_long": "5.6.0",
            "local_error": "4.3.0",
        }
        for name, enhanced in classes.items():
            self.assertEqual(CATALOGUE[name].enhanced, enhanced, name)

    def test_each_fits_a_line_of_the_wire(self) -> None:
        for name, reply in CATALOGUE.items():
            self.assertTrue(reply.text and reply.text.isascii() and reply.text.isprintable(), name)
            self.assertLess(len(reply.octets), 200, name)

    def test_each_is_made_by_the_server(self) -> None:
        # One that nothing says is a promise that replacing it changes something.
        from pathlib import Path

        import twistsmtp

        folder = Path(twistsmtp.__path__[0])
        source = "".join(path.read_text() for path in folder.rglob("*.py") if path.name != "reply.py")
        unused = [name for name in CATALOGUE if not re.search(rf"\breplies\.{name}\b", source)]
        self.assertEqual(unused, [])

    def test_an_error_of_the_grammar_is_a_reply(self) -> None:
        error = GrammarError("Mailbox", 553, "5.1.3", "Mailbox is bad")
        self.assertEqual(Catalogue().of_grammar(error), Reply(553, "5.1.3", "Mailbox is bad"))

    def test_replacing_it_changes_what_is_said(self) -> None:
        server = Server(replies=_OTHER)
        client = server.connect()
        self.assertEqual(split_replies(client.read()), ["220 [greeting] " + _places("greeting", hostname="mx.test")])
        dialogue = (
            ("MAIL FROM:<>", "503 5.5.1 [hello_first]"),
            ("EHLO", "501 [hello_syntax] EHLO"),
            ("HELO client.test", "250 [hello] mx.test"),
            ("MAIL FROM:<> SIZE=1", "555 5.5.4 [unknown_parameter] MAIL SIZE"),
            ("MAIL FROM:<ä@x.test>", "553 5.6.7 [smtputf8_needed]"),
            ("MAIL FROM:<> X=1", "555 5.5.4 [unknown_parameter] MAIL X"),
            ("RCPT TO:<a@b>", "503 5.5.1 [mail_first]"),
            ("MAIL FROM:<a@b>", "250 2.1.0 [sender_ok]"),
            ("MAIL FROM:<>", "503 5.5.1 [transaction_open]"),
            ("RCPT TO:<a@b>", "250 2.1.5 [recipient_ok]"),
            ("DATA x", "501 5.5.4 [no_argument] DATA"),
            ("DATA", "354 [start_message]"),
            ("RSET", "250 2.0.0 [ok]"),
            ("VRFY", "501 5.5.4 [argument_needed] VRFY mailbox"),
            ("VRFY x", "252 2.0.0 [cannot_verify]"),
            ("EXPN x", "502 5.5.1 [not_implemented] EXPN"),
            ("HELP HELP2", "504 5.5.4 [help_unknown]"),
            ("XYZ", "500 5.5.1 [unrecognized]"),
            ("NOOP " + "x" * 600, "500 5.5.2 [line_too_long]"),
            ("QUIT", "221 2.0.0 [bye]"),
        )
        for command, expected in dialogue:
            self.assertEqual(client.say(command), [expected], command)
            if command.startswith("HELO"):
                extended = Server(replies=client.server.factory.replies).connect().hello()
                said = extended.say("MAIL FROM:<> SIZE=99999999")
                self.assertEqual(said, ["552 5.3.4 [message_too_big] 33554432"])
            if command == "DATA":
                self.assertRegex(client.say(".")[0], r"^250 2\.0\.0 \[accepted\] \S+$")


def _places(name: str, **values: str) -> str:
    return " ".join(values[place] for _, place, _, _ in Formatter().parse(CATALOGUE[name].text) if place)


def _marked(name: str, reply: Reply) -> Reply:
    """A reply that says its name, and has the places that it had."""
    places = [f"{{{place}}}" for _, place, _, _ in Formatter().parse(reply.text) if place]
    return replace(reply, text=" ".join([f"[{name}]", *places]))


_OTHER = Catalogue(**{name: _marked(name, reply) for name, reply in CATALOGUE.items()})
