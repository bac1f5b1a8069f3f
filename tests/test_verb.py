"""The registry: what the verbs and extensions of a server add up to."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.scripted import ScriptedDelivery
from tests.support import Server
from twistsmtp.envelope import Parameter
from twistsmtp.extensions import load_extensions
from twistsmtp.session import Phase, Session, Stage
from twistsmtp.verb import ANY_STAGE, Extension, Registry, Verb, honoured
from twistsmtp.verbs import CORE
from twistsmtp.wire.reply import Reply


def verb(name: str, **more: Any) -> Verb[str]:
    values: dict[str, Any] = {
        "syntax": f"{name} [text]",
        "help": f"Do {name.lower()}.",
        "parse": lambda session, argument: argument,
        "run": lambda session, argument: Reply(250, "2.0.0", f"{name} {argument}"),
    }
    return Verb(name=name, **{**values, **more})


def parameter(keyword: str, octets: int = 0) -> Parameter[str | None]:
    return Parameter(keyword=keyword, parse=lambda session, value: value, default=None, octets=octets)


def extension(name: str, keyword: str | Callable[[Session], str | None] = "X-TEST", **more: Any) -> Extension:
    return Extension(name=name, rfc="RFC 0", keyword=keyword, **more)


class RegistryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.session = Server().factory.new_session(StringTransport())

    def test_the_core_verbs_are_those_of_rfc_5321(self) -> None:
        self.assertEqual(
            set(Registry(CORE).verbs),
            {"EHLO", "HELO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "EXPN", "HELP", "BDAT"},
        )

    def test_help_names_no_verb_that_is_known_only_to_be_refused(self) -> None:
        registry = Registry([verb("XONE"), replace(verb("XTWO"), usable=lambda session: False)])
        self.assertEqual(registry.help("", self.session), "Verbs:\n  XONE\nHELP verb tells more")
        self.assertIsNone(registry.help("XTWO", self.session))

    def test_an_extension_adds_a_verb_or_replaces_one(self) -> None:
        xone, noop = verb("XONE"), verb("NOOP")
        registry = Registry(CORE, [extension("x", verbs=(xone, noop))])
        self.assertIs(registry.verbs["XONE"], xone)
        self.assertIs(registry.verbs["NOOP"], noop)
        self.assertIs(registry.verbs["QUIT"], Registry(CORE).verbs["QUIT"])

    def test_two_extensions_may_not_define_one_verb(self) -> None:
        both = [extension("x", verbs=(verb("XONE"),)), extension("y", verbs=(verb("XONE"),))]
        self.assertIn("XONE", str(self.assertRaises(ValueError, Registry, CORE, both)))

    def test_two_extensions_may_not_define_one_parameter(self) -> None:
        for where in ("mail_parameters", "rcpt_parameters"):
            one: dict[str, Any] = {where: (parameter("COLOUR"),)}
            self.assertIn(
                "COLOUR",
                str(self.assertRaises(ValueError, Registry, CORE, [extension("x", **one), extension("y", **one)])),
            )

    def test_mail_and_rcpt_have_parameters_apart(self) -> None:
        mail, rcpt = parameter("ONE"), parameter("ONE")
        registry = Registry(CORE, [extension("x", mail_parameters=(mail,), rcpt_parameters=(rcpt,))])
        self.assertIs(registry.mail_parameters["ONE"], mail)
        self.assertIs(registry.rcpt_parameters["ONE"], rcpt)

    def test_keywords_stand_in_the_order_of_the_extensions(self) -> None:
        offers = [
            extension("a", "AAA"),
            extension("b", lambda session: None),
            extension("c", lambda session: f"CCC {session.hostname}"),
        ]
        self.assertEqual(Registry(CORE, offers).keywords(self.session), ("AAA", "CCC mx.test", "HELP"))

    def test_a_keyword_is_made_for_each_reply(self) -> None:
        answers = ["ONE", None, "TWO", "", "ONE"]
        made = iter(answers)
        registry = Registry(CORE, [extension("a", "AAA"), extension("b", lambda session: next(made)), extension("c")])
        for answer in answers:
            lines = ("AAA", answer, "X-TEST", "HELP")
            self.assertEqual(registry.keywords(self.session), tuple(line for line in lines if line))

    def test_what_is_honoured_and_something_else(self) -> None:
        delivery = ScriptedDelivery()
        session = Server(delivery).connect().session
        usable = honoured("x", lambda session: session.esmtp)
        registry = Registry((), [extension("x", usable=usable), extension("y", "YYY", usable=honoured("x"))])
        for honours, esmtp, offered in (
            ((), False, ()),
            ((), True, ()),
            (("x",), False, ("YYY",)),
            (("x",), True, ("X-TEST", "YYY")),
        ):
            delivery.honours, session.esmtp = frozenset(honours), esmtp
            self.assertEqual((usable(session), registry.keywords(session)), ("X-TEST" in offered, offered))

    def test_a_verb_may_be_offered_as_well(self) -> None:
        def offer(session: Session) -> str | None:
            return "XONE" if session.hostname == "mx.test" else None

        registry = Registry([*CORE, verb("XONE", keyword=offer), verb("XTWO")], [extension("a", "AAA")])
        self.assertEqual(registry.keywords(self.session), ("AAA", "HELP", "XONE"))
        self.session.hostname = "other.test"
        self.assertEqual(registry.keywords(self.session), ("AAA", "HELP"))

    def test_parameters_add_to_the_length_of_their_command(self) -> None:
        # RFC 5321 section 4.5.3.1.4 and 4.1.1.11.
        registry = Registry(
            CORE,
            [
                extension("x", mail_parameters=(parameter("A", 10), parameter("B", 5))),
                extension("y", mail_parameters=(parameter("C", 3),), rcpt_parameters=(parameter("A", 7),)),
            ],
        )
        self.assertEqual([registry.allowance(name) for name in ("MAIL", "RCPT", "DATA", "NONE")], [18, 7, 0, 0])
        self.assertEqual(registry.greatest_allowance, 18)
        self.assertEqual(Registry(CORE).greatest_allowance, 0)

    def test_those_that_are_on_by_default(self) -> None:
        registry = Registry(CORE, load_extensions())
        dsn = len(" RET=FULL ENVID=") + 100
        held = len(" HOLDFOR=999999999 HOLDUNTIL=2026-11-22T12:00:00.123456789+01:00")
        others = 17 + held + len(" MT-PRIORITY=-9 SOLICIT=") + 1000 + 11
        self.assertEqual(registry.allowance("MAIL"), 26 + len(" BODY=BINARYMIME") + 10 + dsn + others + 500)
        rrvs = len(" RRVS=2026-11-22T12:00:00.123456789+01:00;C")
        self.assertEqual(registry.allowance("RCPT"), len(" NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=") + 500 + rrvs)
        self.assertEqual(registry.allowance("AUTH"), 12288 - 512)

    def test_replies_carry_enhanced_codes_only_where_they_are_offered(self) -> None:
        reply = Reply(250, "2.0.0", "OK")
        self.assertEqual(Registry(CORE).reply_octets(reply), b"250 OK\r\n")
        self.assertEqual(Registry(CORE, load_extensions()).reply_octets(reply), b"250 2.0.0 OK\r\n")

    def test_help_of_all_verbs(self) -> None:
        text = Registry(CORE, [extension("x", verbs=(verb("XONE"),))]).help("", Server().connect().session)
        assert text is not None
        for name in ("EHLO", "QUIT", "XONE"):
            self.assertIn(name, text.split())

    def test_help_of_what_a_session_may_not_use(self) -> None:
        """It is as if it were not there; but an extension that takes the place of a verb of the core hides none."""
        closed = Extension(
            name="x", rfc="none", keyword="X", usable=lambda session: False, verbs=(verb("XONE"), verb("DATA"))
        )
        registry, session = Registry(CORE, [closed]), Server().connect().session
        self.assertIsNone(registry.help("XONE", session))
        self.assertIsNotNone(registry.help("DATA", session))
        text = registry.help("", session) or ""
        self.assertEqual((" XONE" in text, " DATA" in text), (False, True))

    def test_help_of_one_verb(self) -> None:
        registry, session = Registry([verb("XONE")]), Server().connect().session
        self.assertEqual(registry.help("xone", session), "XONE [text]\nDo xone.")
        self.assertIsNone(registry.help("XTWO", session))


class TableTests(SynchronousTestCase):
    """The table that a person reads."""

    def test_the_core(self) -> None:
        rows = [line.split() for line in Registry(CORE, load_extensions()).table().splitlines()]
        self.assertEqual(rows[0], ["verb", "stages", "phase", "flags", "from", "syntax"])
        for row in (
            ["EHLO", "any", "hello", "idle", "core", "EHLO", "domain"],
            ["MAIL", "READY", "mail", "-", "core", "MAIL", "FROM:<reverse-path>", "[parameters]"],
            ["RCPT", "MAIL", "RCPT", "rcpt", "-", "core", "RCPT", "TO:<forward-path>", "[parameters]"],
            ["DATA", "RCPT", "data", "-", "binarymime", "DATA"],
            ["QUIT", "any", "-", "ends", "core", "QUIT"],
            ["size", "RFC", "1870", "SIZE", "-"],
        ):
            self.assertIn(row, rows)

    def test_an_extension(self) -> None:
        made = extension("x", verbs=(verb("XONE", stages=Stage.READY | Stage.MAIL, phase=Phase.AUTH),))
        rows = [line.split() for line in Registry(CORE, [made]).table().splitlines()]
        self.assertIn(["XONE", "READY", "MAIL", "auth", "-", "x", "XONE", "[text]"], rows)
        self.assertIn(["x", "RFC", "0", "-", "-"], rows)

    def test_columns_stand_under_each_other(self) -> None:
        verbs, extensions = Registry(CORE, load_extensions()).table().split("\n\n")
        for table, column in ((verbs, "syntax"), (extensions, "specified in")):
            header, *lines = table.splitlines()
            start = header.index(column)
            for line in lines:
                self.assertEqual(line[start - 2 : start], "  ")
                self.assertNotEqual(line[start], " ")

    def test_any_stage_is_all_of_them(self) -> None:
        self.assertEqual(ANY_STAGE, sum(Stage))
