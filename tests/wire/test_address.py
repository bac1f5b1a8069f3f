"""Tests of twistsmtp.wire.address."""

import copy
import dataclasses
import pickle

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire import strategies
from twistsmtp.wire.abnf import CONTROL, GrammarError
from twistsmtp.wire.address import Mailbox, PathLimits, parse_mailbox

VAST = PathLimits(1 << 20, 1 << 20, 1 << 20)


class MailboxTests(SynchronousTestCase):
    def test_it_is_a_frozen_value(self) -> None:
        mailbox = Mailbox("a", "b")
        self.assertEqual(mailbox, Mailbox(local="a", domain="b"))
        self.assertEqual(hash(mailbox), hash(Mailbox("a", "b")))
        self.assertNotEqual(mailbox, Mailbox("A", "b"))
        self.assertRaises(dataclasses.FrozenInstanceError, setattr, mailbox, "local", "c")
        self.assertFalse(hasattr(mailbox, "__dict__"))

    def test_it_can_be_copied(self) -> None:
        mailbox = Mailbox("a", "b")
        for again in (copy.copy(mailbox), pickle.loads(pickle.dumps(mailbox)), dataclasses.replace(mailbox)):
            self.assertEqual(again, mailbox)
        self.assertEqual(dataclasses.replace(mailbox, domain="c"), Mailbox("a", "c"))

    def test_its_repr_escapes_what_controls(self) -> None:
        self.assertEqual(repr(Mailbox("a\r\n\u202e", "b")), "Mailbox(local='a\\r\\n\\u202e', domain='b')")

    def test_rfc5321_4_1_2_on_the_wire(self) -> None:
        """RFC 5321 section 4.1.2: the form with the least quoting."""
        for mailbox, wire in {
            Mailbox("a.b", "C.example"): "a.b@C.example",
            Mailbox("Joe,Smith", "c"): '"Joe,Smith"@c',
            Mailbox('a"b\\c', "d"): r'"a\"b\\c"@d',
            Mailbox("", "c"): '""@c',
            Mailbox("a..b", "c"): '"a..b"@c',
            Mailbox(".a", "c"): '".a"@c',
            Mailbox("a@b", "c"): '"a@b"@c',
            Mailbox("j\u00f6rg", "b\u00fccher.example"): "j\u00f6rg@b\u00fccher.example",
            Mailbox("Postmaster", ""): "Postmaster",
        }.items():
            self.assertEqual(str(mailbox), wire)

    def test_host(self) -> None:
        for domain, host in {
            "Example.COM": "example.com",
            "B\u00dcCHER.Example": "xn--bcher-kva.example",
            "xn--BCHER-kva.Example": "xn--bcher-kva.example",
            "\uff45xample.com": "example.com",
            "a_b.b\u00fccher": "a_b.xn--bcher-kva",
            "[127.0.0.1]": "[127.0.0.1]",
            "[127.000.000.001]": "[127.0.0.1]",
            "[IPV6:2001:0DB8::0001]": "[ipv6:2001:db8::1]",
            "[X-Tag:ABC]": "[x-tag:abc]",
            "": "",
        }.items():
            self.assertEqual(Mailbox("a", domain).host, host)

    @given(strategies.anything)
    def test_host_raises_nothing(self, domain: str) -> None:
        self.assertIsInstance(Mailbox("a", domain).host, str)

    @given(strategies.mailboxes)
    def test_host_is_the_same_in_any_case(self, mailbox: Mailbox) -> None:
        self.assertTrue(mailbox.host.isascii())
        self.assertEqual(Mailbox("a", mailbox.host).host, mailbox.host)
        if mailbox.domain.isascii():
            self.assertEqual(Mailbox("a", mailbox.domain.swapcase()).host, mailbox.host)

    def test_kinds(self) -> None:
        self.assertTrue(Mailbox("a", "b").is_ascii)
        self.assertFalse(Mailbox("\u00e4", "b").is_ascii)
        self.assertFalse(Mailbox("a", "\u00e4").is_ascii)
        self.assertTrue(Mailbox("a", "[127.0.0.1]").is_literal)
        self.assertFalse(Mailbox("a", "b").is_literal)


