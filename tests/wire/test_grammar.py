"""Tests of twistsmtp.wire.grammar."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire import strategies
from twistsmtp.wire.abnf import CONTROL
from twistsmtp.wire.grammar import (
    _FORWARD,
    _REVERSE,
    GrammarError,
    Mailbox,
    PathLimits,
    _parse_path,
    parse_forward_path,
    parse_hello,
    parse_parameters,
    parse_reverse_path,
    split_command,
)

VAST = PathLimits(1 << 20, 1 << 20, 1 << 20)


class GrammarTestCase(SynchronousTestCase):
    def assert_refused(
        self, expected: tuple[str, int, str], parse: Callable[..., object], *arguments: object
    ) -> GrammarError:
        error: GrammarError = self.assertRaises(GrammarError, parse, *arguments)
        self.assertEqual((error.production, error.code, error.enhanced), expected, arguments)
        self.assertIn(error.production.lower(), error.text.lower())
        self.assertTrue(error.text.isascii() and error.text.isprintable())
        return error


class SplitCommandTests(GrammarTestCase):
    def test_rfc5321_2_4_examples(self) -> None:
        """RFC 5321 sections 2.4 and 4.1.1: verbs in any case, blanks at the end tolerated."""
        for line, command in {
            b"DATA": ("DATA", ""),
            b"quit": ("QUIT", ""),
            b"QUIT  \t ": ("QUIT", ""),
            b"Mail From:<a@b> SIZE=1": ("MAIL", "From:<a@b> SIZE=1"),
            b"MAIL   FROM:<a@b>  ": ("MAIL", "FROM:<a@b>"),
            b"MAIL\tFROM:<a@b>\t": ("MAIL", "FROM:<a@b>"),
            b'MAIL FROM:<"a\tb"@c>': ("MAIL", 'FROM:<"a\tb"@c>'),
            b'RCPT TO:<"a  b"@c>': ("RCPT", 'TO:<"a  b"@c>'),
            "RCPT TO:<\u00fc@b>".encode(): ("RCPT", "TO:<\u00fc@b>"),
            "NOOP \u3000".encode(): ("NOOP", "\u3000"),
            b"XCLIENT-X foo": ("XCLIENT-X", "foo"),
        }.items():
            self.assertEqual(split_command(line), command)

    def test_what_no_verb_can_be_is_returned_to_be_unrecognized(self) -> None:
        for line, command in {
            b"Subject: hello": ("SUBJECT:", "hello"),
            b"MAIL:": ("MAIL:", ""),
            b"<>": ("<>", ""),
            b"GET / HTTP/1.1": ("GET", "/ HTTP/1.1"),
        }.items():
            self.assertEqual(split_command(line), command)

    def test_upper_case_makes_no_verb_of_what_is_none(self) -> None:
        for verb in ("ma\u0131l", "r\u017fet", "\ufb01nd"):
            self.assertEqual(split_command(f"{verb} x".encode()), (verb, "x"))

    def test_no_verb(self) -> None:
        for line in (b"", b" ", b"\t", b" DATA", b"\tDATA", b"  \t  "):
            self.assert_refused(("command", 500, "5.5.2"), split_command, line)

    def test_rfc5321_2_3_8_control_characters(self) -> None:
        """RFC 5321 section 2.3.8: a bare CR or LF is no line end, and none of them is anything else."""
        for code in (*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x202E, 0x2066):
            control = chr(code).encode()
            for line in (control, b"NOOP" + control, control + b"NOOP", b"NOOP a" + control + b"b"):
                self.assert_refused(("command", 500, "5.5.2"), split_command, line)

    def test_not_utf8(self) -> None:
        for octets in (b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"j\xf6rg"):
            self.assert_refused(("command", 500, "5.5.2"), split_command, b"NOOP " + octets)

    @given(st.binary() | strategies.near_misses.map(lambda text: text.encode("utf-8", "surrogatepass")))
    def test_any_octets(self, line: bytes) -> None:
        try:
            verb, argument = split_command(line)
        except GrammarError as error:
            self.assertEqual((error.production, error.code), ("command", 500))
        else:
            self.assertIsNone(CONTROL.search((verb + argument).replace("\t", "")))
            self.assertTrue(verb)
            self.assertNotIn(" ", verb)
            self.assertNotIn("\t", verb)
            self.assertEqual(argument, argument.strip(" \t"))
            self.assertEqual("".join(line.decode().upper().split()), "".join((verb + argument).upper().split()))

    @given(st.from_regex(r"[A-Za-z][A-Za-z0-9-]*", fullmatch=True), st.text(strategies.graphic_or_space))
    def test_the_short_way_and_the_long_agree(self, verb: str, argument: str) -> None:
        short = split_command(f"{verb} {argument}".encode())
        self.assertEqual(short, (verb.upper(), argument.strip(" ")))
        self.assertEqual(split_command(f"{verb}\t{argument}".encode()), short)

    def test_hostile_length(self) -> None:
        size = 100_000
        self.assertEqual(split_command(b"a" * size), ("A" * size, ""))
        self.assertEqual(split_command(b"NOOP" + b" \t" * size), ("NOOP", ""))
        self.assertEqual(split_command(b"NOOP" + b"\t a" * size)[0], "NOOP")
        self.assert_refused(("command", 500, "5.5.2"), split_command, b"\t" * size)
        self.assert_refused(("command", 500, "5.5.2"), split_command, b"a" * size + b"\n")


class ReversePathTests(GrammarTestCase):
    def test_rfc5321_3_6_3_examples(self) -> None:
        """RFC 5321 sections 3.6.3, 4.1.1.3 and 4.3.1 and appendix D, RFC 3461 section 10."""
        for argument, parsed in {
            "FROM:<Smith@bar.com>": (Mailbox("Smith", "bar.com"), ""),
            "FROM:<userx@y.foo.org>": (Mailbox("userx", "y.foo.org"), ""),
            "FROM:<@a,@b:user@d>": (Mailbox("user", "d"), ""),
            "FROM:<>": (None, ""),
            "FROM:<Alice@Example.ORG> RET=HDRS ENVID=QQ314159": (
                Mailbox("Alice", "Example.ORG"),
                "RET=HDRS ENVID=QQ314159",
            ),
            "FROM:<e=mc2@example.com> AUTH=e+3Dmc2@example.com": (
                Mailbox("e=mc2", "example.com"),
                "AUTH=e+3Dmc2@example.com",
            ),
            r'FROM:<"Joe\,Smith"@a.example> SIZE=1': (Mailbox("Joe,Smith", "a.example"), "SIZE=1"),
            "FROM:<\u00fc@\u00fc.example> SMTPUTF8": (Mailbox("\u00fc", "\u00fc.example"), "SMTPUTF8"),
            "FROM:<a@[127.0.0.1]>": (Mailbox("a", "[127.0.0.1]"), ""),
        }.items():
            self.assertEqual(parse_reverse_path(argument), parsed)

    def test_what_deployed_clients_send(self) -> None:
        for argument in (
            "from:<a@b> SIZE=1",
            "From: <a@b> SIZE=1",
            "FROM:\t<a@b>\tSIZE=1",
            "FROM :<a@b>   SIZE=1",
            "  FROM : <a@b> SIZE=1",
            "FROM:a@b SIZE=1",
            "FROM: a@b \t SIZE=1",
        ):
            self.assertEqual(parse_reverse_path(argument), (Mailbox("a", "b"), "SIZE=1"), argument)
        for argument in ("FROM: <>", "from:<> ", "FROM : <>\t"):
            self.assertEqual(parse_reverse_path(argument), (None, ""), argument)
        self.assertEqual(parse_reverse_path("FROM:<> BODY=7BIT"), (None, "BODY=7BIT"))
        self.assertEqual(parse_reverse_path("FROM:<a@b> "), (Mailbox("a", "b"), ""))
        self.assertEqual(parse_reverse_path('FROM:"a b"@c'), (Mailbox("a b", "c"), ""))

    def test_keyword_or_path_missing(self) -> None:
        for argument in (
            "",
            "FROM",
            "FROM:",
            "FROM: ",
            "FROM <a@b>",
            "<a@b>",
            "TO:<a@b>",
            "FRO:<a@b>",
            ":<a@b>",
        ):
            error = self.assert_refused(("Reverse-path", 501, "5.5.4"), parse_reverse_path, argument)
            self.assertIn("FROM:<Reverse-path>", error.text)

    def test_brackets_and_what_stands_around_them(self) -> None:
        for path in (
            "<a@b",
            "a@b>",
            "<a@b>>",
            "<<a@b>>",
            "<<a@b>",
            "<a@b>x",
            "<a@b>SIZE=1",
            "<a@b><c@d>",
            "<a@b c@d>",
            "<a@b >",
            "<a",
            "a>",
            "<>>",
            "<>x",
            "><",
            ">",
            "<",
        ):
            self.assert_refused(("Reverse-path", 501, "5.1.7"), parse_reverse_path, f"FROM:{path}")
        for path in (
            "< a@b>",
            "< >",
            "<a..b@c>",
            "<a.@c>",
            "<.a@c>",
            "<a,b@c>",
            "<\x00@b>",
            '<"a@b>',
            "(c)a@b",
        ):
            self.assert_refused(("Local-part", 501, "5.1.7"), parse_reverse_path, f"FROM:{path}")
        for path in ("<a@>", "a@", "<a@b..c>", "<a@b.>", "<a@@b>", "<a@-b>", "<a@b(c)>", "a@b,c@d"):
            self.assert_refused(("Domain", 501, "5.1.7"), parse_reverse_path, f"FROM:{path}")

    def test_source_routes(self) -> None:
        """RFC 5321 appendix C: accepted, and ignored; only within angle brackets."""
        self.assertEqual(parse_reverse_path('FROM:<@a.b,@c:"x y"@z> A'), (Mailbox("x y", "z"), "A"))
        for route in ("@a", "@:", "@a,:", "@a,b:", "@a, @b:", "@a,,@b:", "@a;@b:", "@[1.2.3.4]:"):
            self.assert_refused(("A-d-l", 501, "5.1.7"), parse_reverse_path, f"FROM:<{route}")
        self.assert_refused(("Local-part", 501, "5.1.7"), parse_reverse_path, "FROM:@a:b@c")
        for path in ("<@a:>", "<@a:", "<@a:<b@c>>"):
            self.assert_refused(("Reverse-path", 501, "5.1.7"), parse_reverse_path, f"FROM:{path}")

    def test_a_domain_is_required(self) -> None:
        for path in ("<a>", "a", '<"a b">', "<postmaster>", "postmaster", "<@a:b>"):
            self.assert_refused(("Mailbox", 553, "5.1.7"), parse_reverse_path, f"FROM:{path}")

    def test_invalid_idna(self) -> None:
        self.assert_refused(("Domain", 553, "5.1.7"), parse_reverse_path, "FROM:<a@\u2603.example>")


class ForwardPathTests(GrammarTestCase):
    def test_rfc5321_4_1_1_3_examples(self) -> None:
        """RFC 5321 section 4.1.1.3 and appendix C, RFC 3461 section 10."""
        for argument, parsed in {
            "TO:<Jones@XYZ.COM>": (Mailbox("Jones", "XYZ.COM"), ""),
            "TO:<@hosta.int,@jkl.org:userc@d.bar.org>": (Mailbox("userc", "d.bar.org"), ""),
            "TO:<@ONE,@TWO:JOE@THREE>": (Mailbox("JOE", "THREE"), ""),
            "TO:<Bob@Example.COM> NOTIFY=SUCCESS ORCPT=rfc822;Bob@Example.COM": (
                Mailbox("Bob", "Example.COM"),
                "NOTIFY=SUCCESS ORCPT=rfc822;Bob@Example.COM",
            ),
            "to: a@b": (Mailbox("a", "b"), ""),
        }.items():
            self.assertEqual(parse_forward_path(argument), parsed)

    def test_rfc5321_4_1_1_3_postmaster_needs_no_domain(self) -> None:
        """RFC 5321 section 4.1.1.3, in any case, and its domain may be there."""
        for local in ("postmaster", "Postmaster", "POSTMASTER"):
            self.assertEqual(parse_forward_path(f"TO:<{local}>"), (Mailbox(local, ""), ""))
            self.assertEqual(parse_forward_path(f"TO: {local} NOTIFY=NEVER"), (Mailbox(local, ""), "NOTIFY=NEVER"))
            self.assertEqual(parse_forward_path(f'TO:<"{local}">'), (Mailbox(local, ""), ""))
            self.assertEqual(parse_forward_path(f"TO:<{local}@b>"), (Mailbox(local, "b"), ""))
        for local in ("postmaster2", "a", "po\u017ftmaster", '""'):
            self.assert_refused(("Mailbox", 553, "5.1.3"), parse_forward_path, f"TO:<{local}>")

    def test_the_null_path_is_for_reverse_paths(self) -> None:
        for argument in ("TO:<>", "TO: <>", "TO:<> NOTIFY=NEVER"):
            self.assert_refused(("Forward-path", 501, "5.1.3"), parse_forward_path, argument)

    def test_refusals(self) -> None:
        for argument, expected in {
            "": ("Forward-path", 501, "5.5.4"),
            "TO:": ("Forward-path", 501, "5.5.4"),
            "FROM:<a@b>": ("Forward-path", 501, "5.5.4"),
            "TO:<a@b": ("Forward-path", 501, "5.1.3"),
            "TO:<a@b>x": ("Forward-path", 501, "5.1.3"),
            "TO:<a..b@c>": ("Local-part", 501, "5.1.3"),
            "TO:<a@b..c>": ("Domain", 501, "5.1.3"),
            "TO:<@a;b@c>": ("A-d-l", 501, "5.1.3"),
            "TO:<a@[1.2.3]>": ("IPv4-address-literal", 501, "5.1.3"),
            "TO:<a@[IPv6:x]>": ("IPv6-address-literal", 501, "5.1.3"),
            "TO:<a@\u2603>": ("Domain", 553, "5.1.3"),
        }.items():
            self.assert_refused(expected, parse_forward_path, argument)


class PathTests(GrammarTestCase):
    """What holds for both kinds of path."""

    def test_rfc5321_4_5_3_1_1_lengths(self) -> None:
        """RFC 5321 sections 4.5.3.1.1 to 4.5.3.1.3, at the limit and an octet over it."""
        labels = ["d" * 63] * 3
        for local, domain, production in (
            ("l" * 64, "d", None),
            ("l" * 65, "d", "Local-part"),
            ("l", "d" * 63, None),
            ("l", "d" * 64, "Domain"),
            ("l", ".".join([*labels, "d" * 60]), None),
            ("l" * 64, "d." * 93 + "ddd", None),
            ("l" * 64, "d." * 93 + "dddd", "Forward-path"),
            ("l", ".".join([*labels, "d" * 63, "d"]), "Domain"),
            ("\u00fc" * 32, "d", None),
            ("\u00fc" * 32, "d." * 93 + "dddd", "Forward-path"),
        ):
            argument = f"TO:<{local}@{domain}>"
            if production is None:
                self.assertEqual(parse_forward_path(argument), (Mailbox(local, domain), ""))
            else:
                self.assert_refused((production, 553, "5.1.3"), parse_forward_path, argument)

    def test_a_path_counts_with_its_brackets_and_route(self) -> None:
        limits = PathLimits(path=6)
        for argument in ("TO:<aa@b>", "TO:aa@b", "TO: <aa@b> NOTIFY=NEVER", "TO:<\u00fc@b>"):
            self.assertEqual(parse_forward_path(argument, limits)[0].domain, "b")
        for argument in ("TO:<aaa@b>", "TO:aaa@b", "TO:<@a:b@c>", "TO:<a\u00fc@b>"):
            self.assert_refused(("Forward-path", 553, "5.1.3"), parse_forward_path, argument, limits)
        self.assert_refused(("Reverse-path", 553, "5.1.7"), parse_reverse_path, "FROM:<aaa@b>", limits)

    def test_limits_hold_on_the_short_way(self) -> None:
        for limits, production in {
            PathLimits(local_part=2): "Local-part",
            PathLimits(domain=2): "Domain",
            PathLimits(path=8): "Reverse-path",
        }.items():
            self.assert_refused((production, 553, "5.1.7"), parse_reverse_path, "FROM:<abc@def>", limits)
        exact = PathLimits(3, 3, 9)
        self.assertEqual(parse_reverse_path("FROM:<abc@def>", exact)[0], Mailbox("abc", "def"))

    def test_limits_hold_for_a_path_that_is_remembered(self) -> None:
        for parse, argument in ((parse_reverse_path, "FROM:<abc@def>"), (parse_forward_path, "TO:<abc@def>")):
            self.assertEqual(parse(argument)[0], Mailbox("abc", "def"))
            for limits in (PathLimits(local_part=2), PathLimits(domain=2), PathLimits(path=8)):
                self.assertEqual(self.assertRaises(GrammarError, parse, argument, limits).code, 553)
            self.assertEqual(parse(argument)[0], Mailbox("abc", "def"))

    @given(
        st.sampled_from([("FROM:", parse_reverse_path, _REVERSE), ("TO:", parse_forward_path, _FORWARD)]),
        st.lists(st.sampled_from(["", " ", "\t", "<", ">", "a", "B.c", "@", "d-e", '"', "\u00fc", "X=1"]), max_size=8),
        st.sampled_from(["", "<a@b>", "<a@b.example", "a@b>"]),
    )
    def test_the_short_way_and_the_long_agree(self, kind: Any, pieces: list[str], path: str) -> None:
        keyword, parse, side = kind
        for argument in (keyword + path + "".join(pieces), keyword + "".join(pieces) + path):
            if "<>" in argument:  # which is a way of its own
                continue
            try:
                expected = _parse_path(argument, side, PathLimits())
            except GrammarError as error:
                refusal = self.assertRaises(GrammarError, parse, argument)
                self.assertEqual((refusal.production, refusal.text), (error.production, error.text))
            else:
                for _ in range(2):  # the second time from memory
                    self.assertEqual(parse(argument), expected)

    @given(strategies.mailboxes, strategies.parameters.map(dict))
    def test_mailboxes_round_trip(self, mailbox: Mailbox, parameters: dict[str, str | None]) -> None:
        rest = " ".join(key if value is None else f"{key}={value}" for key, value in parameters.items())
        for template in ("{0}:<{1}> {2}", "{0}: <{1}>  {2}", "{0}:{1} {2}", "{0}:<@r.example:{1}>\t{2}"):
            self.assertEqual(
                parse_reverse_path(template.format("FROM", mailbox, rest), VAST), (mailbox, rest), template
            )
            self.assertEqual(parse_forward_path(template.format("to", mailbox, rest), VAST), (mailbox, rest))

    @given(strategies.anything, st.sampled_from(["", "FROM:", "TO:", "FROM:<", "TO:<", "TO:<a@", 'FROM:<"']))
    def test_nothing_but_a_grammar_error_is_raised(self, text: str, prefix: str) -> None:
        for parse, keyword in ((parse_reverse_path, "FROM"), (parse_forward_path, "TO")):
            try:
                mailbox, rest = parse(prefix + text)
            except GrammarError as error:
                self.assertIn(error.code, (501, 553))
                self.assertIn(error.enhanced, ("5.5.4", "5.1.7" if keyword == "FROM" else "5.1.3"))
                self.assertTrue(error.text.isascii() and error.text.isprintable())
            else:
                self.assertTrue((prefix + text).endswith(rest))
                wire = "" if mailbox is None else str(mailbox)
                self.assertIsNone(CONTROL.search(wire))
                self.assertEqual(parse(f"{keyword}:<{wire}>")[0], mailbox)

    def test_hostile_length(self) -> None:
        size = 100_000
        for path in (
            "<" * size,
            ">" * size,
            "<" + "a" * size,
            "<" + "a." * size + ">",
            "<a@" + "a-" * size + ">",
            "<a@" + "a." * size + ">",
            "<a@" + "a--" * size + "b>x",
            "<" + "@a," * size,
            "<" + "@a," * size + "@b:",
            "<@" + "a." * size + ":",
            "<" + "@" * size,
            '<"' + "\\" * size,
            '<"' + "\\a" * size + ">",
            "<a@[" + "1." * size + "]>",
            " \t" * size + "x",
            "<a@" + "\u00fc." * size + ">",
            "\u00fc" * size,
        ):
            for limits in (PathLimits(), VAST):
                self.assertRaises(GrammarError, parse_reverse_path, f"FROM:{path}", limits)
                self.assertRaises(GrammarError, parse_forward_path, f"TO:{path}", limits)
        self.assertRaises(GrammarError, parse_reverse_path, "FROM" + " " * size)
        self.assertRaises(GrammarError, parse_reverse_path, " " * size)
        self.assertEqual(parse_reverse_path("FROM:" + " " * size + "<a@b>" + " " * size), (Mailbox("a", "b"), ""))
        self.assertEqual(parse_reverse_path("FROM:<" + "@a," * size + "@b:c@d>", VAST)[0], Mailbox("c", "d"))


class ParametersTests(GrammarTestCase):
    def test_rfc1870_5_examples(self) -> None:
        """RFC 1870 section 5, RFC 3461 section 10, RFC 2554 section 5, RFC 6531 section 3.3."""
        for text, parameters in {
            "": (),
            "SIZE=500000": (("SIZE", "500000"),),
            "size=1 Body=8BitMime": (("SIZE", "1"), ("BODY", "8BitMime")),
            "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Dana@Ivory.EDU": (
                ("NOTIFY", "SUCCESS,FAILURE"),
                ("ORCPT", "rfc822;Dana@Ivory.EDU"),
            ),
            "AUTH=<>": (("AUTH", "<>"),),
            "SMTPUTF8": (("SMTPUTF8", None),),
            "X=\u00fc\u00a0": (("X", "\u00fc\u00a0"),),
            "8-a-=!": (("8-A-", "!"),),
        }.items():
            self.assertEqual(parse_parameters(text), parameters)

    def test_blanks_are_tolerated(self) -> None:
        self.assertEqual(parse_parameters("  A=1 \t B\t"), (("A", "1"), ("B", None)))
        self.assertEqual(parse_parameters(" \t "), ())

    def test_bad_keywords(self) -> None:
        for text in (
            "-a=1",
            "=1",
            "a_b=1",
            "a:b",
            "a\x00",
            "\u00fc=1",
            "a<b",
            "A=1 ;",
            "a\n",
            "\u00a0",
            "\ud800",
        ):
            self.assert_refused(("esmtp-keyword", 501, "5.5.4"), parse_parameters, text)

    def test_bad_values(self) -> None:
        for text in (
            "A=",
            "A= 1",
            "A==",
            "A=b=c",
            "A=\x00",
            "A=1\n",
            "A=\x7f",
            "A=\x85",
            "A=\u2028",
            "A=\ud800",
        ):
            self.assert_refused(("esmtp-value", 501, "5.5.4"), parse_parameters, text)

    def test_a_keyword_comes_once(self) -> None:
        for text in ("A=1 A=1", "A a", "A=1 B=2 a=3"):
            self.assert_refused(("esmtp-param", 501, "5.5.4"), parse_parameters, text)

    def test_they_are_counted(self) -> None:
        parameters = [f"P{number}" for number in range(33)]
        self.assertEqual(len(parse_parameters(" ".join(parameters[:32]))), 32)
        self.assert_refused(("esmtp-param", 555, "5.5.4"), parse_parameters, " ".join(parameters))

    @given(strategies.parameters, st.sampled_from([" ", "\t", "   ", " \t"]), st.booleans())
    def test_they_round_trip(self, parameters: tuple[tuple[str, str | None], ...], blanks: str, lower: bool) -> None:
        text = blanks.join(
            (key.lower() if lower else key) + ("" if value is None else f"={value}") for key, value in parameters
        )
        self.assertEqual(parse_parameters(text), parameters)

    @given(strategies.anything | st.text(st.sampled_from("aB9-= \t\u00fc\n;")))
    def test_nothing_but_a_grammar_error_is_raised(self, text: str) -> None:
        try:
            parameters = parse_parameters(text)
        except GrammarError as error:
            self.assertIn(error.code, (501, 555))
        else:
            for keyword, value in parameters:
                self.assertRegex(keyword, r"\A[A-Z0-9][A-Z0-9-]*\Z")
                self.assertIsNone(CONTROL.search(value or ""))
                self.assertNotEqual(value, "")

    def test_hostile_length(self) -> None:
        size = 100_000
        for text in (
            "=" * size,
            "a=" * size,
            "a " * size,
            "-" * size,
            " " * size + "=",
            "a=" + "\u00fc" * size + "=",
        ):
            self.assertRaises(GrammarError, parse_parameters, text)
        self.assertEqual(parse_parameters(" " * size), ())
        self.assertEqual(parse_parameters("a" * size), (("A" * size, None),))
        self.assertEqual(parse_parameters("a=" + "b" * size), (("A", "b" * size),))


class HelloTests(GrammarTestCase):
    def test_rfc5321_4_1_1_1_examples(self) -> None:
        """RFC 5321 section 4.1.1.1 and appendix D, and what deployed clients call themselves."""
        for argument, name in {
            "bar.com": "bar.com",
            "Mail.Example.COM": "Mail.Example.COM",
            "localhost": "localhost",
            "my_pc": "my_pc",
            "PC-": "PC-",
            "mail.example.com.": "mail.example.com",
            "192.0.2.1": "192.0.2.1",
            "[192.0.2.1]": "[192.0.2.1]",
            "[IPv6:2001:db8::1]": "[IPv6:2001:db8::1]",
            "[::1]": "[::1]",
            "[x-tag:abc]": "[x-tag:abc]",
            " bar.com\t": "bar.com",
            "a" * 63: "a" * 63,
            ".".join(["a" * 63] * 4): ".".join(["a" * 63] * 4),
        }.items():
            self.assertEqual(parse_hello(argument), name)

    def test_no_name(self) -> None:
        for argument in ("", " ", "\t"):
            self.assert_refused(("Domain", 501, "5.5.4"), parse_hello, argument)

    def test_malformed(self) -> None:
        for argument in (
            ".",
            "a..b",
            ".a",
            "a..",
            "a b",
            "a\tb",
            "a\x00",
            "a\r\nb",
            "a\n",
            "a" * 64,
            "::1",
            "a:25",
        ):
            self.assert_refused(("Domain", 501, "5.5.4"), parse_hello, argument)
        for character in "()<>\"',;@\\/%&[]{}\x7f":
            for argument in (character, f"a{character}b", f"[x:{character}]"):
                self.assert_refused(("Domain", 501, "5.5.4"), parse_hello, argument)
        for literal in ("[1.2.3]", "[1.2.3.256]", "[IPv6:x]", "[host]", "[:]", "[1.2.3.4.]"):
            self.assert_refused(("address-literal", 501, "5.5.4"), parse_hello, literal)

    def test_too_long(self) -> None:
        self.assert_refused(("Domain", 501, "5.5.4"), parse_hello, "a." * 128)
        self.assertEqual(parse_hello("a." * 127), ("a." * 127)[:-1])

    def test_rfc6531_3_7_1_beyond_ascii(self) -> None:
        """RFC 6531 section 3.7.1: before the reply to EHLO, only ASCII is sent."""
        for argument in ("b\u00fccher.example", "\u00a0", "a\u2028b", "\ud800"):
            self.assert_refused(("Domain", 501, "5.6.7"), parse_hello, argument)

    @given(strategies.anything | strategies.domains | strategies.literals)
    def test_what_is_let_through_is_safe(self, text: str) -> None:
        try:
            name = parse_hello(text)
        except GrammarError as error:
            self.assertEqual(error.code, 501)
        else:
            self.assertRegex(name, r"\A[A-Za-z0-9_.:\[\]-]{1,255}\Z")
            self.assertIn(name, text)

    @given(strategies.domains)
    def test_every_domain_is_let_through(self, domain: str) -> None:
        self.assertEqual(parse_hello(domain), domain)
        self.assertEqual(parse_hello(f"{domain}."), domain)

    def test_hostile_length(self) -> None:
        size = 100_000
        for argument in (
            "a" * size,
            "a." * size,
            "-" * size,
            "[" * size,
            "[" + ":" * size,
            " " * size + "(",
            "." * size,
        ):
            self.assertRaises(GrammarError, parse_hello, argument)
