"""Whatever a client writes behind a parameter, it gets a reply, and nobody's log a traceback."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support import Client, Server
from twistsmtp.delivery.memory import Memory
from twistsmtp.envelope import Parameter
from twistsmtp.extensions import load_extensions
from twistsmtp.tls.facts import TLS
from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.reply import Refusal

EXTENSIONS = load_extensions()
MAIL = sorted((p for each in EXTENSIONS for p in each.mail_parameters), key=lambda p: p.keyword)
RCPT = sorted((p for each in EXTENSIONS for p in each.rcpt_parameters), key=lambda p: p.keyword)

#: What a client that makes mistakes writes: pieces of what is right.
PIECES = (
    "FULL HDRS NEVER SUCCESS , ; . : - + = 0 -1 1 9 10 600 999999999 N R T C rfc822 utf-8 a b@mx.test +41 +4 +0A +2B "
    "\\x{ 41 FC } \\x{FC} \\x{D800} 2026-11-22 T12:00:00 Z +01:00 .5 :60 9999-12-31 0001-01-01 <> @ [192.0.2.1] "
    "org.example:ADV 7BIT 8BITMIME \u00fc \u4e2d \u017f \u0661 \x7f \x85 \u202e \u00a0"
)
VALUES = st.one_of(
    st.none(),
    st.lists(st.sampled_from(PIECES.split(" ")), max_size=8).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.from_regex(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})(;[CR])?", fullmatch=True
    ),
    st.from_regex(r"(utf-8|rfc822);([a-z+]|\\x\{[0-9A-F]{1,6}\}|\+[0-9A-F]{2}){1,20}", fullmatch=True),
    st.from_regex(r"[+-]?[0-9]{1,10}(;[NR]T?)?", fullmatch=True),
    st.sampled_from("aA0+\u00e9").map(lambda character: character * 2000),
)


class FuzzTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server(Memory())

    def client(self) -> Client:
        client = self.server.connect().hello()
        client.session.encrypted(TLS("TLSv1.3", "TLS_AES_256_GCM_SHA384"))
        return client

    def answer(self, client: Client, command: str, parameter: Parameter[Any], value: str | None) -> str:
        text = parameter.keyword if value is None else f"{parameter.keyword}={value}"
        with capturedLogs() as events:
            [reply] = client.codes(f"{command} {text}".replace("\r\n", "\r"))
        self.assertEqual([each for each in events if each["log_level"] is LogLevel.critical], [], text)
        return reply[:3]

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(st.sampled_from(MAIL), VALUES, st.booleans())
    def test_mail(self, parameter: Parameter[Any], value: str | None, utf8: bool) -> None:
        client = self.client()
        command = "MAIL FROM:<> SMTPUTF8" if utf8 and parameter.keyword != "SMTPUTF8" else "MAIL FROM:<>"
        self.assertIn(self.answer(client, command, parameter, value), ("250", "500", "501", "504", "552", "553", "555"))
        client.vanish()

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(st.sampled_from(RCPT), VALUES, st.booleans())
    def test_rcpt(self, parameter: Parameter[Any], value: str | None, utf8: bool) -> None:
        client = self.client()
        client.say("MAIL FROM:<> SMTPUTF8" if utf8 else "MAIL FROM:<>")
        self.assertIn(self.answer(client, "RCPT TO:<b@mx.test>", parameter, value), ("250", "500", "501", "553"))
        client.vanish()

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(st.sampled_from(MAIL + RCPT), VALUES | st.text())
    def test_values_that_the_grammar_lets_through_or_not(self, parameter: Parameter[Any], value: str | None) -> None:
        client = self.client().begin()
        try:
            hash(parameter.parse(client.session, value))  # which a frozen value has
        except GrammarError as error:
            self.assertEqual((error.code, error.enhanced.partition(".")[0]), (501, "5"))
            self.assertTrue(error.text.isascii() and error.text.isprintable())
        except Refusal as refusal:
            self.assertIn(refusal.reply.code, (550, 552, 553, 555))
        client.vanish()
