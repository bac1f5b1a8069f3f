"""Maps of addresses: which line is for whom, and verdicts."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.policy.maps import MapFile
from tests.support import logged
from tests.test_textfile import at_once
from twistsmtp.addresskeys import EVERYWHERE, address_key
from twistsmtp.policy.addresses import (
    AddressMap,
    MapPolicy,
    Verdict,
    parse_key,
    parse_verdict,
    shown_key,
    split_line,
)
from twistsmtp.wire.grammar import Mailbox, parse_mailbox
from twistsmtp.wire.reply import Reply

REJECTED, DEFERRED = Reply(550, "5.1.1", "No"), Reply(450, "4.2.1", "Not now")


class KeyTests(SynchronousTestCase):
    def test_parse(self) -> None:
        self.assertEqual(EVERYWHERE, parse_key("*"))
        self.assertEqual((None, "mx.test"), parse_key("@MX.test"))
        self.assertEqual(("ada l", "mx.test"), parse_key('"Ada L"@mx.test'))
        for text in ("", "ada", "@", "@a@b", "ada@", "a b@c", "**"):
            self.assertRaises(ValueError, parse_key, text)

    @given(st.emails())
    def test_shown_as_it_is_read(self, address: str) -> None:
        local, _, domain = address.rpartition("@")
        mailbox = Mailbox(local, domain)
        for key in (address_key(mailbox), (None, mailbox.host), EVERYWHERE):
            self.assertEqual(key, parse_key(shown_key(key)))

    def test_split_line(self) -> None:
        for line, split in {
            "ada@mx.test": ("ada@mx.test", ""),
            "ada@mx.test \t x  y \r": ("ada@mx.test", "x  y"),
            '"ada l"@mx.test x': ('"ada l"@mx.test', "x"),
            '"a\\" b"@mx.test x': ('"a\\" b"@mx.test', "x"),
            '"ada l@mx.test x': ('"ada', "l@mx.test x"),
        }.items():
            self.assertEqual(split, split_line(line), line)
        self.assertRaises(ValueError, split_line, " ada@mx.test")

    def test_map(self) -> None:
        map = AddressMap({("ada", "a.test"): 1, (None, "a.test"): 2, ("x", ""): 3, EVERYWHERE: 4})
        found = [map.find(parse_mailbox(each)) for each in ("ada@a.test", "ada+x@a.test", "bob@A.test", "ada@b.test")]
        self.assertEqual([1, 1, 2, None], found)
        self.assertEqual((4, {"a.test"}), (map.others, map.hosts))
        self.assertIsNone(AddressMap[int]({}).others)


class VerdictTests(SynchronousTestCase):
    def said(self, text: str) -> str:
        verdict = parse_verdict(text)
        assert verdict is not None
        return str(verdict.reply(REJECTED, DEFERRED))

    def test_what_it_says(self) -> None:
        for text, said in {
            "reject": "550 5.1.1 No",
            "REJECT": "550 5.1.1 No",
            "reject Go  away": "550 5.1.1 Go  away",
            "defer": "450 4.2.1 Not now",
            "defer\tLater": "450 4.2.1 Later",
            "554": "554 5.1.1 No",
            "554 Never": "554 5.1.1 Never",
            "554 5.7.1": "554 5.7.1 No",
            "554 5.7.1 Never": "554 5.7.1 Never",
            "421 4.3.2 5.7.1": "421 4.3.2 5.7.1",
            "550 5.1 x": "550 5.1.1 5.1 x",
        }.items():
            self.assertEqual(said, self.said(text), text)

    def test_the_catalogue_s_own(self) -> None:
        """The very reply, as some are known by what they are."""
        self.assertIs(REJECTED, Verdict(False).reply(REJECTED, DEFERRED))
        self.assertIs(DEFERRED, Verdict(True).reply(REJECTED, DEFERRED))

    def test_what_is_none(self) -> None:
        for text in ("", "rejected", "ok", "ada@mx.test", "250 OK", "5500", "550x", "reject@mx.test", "600 x"):
            self.assertIsNone(parse_verdict(text), text)

    def test_codes_that_do_not_fit(self) -> None:
        for text in ("550 4.1.1 x", "450 5.1.1", "550 2.0.0 OK"):
            self.assertRaises(ValueError, parse_verdict, text)

    @given(st.text())
    def test_nothing_is_said_that_could_be_a_reply_by_itself(self, text: str) -> None:
        reply = self.said(f"reject {text}")
        self.assertTrue(reply.startswith("550 5.1.1 "))
        verdict = parse_verdict(f"reject {text}")
        assert verdict is not None
        octets = verdict.reply(REJECTED, DEFERRED).octets
        lines = octets.split(b"\r\n")
        self.assertEqual(b"", lines.pop())
        self.assertEqual({b"550"}, {line[:3] for line in lines})


class MapPolicyTests(SynchronousTestCase):
    def test_reload(self) -> None:
        """The operator's word that files have changed: what is wrong is in the log before mail comes."""

        def parse(octets: bytes) -> str:
            if octets == b"bad":
                raise ValueError("a mistake")
            return octets.decode()

        file = MapFile(self.mktemp(), "one")
        policy = MapPolicy(file.path, parse, seconds=file.clock.seconds, in_thread=at_once)
        file.change("two")
        policy.reload()
        self.assertEqual("two", policy._file.content)
        file.path.write_text("now")  # and nobody would look at it for a second yet
        policy.reload()
        self.assertEqual("now", policy._file.content)
        file.clock.advance(1)
        file.change("bad")
        with logged("twistsmtp.textfile") as events:
            policy.reload()
        self.assertEqual(["a mistake"], [event["problem"] for event in events])
        self.assertEqual("now", policy._file.current())
