"""Recipients: which there are, and who gets their mail."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.policy.maps import MapFile, begun
from tests.support import Client, Server, logged
from tests.test_textfile import Threads, at_once
from twistsmtp.delivery.memory import Memory
from twistsmtp.limits import Limits
from twistsmtp.policy.addresses import Verdict
from twistsmtp.policy.find import make_policy
from twistsmtp.policy.recipients import TARGETS, RecipientMap, Recipients, parse_recipient_map
from twistsmtp.policy.relay import RelayRule
from twistsmtp.textfile import BadLines
from twistsmtp.wire.grammar import Mailbox, parse_mailbox

MAP = """\
# Who there is
ada@mx.test
office@mx.test    ada@mx.test, bob@mx.test carl@elsewhere.test
bob@mx.test       bob@mx.test, archive@mx.test
archive@mx.test
eve@mx.test       reject Eve has left us
dan@mx.test       452 4.2.2 Dan is on holiday, and his mailbox full
zoe@mx.test       defer
postmaster        ada@mx.test
@lists.test       lists@lists.test
@other.test
"""

OK, UNKNOWN = "250 2.1.5", "550 5.1.1"


def parsed(*lines: str) -> RecipientMap:
    return parse_recipient_map("\n".join(lines).encode())


def targets(map: RecipientMap, address: str) -> list[str] | None:
    """Who gets the mail of *address*; nobody else where it is taken as it is; ``None`` where no line is for it."""
    found = map.find(parse_mailbox(address))
    assert not isinstance(found, Verdict), found
    return None if found is None else [str(each) for each in found]


class MapTests(SynchronousTestCase):
    """The file's lines, and what they mean."""

    def test_empty(self) -> None:
        self.assertIsNone(targets(parsed(""), "ada@mx.test"))

    def test_as_it_is(self) -> None:
        map = parsed("Ada@MX.test", "@other.test", "ada@mx.test")
        for address in ("ada@mx.test", "ADA@mx.TEST", "ada+x@mx.test", "anybody@other.test"):
            self.assertEqual([], targets(map, address), address)
        for address in ("bob@mx.test", "ada@sub.mx.test", "x@elsewhere.test", '"ada@mx.test"@elsewhere.test'):
            self.assertIsNone(targets(map, address), address)

    def test_targets(self) -> None:
        """Parted by blanks, tabs or commas, in one line or in several, and each only once."""
        for lines in (
            ["o@mx.test a@x.test,b@x.test"],
            ["o@mx.test \t a@x.test b@x.test , "],
            ["o@mx.test a@x.test, b@x.test, A@X.TEST"],
            ["O@MX.test a@x.test", "o@mx.test b@x.test"],
        ):
            self.assertEqual(["a@x.test", "b@x.test"], targets(parsed(*lines), "o@mx.test"), lines)

    def test_targets_in_quotes(self) -> None:
        map = parsed('o@mx.test "a, l"@x.test, "b\\" c"@x.test')
        self.assertEqual(['"a, l"@x.test', '"b\\" c"@x.test'], targets(map, "o@mx.test"))

    def test_the_most_exact_line_counts_alone(self) -> None:
        map = parsed("@mx.test all@x.test", "ada@mx.test ada@x.test", "ada+lists@mx.test lists@x.test", "* rest@x.test")
        for address, target in {
            "ada@mx.test": "ada@x.test",
            "ada+x@mx.test": "ada@x.test",
            "ada+lists@mx.test": "lists@x.test",
            "bob@mx.test": "all@x.test",
            "bob@elsewhere.test": "rest@x.test",
        }.items():
            self.assertEqual([target], targets(map, address), address)

    def test_nested(self) -> None:
        map = parsed(
            "a@mx.test b@mx.test, c@mx.test", "b@mx.test d@mx.test e@x.test", "c@mx.test b@mx.test", "d@mx.test"
        )
        for address in ("a@mx.test", "b@mx.test", "c@mx.test"):
            self.assertEqual(["d@mx.test", "e@x.test"], targets(map, address), address)

    def test_nested_by_detail_and_domain(self) -> None:
        map = parsed("a@mx.test b+x@mx.test, z@lists.test", "b@mx.test c@x.test", "@lists.test d@x.test")
        self.assertEqual(["c@x.test", "d@x.test"], targets(map, "a@mx.test"))

    def test_a_copy(self) -> None:
        """What a line is for may be one of its targets: that is the mailbox itself."""
        map = parsed("bob@mx.test bob@mx.test, copies@x.test", "all@mx.test bob@mx.test", "@l.test list@l.test")
        self.assertEqual(["bob@mx.test", "copies@x.test"], targets(map, "bob@mx.test"))
        self.assertEqual(["bob@mx.test", "copies@x.test"], targets(map, "all@mx.test"))
        self.assertEqual(["list@l.test"], targets(map, "anybody@l.test"))

    def test_postmaster(self) -> None:
        map = parsed("ada@mx.test", "PostMaster ada@mx.test", "postmaster@other.test bob@x.test", "x@other.test")
        self.assertEqual((parse_mailbox("ada@mx.test"),), map.find(Mailbox("POSTMASTER", "")))
        self.assertEqual(["ada@mx.test"], targets(map, "Postmaster@mx.test"))
        self.assertEqual(["bob@x.test"], targets(map, "postmaster@other.test"))
        self.assertIsNone(targets(map, "postmaster@elsewhere.test"))
        self.assertIsNone(parsed("ada@mx.test", "* x@x.test").find(Mailbox("postmaster", "")))

    def test_bad_lines(self) -> None:
        for line, problem in (
            ("ada", "Mailbox has no domain"),
            (" ada@mx.test", "it begins with a blank"),
            ("ada@mx.test bob", "bob: Mailbox has no domain"),
            ("ada@mx.test b\x07@mx.test", "b\\x07@mx.test: Syntax: Local-part is malformed"),
            ("ada@mx.test ,", "not addresses, parted by blanks or commas, nor a verdict"),
            ('ada@mx.test "b@mx.test', "not addresses, parted by blanks or commas, nor a verdict"),
            ("ada@mx.test 550 4.1.1", "enhanced code 4.1.1 is not of the class of 550"),
            ("one@mx.test x@x.test", "another line says something else of one@mx.test"),
            ("ONE@mx.test reject", "another line says something else of one@mx.test"),
        ):
            error = self.assertRaises(BadLines, parsed, "one@mx.test", line)
            self.assertEqual({2: problem}, error.problems, line)
        self.assertRaises(BadLines, parsed, "a@mx.test reject", "a@mx.test defer")
        parsed("a@mx.test reject", "A@mx.test reject")

    def test_targets_that_lead_nowhere(self) -> None:
        for lines, problem in (
            (["a@mx.test b@mx.test"], "a@mx.test: no line is for its target b@mx.test"),
            (["a@mx.test b@mx.test", "b@mx.test reject"], "a@mx.test: its target b@mx.test is refused by another line"),
            (["* b@mx.test", "a@mx.test"], "*: no line is for its target b@mx.test"),
        ):
            self.assertEqual({1: problem}, self.assertRaises(BadLines, parsed, *lines).problems)
        parsed("a@mx.test postmaster@mx.test")

    def test_each_line_that_is_wrong(self) -> None:
        """Also where another alias leads there."""
        text = "\ufeff# who\n\none@mx.test two@mx.test\r\ntwo@mx.test no@mx.test\nall@mx.test *@x.test,not@mx.test\n"
        error = self.assertRaises(BadLines, parse_recipient_map, text.encode())
        said = {
            4: "two@mx.test: no line is for its target no@mx.test",
            5: "all@mx.test: no line is for its target not@mx.test",
        }
        self.assertEqual(said, error.problems)

    def test_aliases_that_go_round(self) -> None:
        lines = ("z@mx.test a@mx.test", "a@mx.test b@mx.test", "b@mx.test x@l.test", "@l.test a@mx.test")
        error = self.assertRaises(BadLines, parsed, *lines)
        said = "aliases go round: @l.test -> a@mx.test -> b@mx.test -> @l.test"
        self.assertEqual({2: said}, error.problems)

    def test_as_many_as_there_may_be(self) -> None:
        lines = [f"a@mx.test t{number}@x.test" for number in range(TARGETS)]
        self.assertEqual(TARGETS, len(targets(parsed(*lines), "a@mx.test") or ()))
        error = self.assertRaises(ValueError, parsed, *lines, "a@mx.test one@x.test")
        self.assertEqual(f"line 1: a@mx.test: more than {TARGETS} targets", str(error))
        self.assertRaises(ValueError, parsed, *lines, "b@mx.test a@mx.test, one@x.test")

    def test_growth_is_bounded(self) -> None:
        """Each alias of a file may name all that come behind it: the targets are still what there is."""
        count = 40
        lines = [
            f"a{number}@mx.test x@x.test " + " ".join(f"a{each}@mx.test" for each in range(number + 1, count))
            for number in range(count)
        ]
        self.assertEqual(["x@x.test"], targets(parsed(*lines), "a0@mx.test"))

    def test_too_deep(self) -> None:
        chain = [f"a{number}@mx.test a{number + 1}@mx.test" for number in range(2000)]
        error = self.assertRaises(ValueError, parsed, *chain, "a2000@mx.test")
        self.assertIn("line 1: a0@mx.test: more than 50 aliases, one behind the other; line 2: ", str(error))

    @given(st.dictionaries(st.integers(0, 5), st.lists(st.integers(0, 8), max_size=4)))
    def test_any_aliases(self, aliases: dict[int, list[int]]) -> None:
        """Each ends at mailboxes that are taken as they are, or the file is refused."""
        lines = [f"a{each}@mx.test " + ", ".join(f"a{to}@mx.test" for to in to_all) for each, to_all in aliases.items()]
        try:
            map = parsed(*lines)
        except ValueError:
            return
        for each, to_all in aliases.items():
            ends = targets(map, f"a{each}@mx.test")
            assert ends is not None
            self.assertEqual(bool(to_all), bool(ends))
            for end in ends:
                number = int(end[1:].partition("@")[0])
                self.assertTrue(aliases[number] == [] or number in aliases[number], (each, end))

    @given(st.binary() | st.text('ad@*+#", \t\n\\.[]1ü').map(str.encode))
    def test_anything(self, octets: bytes) -> None:
        """A file has a map, or it is refused."""
        try:
            map = parse_recipient_map(octets)
        except ValueError:
            return
        if b"*" not in octets and b"d" not in octets:
            self.assertIsNone(map.find(Mailbox("a", "d")))


