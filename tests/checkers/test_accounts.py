"""The accounts in a file."""

import sys

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.checkers.kit import MADE, PASSWORD, SCRAM_1, SCRAM_256, SHA1, need
from twistsmtp.checkers.accounts import Accounts, parse_accounts, prepared_name
from twistsmtp.textfile import BadLines


def parse(*lines: str) -> Accounts:
    return parse_accounts("\n".join(lines).encode())


class ParseTests(SynchronousTestCase):
    def problems(self, *lines: str) -> dict[int, str]:
        problems: dict[int, str] = self.assertRaises(BadLines, parse, *lines).problems
        return problems

    def test_lines(self) -> None:
        """Comments and empty lines say nothing, and CRLF ends a line as well."""
        accounts = parse("# ada:", "", f"ada:{SHA1}", "  ", f"bob:{SCRAM_256}\r", f" carol:{SHA1}", f" #eve:{SHA1}", "")
        self.assertEqual(["ada", "bob", " carol"], [each.name for each in accounts])
        self.assertEqual(3, len(accounts))

    def test_empty(self) -> None:
        self.assertEqual(0, len(parse_accounts(b"")))

    def test_fields(self) -> None:
        """Fields behind the hash are not looked at, whatever form it has."""
        postgresql = MADE["create role ... password (PostgreSQL)"][1]
        accounts = parse(f"ada:{SHA1}:1000:1000::/home/ada::userdb_mail=maildir", f"bob:{postgresql}:x:y")
        self.assertEqual([["sha1"], ["scram-sha-256"]], [[v.scheme for v in each.verifiers] for each in accounts])

    def test_several(self) -> None:
        """A user has one line for each scheme."""
        [ada] = parse(f"ada:{SCRAM_256}", f"ada:{SCRAM_1}", f"ada:{SHA1}")
        self.assertEqual(["scram-sha-256", "scram-sha-1", "sha1"], [each.scheme for each in ada.verifiers])
        self.assertEqual({3: "a second sha1 hash of one user"}, self.problems(f"ada:{SHA1}", "", f"ada:{SHA1}"))

    def test_bad_lines(self) -> None:
        """They are named by their numbers, and nothing of them is shown."""
        problems = self.problems(
            "hunter2", "ada:hunter2", f"ada:{SHA1}", ":hunter2", "bob:{PLAIN}hunter2", "\x07:hunter2"
        )
        self.assertEqual([1, 2, 4, 5, 6], list(problems))
        self.assertNotIn("hunter2", str(problems))
        text = str(self.assertRaises(BadLines, parse, *["hunter2"] * 9))
        self.assertTrue(text.startswith("line 1: no user's name with a colon behind it; line 2: "), text)
        self.assertTrue(text.endswith("; and 4 more"), text)

    def test_not_utf8(self) -> None:
        error = self.assertRaises(BadLines, parse_accounts, b"\xe9:{SHA}x")
        self.assertEqual("line 1: not UTF-8", str(error))
        self.assertIsNone(error.__cause__)

    def test_missing_library(self) -> None:
        self.patch(sys, "modules", {**sys.modules, "bcrypt": None})
        self.assertIn("twistsmtp[bcrypt]", self.problems(f"ada:{MADE['htpasswd -nbB -C 5'][1]}")[1])

    @given(st.binary(max_size=80))
    def test_anything(self, octets: bytes) -> None:
        """No content does worse than have bad lines."""
        try:
            accounts = parse_accounts(octets)
        except BadLines as error:
            self.assertTrue(error.problems)
        else:
            self.assertLessEqual(len(accounts), octets.count(b"\n") + 1)


