"""The arguments of XCLIENT and XFORWARD."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.wire.attributes import Unstated, parse_attributes, parse_port
from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.xtext import encode_xtext_octets

NAMES = ("NAME", "ADDR", "PORT")


def parse(argument: str) -> list[tuple[str, str | Unstated]]:
    return list(parse_attributes(argument, "XCLIENT", NAMES))


class AttributesTests(SynchronousTestCase):
    def test_names_in_any_case_and_values_as_they_are(self) -> None:
        self.assertEqual(parse("name=Spike.test  Addr=IPV6:::1"), [("NAME", "Spike.test"), ("ADDR", "IPV6:::1")])

    def test_xtext(self) -> None:
        self.assertEqual(parse("NAME=a+20b+2Bc+3Dd"), [("NAME", "a b+c=d")])

    def test_xtext_as_postfix_has_it(self) -> None:
        self.assertEqual(parse("NAME=a=b+2b ADDR=+c3+A9="), [("NAME", "a=b+"), ("ADDR", "\u00c3\u00a9=")])

    def test_what_is_not_known(self) -> None:
        self.assertEqual(
            parse("NAME=[unavailable] ADDR=[UNAVAILABLE] NAME=[TempUnavail]"),
            [("NAME", Unstated.UNAVAILABLE), ("ADDR", Unstated.UNAVAILABLE), ("NAME", Unstated.TEMPUNAVAIL)],
        )

    @given(st.lists(st.tuples(st.sampled_from(NAMES), st.binary(min_size=1, max_size=255)), min_size=1, max_size=5))
    def test_whatever_a_value_is(self, attributes: list[tuple[str, bytes]]) -> None:
        argument = " ".join(f"{name}={encode_xtext_octets(value)}" for name, value in attributes)
        read = [
            (name, value.value.encode() if isinstance(value, Unstated) else value.encode("latin-1"))
            for name, value in parse(argument)
        ]
        self.assertEqual([(name, value.lower()) for name, value in read], [(n, v.lower()) for n, v in attributes])

    @given(st.text(max_size=80))
    def test_whatever_comes(self, argument: str) -> None:
        for beginning in "", "NAME=", "NAME=x ":
            try:
                parse(beginning + argument)
            except GrammarError as error:
                self.assertEqual(error.code, 501)

    def test_malformed(self) -> None:
        for argument in (
            "",
            "NAME",
            "=x",
            "NAME=",
            "NAME= ADDR=x",
            "HELO=x",
            "NAME =x",
            "NAME=a+2",
            "NAME=a+2g",
            "NAME=+",
            "NAME=é",
            "NAME=" + "x" * 256,
            "NAME=x ADDR",
        ):
            with self.assertRaises(GrammarError) as caught:
                parse(argument)
            self.assertEqual(caught.exception.code, 501, argument)

    def test_ports(self) -> None:
        self.assertEqual([parse_port("XCLIENT", "PORT", text) for text in ("0", "25", "65535")], [0, 25, 65535])
        for text in "65536", "-1", "+1", "100000", "x", "٣", "²", "1 ":
            self.assertRaises(GrammarError, parse_port, "XCLIENT", "PORT", text)