class PolicyTests(SynchronousTestCase):
    """What clients are told, and who gets the mail."""

    def setUp(self) -> None:
        self.file = MapFile(self.mktemp(), MAP)
        self.memory = Memory()

    def policy(self, *, in_thread: Any = at_once, strict: bool = False) -> Recipients:
        return Recipients(self.file.path, strict=strict, seconds=self.file.clock.seconds, in_thread=in_thread)

    def connect(self, *, strict: bool = False, **settings: Any) -> Client:
        return begun(self.policy(strict=strict), **settings)

    def received(self, client: Client) -> list[str]:
        """Send the message; who it is for."""
        self.assertEqual(["354"], client.codes("DATA"))
        self.assertEqual(["250 2.0.0"], client.codes("Subject: x", "", "."))
        return [str(each.mailbox) for each in self.memory.messages[-1].envelope.recipients]

    def test_which_there_are(self) -> None:
        client = self.connect()
        for address, code in {
            "ada@mx.test": OK,
            "ADA+x@MX.test": OK,
            "office@mx.test": OK,
            "nobody@mx.test": UNKNOWN,
            "anybody@lists.test": OK,
            "anybody@other.test": OK,
            "anybody@elsewhere.test": OK,
            "anybody@sub.mx.test": OK,
            "postmaster@mx.test": OK,
            "eve@mx.test": UNKNOWN,
            "dan@mx.test": "452 4.2.2",
            "zoe@mx.test": "450 4.2.1",
        }.items():
            self.assertEqual([code], client.codes(f"RCPT TO:<{address}>"), address)
        self.assertEqual([OK], client.codes("RCPT TO:<Postmaster>"))

    def test_what_it_says(self) -> None:
        client = self.connect()
        self.assertEqual(
            [
                "550 5.1.1 No such mailbox here",
                "550 5.1.1 Eve has left us",
                "450 4.2.1 The mailbox takes no mail now; try again later",
            ],
            client.say("RCPT TO:<x@mx.test>", "RCPT TO:<eve+x@mx.test>", "RCPT TO:<zoe@mx.test>"),
        )

    def test_who_gets_the_mail(self) -> None:
        client = self.connect(delivery=self.memory)
        client.say("RCPT TO:<Office@MX.test>", "RCPT TO:<Ada+x@mx.test>", "RCPT TO:<x@lists.test>")
        office = ["ada@mx.test", "bob@mx.test", "archive@mx.test", "carl@elsewhere.test"]
        self.assertEqual([*office, "Ada+x@mx.test", "lists@lists.test"], self.received(client))

    def test_postmaster(self) -> None:
        client = self.connect(delivery=self.memory)
        client.say("RCPT TO:<postmaster>")
        self.assertEqual(["ada@mx.test"], self.received(client))
        self.file.change("ada@mx.test\n")
        client = self.connect(delivery=self.memory)
        self.assertEqual([OK, OK], client.codes("RCPT TO:<postmaster>", "RCPT TO:<postmaster@mx.test>"))

    def test_strict(self) -> None:
        client = self.connect(strict=True)
        addresses = ["x@elsewhere.test", "postmaster@elsewhere.test", "x@other.test", "postmaster@mx.test"]
        self.assertEqual([UNKNOWN, UNKNOWN, OK, OK], client.codes(*[f"RCPT TO:<{each}>" for each in addresses]))
        self.assertEqual([OK], client.codes("RCPT TO:<postmaster>"))

    def test_all_others(self) -> None:
        self.file.change("ada@mx.test\n* reject Ask ada@mx.test\n")
        client = self.connect()
        self.assertEqual(
            [OK, UNKNOWN, UNKNOWN, OK],
            client.codes(*[f"RCPT TO:<{each}>" for each in ("ada@mx.test", "x@mx.test", "x@y.test", "postmaster")]),
        )

    def test_relay_rule(self) -> None:
        """Aliases lead where clients may not send, and only by the file."""
        client = begun(RelayRule(["mx.test", "lists.test"]), self.policy(), delivery=self.memory)
        self.assertEqual(["550 5.7.1"], client.codes("RCPT TO:<carl@elsewhere.test>"))
        self.assertEqual([OK], client.codes("RCPT TO:<office@mx.test>"))
        self.assertIn("carl@elsewhere.test", self.received(client))

    def test_internationalized(self) -> None:
        self.file.change("jörg@bücher.test j@x.test\n")
        client = self.connect(delivery=self.memory)
        self.assertEqual([OK, UNKNOWN], client.codes("RCPT TO:<JÖRG@xn--bcher-kva.test>", "RCPT TO:<j@bücher.test>"))
        self.assertEqual(["j@x.test"], self.received(client))

    def test_an_alias_again_and_again(self) -> None:
        """A transaction has as many recipients as the server allows, or those of one alias."""
        self.file.change("all@mx.test " + ",".join(f"t{each}@x.test" for each in range(8)) + "\n")
        client = self.connect(delivery=self.memory, limits=Limits(recipients=20))
        codes = client.codes(*["RCPT TO:<all@mx.test>"] * 4)
        self.assertEqual([OK, OK, "452 4.5.3", "452 4.5.3"], codes)
        client = self.connect(delivery=self.memory, limits=Limits(recipients=5))
        self.assertEqual([OK, "452 4.5.3"], client.codes(*["RCPT TO:<all@mx.test>"] * 2))
        self.assertEqual(8, len(self.received(client)))

    def test_change(self) -> None:
        client = self.connect()
        self.assertEqual([UNKNOWN], client.codes("RCPT TO:<new@mx.test>"))
        self.file.change("new@mx.test\n")
        self.assertEqual([OK, UNKNOWN], client.codes("RCPT TO:<new@mx.test>", "RCPT TO:<ada@mx.test>"))
        with logged("twistsmtp.textfile") as events:
            self.file.change("a@mx.test b@mx.test\n")
            self.assertEqual([OK], client.codes("RCPT TO:<new@mx.test>"))
        self.assertEqual(
            ["line 1: a@mx.test: no line is for its target b@mx.test"], [each["problem"] for each in events]
        )

    def test_a_client_that_does_not_wait(self) -> None:
        threads = Threads()
        server = Server(self.memory, policies=[self.policy(in_thread=threads)])
        self.file.change("office@mx.test bob@x.test\n")
        client = server.connect().hello()
        self.assertEqual(["250 2.1.0"], client.codes("MAIL FROM:<>", "RCPT TO:<office@mx.test>"))
        client.vanish()
        threads.finish()
        self.assertEqual([], self.flushLoggedErrors())

    def test_by_name(self) -> None:
        policy = make_policy(f"recipients:{self.file.path}:strict=yes")
        assert isinstance(policy, Recipients)
        self.assertTrue(policy.strict)
        self.assertFalse(Recipients.from_options(str(self.file.path)).strict)
        error = self.assertRaises(ValueError, make_policy, f"recipients:{self.file.path}:strict=maybe")
        self.assertEqual("recipients: strict is yes or no, not 'maybe'", str(error))
        self.file.change("a@mx.test b@mx.test\n")
        error = self.assertRaises(ValueError, make_policy, f"recipients:{self.file.path}")
        self.assertEqual(
            f"recipients: {self.file.path}: line 1: a@mx.test: no line is for its target b@mx.test", str(error)
        )