class PathLimitsTests(SynchronousTestCase):
    def test_rfc5321_4_5_3_1_1_the_defaults_are_the_rfcs(self) -> None:
        """RFC 5321 sections 4.5.3.1.1 to 4.5.3.1.3."""
        self.assertEqual(PathLimits(), PathLimits(local_part=64, domain=255, path=256))

    def test_none_can_be_turned_off(self) -> None:
        for name in ("local_part", "domain", "path"):
            for value in (0, -1):
                error = self.assertRaises(ValueError, PathLimits, **{name: value})
                self.assertIn(name, str(error))


class ParseMailboxTests(SynchronousTestCase):
    def assert_refused(self, text: str, production: str, code: int, limits: PathLimits = VAST) -> None:
        error = self.assertRaises(GrammarError, parse_mailbox, text, limits)
        self.assertEqual((error.production, error.code, error.enhanced), (production, code, "5.1.3"), text)
        self.assertIn(production, error.text)
        self.assertTrue(error.text.isascii() and error.text.isprintable())

    def test_rfc5321_4_1_2_examples(self) -> None:
        """RFC 5321 sections 4.1.2 and 4.1.3, RFC 6531 section 3.3."""
        for text, mailbox in {
            "Smith@bar.com": Mailbox("Smith", "bar.com"),
            r'"Joe\,Smith"@a.example': Mailbox("Joe,Smith", "a.example"),
            r'"a\"b"@c': Mailbox('a"b', "c"),
            '""@c': Mailbox("", "c"),
            '"a@b>"@c': Mailbox("a@b>", "c"),
            '" "@c': Mailbox(" ", "c"),
            "!#$%&'*+-/=?^_`{|}~@c": Mailbox("!#$%&'*+-/=?^_`{|}~", "c"),
            "a@[123.255.37.2]": Mailbox("a", "[123.255.37.2]"),
            "a@[IPv6:::1]": Mailbox("a", "[IPv6:::1]"),
            "a@[ipV6:1:2:3:4:5:6:7:8]": Mailbox("a", "[ipV6:1:2:3:4:5:6:7:8]"),
            "a@[IPv6:1:2:3:4:5:6:1.2.3.4]": Mailbox("a", "[IPv6:1:2:3:4:5:6:1.2.3.4]"),
            "a@[IPv6:::ffff:1.2.3.4]": Mailbox("a", "[IPv6:::ffff:1.2.3.4]"),
            "a@[X-tag:@,<>!]": Mailbox("a", "[X-tag:@,<>!]"),
            "a@my_host": Mailbox("a", "my_host"),
            "a@1.2.3.4": Mailbox("a", "1.2.3.4"),
            "a@xn--bcher-kva.example": Mailbox("a", "xn--bcher-kva.example"),
            "\u7528\u6237@\u4f8b\u3048.example": Mailbox("\u7528\u6237", "\u4f8b\u3048.example"),
            '"\u7528 \u6237"@c': Mailbox("\u7528 \u6237", "c"),
        }.items():
            self.assertEqual(parse_mailbox(text), mailbox)

    def test_bad_local_parts(self) -> None:
        for local in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            " a",
            "a\\b",
            r"a\@b",
            'a"b"',
            '"a"b',
            '"a',
            'a."b"',
            "a,b",
        ]:
            self.assert_refused(f"{local}@c", "Local-part", 501)
        for character in "\x00\t\r\n\x7f\x80\x85\x9f\u2028\u2029\u202e\u2066\ud800":
            for local in (character, f"a{character}", f'"{character}"', f'"\\{character}"'):
                self.assert_refused(f"{local}@c", "Local-part", 501)

    def test_rfc6531_3_3_quoted_pair_is_ascii(self) -> None:
        """RFC 6531 section 3.3 adds to qtextSMTP and leaves quoted-pairSMTP."""
        self.assert_refused('"\\\u00fc"@c', "Local-part", 501)

    def test_bad_domains(self) -> None:
        for domain in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "-a",
            "a-",
            "a-.b",
            "a.-b",
            "a@b",
            "a>",
            "a\x00",
            "a\n",
            "a/b",
        ]:
            self.assert_refused(f"a@{domain}", "Domain", 501)
        for domain in [
            "\ud800",
            "b\u00fccher\x85",
            "b\u00fccher.",
            ".b\u00fccher",
            "b\u00fccher..a",
            "\u202eb\u00fccher",
        ]:
            self.assert_refused(f"a@{domain}", "Domain", 501)

    def test_rfc6531_3_3_bad_u_labels(self) -> None:
        """RFC 6531 section 3.3: a label beyond ASCII conforms with IDNA, or the mailbox cannot be."""
        for label in (
            "\u2603",  # a symbol, which IDNA 2008 does not allow
            "\u00ad",  # nothing is left of a soft hyphen
            "a\uff20b",  # a full-width "@"
            "a\u3002b",  # an ideographic full stop is no "." here
            "-\u00fc",
            "\u00fc_",
            "\u0301a",  # begins with a combining mark
            "\u05d0a",  # right to left, and ends left to right
        ):
            self.assert_refused(f"a@{label}.example", "Domain", 553)

    def test_bad_literals(self) -> None:
        for literal, production in {
            "[]": "address-literal",
            "[1.2.3.4": "address-literal",
            "[1.2.3 .4]": "address-literal",
            "[x:\u00fc]": "address-literal",
            "[x:\\]": "address-literal",
            "[1.2.3]": "IPv4-address-literal",
            "[1.2.3.4.5]": "IPv4-address-literal",
            "[1.2.3.256]": "IPv4-address-literal",
            "[1.2.3.0x1]": "IPv4-address-literal",
            "[1.2.3.]": "IPv4-address-literal",
            "[host]": "IPv4-address-literal",
            "[IPv6:]": "IPv6-address-literal",
            "[IPv6:1.2.3.4]": "IPv6-address-literal",
            "[IPv6:1:2:3]": "IPv6-address-literal",
            "[ipv6:1::2::3]": "IPv6-address-literal",
            "[IPv6:fe80::1%eth0]": "IPv6-address-literal",
            "[IPv6:12345::]": "IPv6-address-literal",
            "[IPv6:::1.2.3.256]": "IPv6-address-literal",
            "[IPv6 :::1]": "address-literal",
            "[::1]": "General-address-literal",
            "[a-:b]": "General-address-literal",
            "[a:]": "General-address-literal",
        }.items():
            self.assert_refused(f"a@{literal}", production, 501)
        self.assert_refused("a@[1.2.3.4]x", "Domain", 501)

    def test_a_domain_is_required(self) -> None:
        for text in ("a", "postmaster", '"a b"', "\u00fc"):
            self.assert_refused(text, "Mailbox", 553)

    def test_rfc5321_4_5_3_1_1_limits(self) -> None:
        """RFC 5321 sections 4.5.3.1.1 and 4.5.3.1.2; octets are counted, not characters."""
        self.assertEqual(parse_mailbox("a" * 64 + "@b").local, "a" * 64)
        self.assert_refused("a" * 65 + "@b", "Local-part", 553, PathLimits())
        self.assertEqual(parse_mailbox("\u00fc" * 32 + "@b").local, "\u00fc" * 32)
        self.assert_refused("\u00fc" * 33 + "@b", "Local-part", 553, PathLimits())
        self.assert_refused('"' + "a" * 63 + '"@b', "Local-part", 553, PathLimits())
        domain = ".".join(["a" * 63] * 4)
        self.assertEqual(parse_mailbox(f"a@{domain}").domain, domain)
        self.assert_refused(f"a@a.{domain}", "Domain", 553, PathLimits())
        self.assert_refused(f"a@[x:{'y' * 252}]", "address-literal", 553, PathLimits())
        self.assertEqual(parse_mailbox("aa@bb", PathLimits(2, 2, 8)), Mailbox("aa", "bb"))
        self.assert_refused("aaa@bb", "Local-part", 553, PathLimits(2, 2, 8))
        self.assert_refused("aa@bbb", "Domain", 553, PathLimits(2, 2, 8))

    def test_rfc1035_2_3_4_labels_have_63_octets(self) -> None:
        """RFC 1035 section 2.3.4, whatever the limits are; of a U-label what DNS has of it counts."""
        for label in ("a" * 64, "a" * 63 + "\u00fc"):
            self.assert_refused(f"a@{label}.example", "Domain", 553)
        self.assert_refused("a@" + "\u00fc" + "a" * 60, "Domain", 553)

    def test_a_domain_is_as_long_as_its_a_labels(self) -> None:
        domain = ".".join(["\u00fc"] * 50)
        self.assertEqual(len(domain.encode()), 149)
        self.assert_refused(f"a@{domain}", "Domain", 553, PathLimits())
        self.assertEqual(parse_mailbox(f"a@{domain}", PathLimits(domain=1000)).host, ".".join(["xn--tda"] * 50))

    @given(strategies.mailboxes)
    def test_mailboxes_round_trip(self, mailbox: Mailbox) -> None:
        self.assertEqual(parse_mailbox(str(mailbox)), mailbox)

    @given(strategies.quoted_strings)
    def test_quoted_strings_are_what_they_mean(self, quoted: tuple[str, str]) -> None:
        sent, meant = quoted
        mailbox = parse_mailbox(f"{sent}@c")
        self.assertEqual(mailbox, Mailbox(meant, "c"))
        self.assertLessEqual(len(str(mailbox)), len(f"{sent}@c"))
        self.assertEqual(parse_mailbox(str(mailbox)), mailbox)

    @given(strategies.anything)
    def test_nothing_but_a_grammar_error_is_raised(self, text: str) -> None:
        try:
            mailbox = parse_mailbox(text)
        except GrammarError as error:
            self.assertIn(error.code, (501, 553))
        else:
            self.assertIsNone(CONTROL.search(str(mailbox)))
            self.assertTrue(mailbox.host.isascii())
            self.assertEqual(parse_mailbox(str(mailbox)), mailbox)

    @given(st.text(min_size=1, max_size=8), strategies.domains)
    def test_beyond_ascii_a_domain_is_idna_or_refused(self, label: str, domain: str) -> None:
        assume(not label.isascii())
        try:
            mailbox = parse_mailbox(f"a@{label}.{domain}")
        except GrammarError:
            return
        self.assertRegex(mailbox.host, r"\A[a-z0-9_.-]+\Z")

    def test_hostile_length(self) -> None:
        size = 100_000
        for text in (
            "a" * size,
            "a." * size + "@",
            "a@" + "a" * size,
            "a@" + "a-" * size,
            "a@" + "a." * size,
            "a@" + "\u00fc." * size,
            "a@" + "\u00fc" * size,
            "a@" + "a\u3002" * size,
            '"' + "a" * size,
            '"' + "\\" * size,
            '"' + "\\\\" * size + "\\",
            '"' + '\\"' * size,
            "a@[" + "1." * size + "]",
            "a@[" + "1" * size + "]",
            "a@[IPv6:" + ":" * size + "]",
            "a@[IPv6:" + "1:" * size + "]",
            "a@[" + "a-" * size + ":]",
            "a@[" + "-" * size + "]",
            "a@[x:" + "y" * size,
            "@" * size,
        ):
            for limits in (PathLimits(), VAST):
                self.assertRaises(GrammarError, parse_mailbox, text, limits)