class AccountTests(SynchronousTestCase):
    def test_password(self) -> None:
        """It is checked against the first hash of passwords, wherever SCRAM keys stand."""
        need("bcrypt")
        other = "$2y$04$KvlhbKxZfRqnOevBIpQdOusq8IuAuzfoMxWRnGoi4UtoIm.907xWW"
        [ada] = parse(f"ada:{SCRAM_256}", f"ada:{other}", f"ada:{SHA1}")
        self.assertTrue(ada.verify("pässwörd"))
        self.assertFalse(ada.verify(PASSWORD))

    def test_password_by_scram(self) -> None:
        """SCRAM keys do where there is no other hash."""
        [ada] = parse(f"ada:{SCRAM_1}")
        self.assertTrue(ada.verify(PASSWORD))
        self.assertFalse(ada.verify(PASSWORD + " "))

    def test_keys(self) -> None:
        [ada] = parse(f"ada:{SCRAM_1}", f"ada:{SHA1}")
        self.assertIsNone(ada.keys("sha-256"))
        keys = ada.keys("sha-1")
        self.assertEqual((4096, 20), keys and (keys.iterations, len(keys.stored_key)))

    def test_repr(self) -> None:
        [ada] = parse(f"ada:{SCRAM_1}", f"ada:{SHA1}")
        self.assertEqual("Account(name='ada')", repr(ada))


class AccountsTests(SynchronousTestCase):
    def test_find(self) -> None:
        """Names are compared by SASLprep, and in their case."""
        accounts = parse(f"Ame\u0301lie:{SHA1}", f"ada:{SHA1}")
        for name in ("Am\u00e9lie", "Ame\u0301lie", "Am\u00ad\u00e9lie"):
            account = accounts.find(name)
            self.assertEqual("Am\u00e9lie", account and account.name)
        for name in ("", "am\u00e9lie", "Ada", "ada ", "ada\0", "a\u202eda", "\ud800"):
            self.assertIsNone(accounts.find(name), name)

    def test_stand_in(self) -> None:
        """One account stands in for one unknown user, and each of them for some."""
        self.assertIsNone(parse("#").stand_in("ada"))
        accounts = parse(*[f"user{number}:{SHA1}" for number in range(3)])
        chosen = {name: accounts.stand_in(name) for name in map(str, range(200))}
        self.assertEqual(set(accounts), set(chosen.values()))
        for name, account in chosen.items():
            self.assertIs(account, accounts.stand_in(name))

    def test_decoy(self) -> None:
        """It looks as keys of real users do, and does not change."""
        accounts = parse(f"ada:{SCRAM_256}", f"bob:{SCRAM_1.replace('4096', '5000')}", f"carol:{SHA1}")
        decoy = accounts.decoy("eve", "sha-256")
        self.assertEqual((4096, 16, 32), (decoy.iterations, len(decoy.salt), len(decoy.stored_key)))
        self.assertEqual(decoy, accounts.decoy("eve", "sha-256"))
        self.assertNotEqual(decoy.salt, accounts.decoy("mallory", "sha-256").salt)
        self.assertEqual(5000, accounts.decoy("eve", "sha-1").iterations)
        self.assertEqual(15000, parse("#").decoy("eve", "sha-1").iterations)

    def test_digests(self) -> None:
        both = parse(f"ada:{SCRAM_256}", f"ada:{SCRAM_1}", f"bob:{SCRAM_256}")
        self.assertEqual(({"sha-256", "sha-1"}, {"sha-256"}), (both.digests, both.common_digests))
        mixed = parse(f"ada:{SCRAM_256}", f"bob:{SHA1}")
        self.assertEqual(({"sha-256"}, set()), (mixed.digests, mixed.common_digests))
        self.assertEqual((set(), set()), (Accounts().digests, Accounts().common_digests))


class NameTests(SynchronousTestCase):
    @given(st.text(max_size=20))
    def test_stable(self, text: str) -> None:
        """A prepared name is prepared to itself."""
        name = prepared_name(text)
        if name is not None:
            self.assertEqual(name, prepared_name(name))

    def test_length(self) -> None:
        self.assertEqual("é" * 512, prepared_name("é" * 512))
        self.assertIsNone(prepared_name("é" * 512 + "a"))
