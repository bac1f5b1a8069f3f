"""Logins by a file of accounts."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from tests.checkers.accounts import FileCase, Proof, ProofOfKeys, login
from tests.checkers.kit import MADE, NEEDS, PASSWORD, SCRAM_1, SCRAM_256, SHA1, Log, Threads, need, refused
from twistsmtp.checkers import hashes
from twistsmtp.checkers.accounts import Accounts
from twistsmtp.checkers.errors import Unavailable
from twistsmtp.checkers.hashes import parse_hash
from twistsmtp.checkers.passwd_file import PasswdFile
from twistsmtp.checkers.scram import IScramStore, ScramVerifier
from twistsmtp.checkers.together import by_interface
from twistsmtp.sasl.credentials import IScramChecker, IScramProof, ScramKeys


class PasswordTests(FileCase):
    def test_interface(self) -> None:
        checker = self.checker(f"ada:{SHA1}")
        verifyObject(IScramStore, checker)
        self.assertTrue(IScramChecker.providedBy(checker))

    def test_accepts(self) -> None:
        """The avatar identifier is the name, as octets."""
        checker = self.checker(f"ada:{SHA1}", f"bob:{SCRAM_1}")
        self.assertEqual(b"ada", self.accepts(checker, login("ada")))
        self.assertEqual(b"bob", self.accepts(checker, login("bob")))

    def test_every_scheme(self) -> None:
        """All hashes that other programs made, in one file."""
        need(*NEEDS.values())
        checker = self.checker(*[f"user{number}:{text}" for number, (_, text) in enumerate(MADE.values())])
        for number in range(len(MADE)):
            name = f"user{number}"
            self.assertEqual(name.encode(), self.accepts(checker, login(name)))
            self.refuses(checker, login(name, "wrong"))

    def test_prepared(self) -> None:
        """Name and password are prepared; the identifier is the account's own name."""
        checker = self.checker(f"Am\u00e9lie:{SHA1}")
        self.assertEqual("Am\u00e9lie".encode(), self.accepts(checker, login("Ame\u0301lie", PASSWORD + "\u00ad")))

    def test_refuses(self) -> None:
        checker = self.checker(f"ada:{SHA1}")
        for name, password in (
            ("ada", "wrong"),
            ("ada", ""),
            ("ada", PASSWORD + "\0"),
            ("ada", b"\xff"),
            ("ada", "x" * 1025),
            ("ada", "\u202e"),
            ("", PASSWORD),
            ("Ada", PASSWORD),
            ("bob", PASSWORD),
            ("ada\0", PASSWORD),
            (b"\xff", PASSWORD),
            ("x" * 1025, PASSWORD),
        ):
            self.refuses(checker, login(name, password))

    def test_empty_file(self) -> None:
        """Nobody is let in by a file that has nobody."""
        checker = self.checker("# nobody yet", in_thread=Threads())
        self.refuses(checker, login("ada"))

    def test_portal(self) -> None:
        """A portal of `twisted.cred` takes it."""
        realm = mock.Mock()
        realm.requestAvatar.side_effect = lambda avatar_id, mind, interface: (interface, avatar_id, None)
        portal = Portal(realm, [self.checker(f"ada:{SHA1}")])
        interface: Any = object()
        self.assertEqual((interface, b"ada", None), self.successResultOf(portal.login(login("ada"), None, interface)))
        self.failureResultOf(portal.login(login("ada", "wrong"), None, interface), UnauthorizedLogin)

    def test_bad_option(self) -> None:
        self.assertIn("'maybe'", str(self.assertRaises(ValueError, self.checker, scram="maybe")))


class SameForUnknownTests(FileCase):
    """A user that there is not is as much work as one that there is."""

    def work(self, name: str, password: str = "wrong") -> list[tuple[str, str]]:
        """What is computed for a login: schemes and hashes."""
        asked: list[tuple[str, str]] = []
        real = hashes.PasswordHash.verify

        def verify(hashed: hashes.PasswordHash, given: str) -> bool:
            asked.append((hashed.scheme, given))
            return real(hashed, given)

        with mock.patch.object(hashes.PasswordHash, "verify", verify):
            self.refuses(self.passwd, login(name, password))
        return asked

    def test_password(self) -> None:
        self.passwd = self.checker(f"ada:{SHA1}", f"ada:{SCRAM_1}")
        self.assertEqual([("sha1", "wrong")], self.work("ada"))
        for name in ("bob", "", "\u202e", "Ada"):
            self.assertEqual([("sha1", "wrong")], self.work(name))

    def test_right_password_of_another(self) -> None:
        """The account that stands in lets nobody in."""
        self.passwd = self.checker(f"ada:{SHA1}")
        self.assertEqual([("sha1", PASSWORD)], self.work("bob", PASSWORD))

    def test_kinds(self) -> None:
        """Where hashes are of two kinds, unknown users are spread over both."""
        need("bcrypt")
        quick = "$2y$04$KvlhbKxZfRqnOevBIpQdOusq8IuAuzfoMxWRnGoi4UtoIm.907xWW"
        self.passwd = self.checker(f"ada:{SHA1}", f"bob:{quick}")
        kinds = {self.work(name)[0][0] for name in map(str, range(40))}
        self.assertEqual({"sha1", "bcrypt"}, kinds)

    def test_same_thread(self) -> None:
        """It is done in a thread, for both."""
        threads = Threads()
        checker = self.checker(f"ada:{SHA1}", in_thread=threads)
        for name in ("ada", "bob"):
            answer = checker.requestAvatarId(login(name, "wrong"))
            self.assertNoResult(answer)
            threads.run()
            self.failureResultOf(answer, UnauthorizedLogin)
        self.assertEqual(2, threads.calls)

    def test_keys(self) -> None:
        """Keys that are not real are made for everybody: the challenge that has the salt goes out at once."""
        checker = self.checker(f"ada:{SCRAM_256}")
        with mock.patch.object(Accounts, "decoy", autospec=True, side_effect=Accounts.decoy) as made:
            for number, name in enumerate(("ada", "bob"), 1):
                self.successResultOf(Deferred.fromCoroutine(checker.scram_keys(name, "sha-256")))
                self.refuses(checker, Proof(name, password="wrong"))
                self.assertEqual(2 * number, made.call_count)

    def test_at_once(self) -> None:
        """No more are computed at once than four, and no more wait than there is room for."""
        threads = Threads()
        checker = self.checker(f"ada:{SHA1}", in_thread=threads)
        answers = [checker.requestAvatarId(login("ada")) for _ in range(4 + 256)]
        self.assertEqual(4, len(threads.begun))
        self.failureResultOf(checker.requestAvatarId(login("ada")), Unavailable)
        while threads.begun:
            threads.run()
        self.assertEqual({b"ada"}, {self.successResultOf(each) for each in answers})


class ScramTests(FileCase):
    def keys(self, checker: PasswdFile, name: str, digest: str) -> ScramKeys:
        keys = self.successResultOf(Deferred.fromCoroutine(checker.scram_keys(name, digest)))
        assert isinstance(keys, ScramKeys)
        return keys

    def test_proof(self) -> None:
        checker = self.checker(f"ada:{SCRAM_256}", f"ada:{SCRAM_1}")
        for digest in ("sha-1", "sha-256"):
            self.assertEqual(b"ada", self.accepts(checker, Proof("ada", digest)))
            self.refuses(checker, Proof("ada", digest, "wrong"))
            self.refuses(checker, Proof("bob", digest))

    def test_keys(self) -> None:
        """Whoever there is not has keys too, with which nothing can be proved."""
        checker = self.checker(f"ada:{SCRAM_256}", f"bob:{SHA1}")
        ada = parse_hash(SCRAM_256)
        self.assertEqual(ada, ScramVerifier("sha-256", self.keys(checker, "ada", "sha-256")))
        for name, digest in (("ada", "sha-1"), ("bob", "sha-256"), ("eve", "sha-256")):
            keys = self.keys(checker, name, digest)
            self.assertEqual(keys, self.keys(checker, name, digest))
            proof = ProofOfKeys(name, digest)
            proof.keys = keys
            self.refuses(checker, proof)
            self.assertTrue(proof.right)

    def test_offered(self) -> None:
        """SCRAM is offered where every account has keys for it, unless something else is said."""
        all_have = (f"ada:{SCRAM_256}", f"ada:{SCRAM_1}", f"bob:{SCRAM_256}")
        some_have = (f"ada:{SCRAM_256}", f"bob:{SHA1}")
        for lines, scram, digests in (
            (all_have, "auto", {"sha-256"}),
            (some_have, "auto", set()),
            (all_have, "yes", {"sha-256", "sha-1"}),
            (some_have, "yes", {"sha-256"}),
            (all_have, "no", set()),
            ((f"ada:{SHA1}",), "yes", set()),
            ((), "yes", set()),
        ):
            checker = self.checker(*lines, scram=scram)
            self.assertEqual(digests, checker.scram_digests, (lines, scram))

    def test_interfaces(self) -> None:
        """SCRAM is among them though nobody has keys yet, for the file may change."""
        for scram, interfaces in (
            ("auto", (IUsernamePassword, IScramProof)),
            ("yes", (IUsernamePassword, IScramProof)),
            ("no", (IUsernamePassword,)),
        ):
            self.assertEqual(interfaces, self.checker(f"ada:{SHA1}", scram=scram).credentialInterfaces)

    def test_beside_another(self) -> None:
        """It is offered where the accounts of both files have keys: of a client nobody knows in which its user is."""
        paths = self.path, Path(self.mktemp())
        files = []
        for self.path in paths:
            files.append(self.checker(f"ada:{SCRAM_256}"))
        portal = Portal(mock.Mock(), by_interface(files))
        both: Any = portal.checkers[IScramProof]
        self.assertEqual({"sha-256"}, both.scram_digests)
        self.write(f"ada:{SCRAM_256}", f"bob:{SHA1}")
        self.clock.advance(1)
        self.assertEqual(set(), both.scram_digests)


class StartTests(FileCase):
    """What is wrong from the first."""

    def test_bad_lines(self) -> None:
        error = self.assertRaises(ValueError, self.checker, f"ada:{SHA1}", "bob:hunter2")
        self.assertEqual(f"{self.path}: line 2: no hash of a known kind", str(error))

    def test_missing(self) -> None:
        self.assertRaises(FileNotFoundError, PasswdFile, self.path)

    def test_missing_library(self) -> None:
        self.patch(sys, "modules", {**sys.modules, "argon2": None})
        error = self.assertRaises(ValueError, self.checker, f"ada:{MADE['doveadm pw -s ARGON2I'][1]}")
        self.assertIn("twistsmtp[argon2]", str(error))


class SecretsTests(TestCase):
    """Nothing that is secret is shown, whatever happens; with real threads."""

    def lines(self) -> Iterator[str]:
        for number, (_, text) in enumerate(MADE.values()):
            yield f"user{number}:{text}\n"

    async def test_secrets(self) -> None:
        need(*NEEDS.values())
        log = Log(self)
        path = Path(self.mktemp())
        path.write_text("".join(self.lines()))
        checker = PasswdFile.from_options(str(path), scram="yes")
        shown = [repr(checker), repr(vars(checker))]
        self.assertEqual(b"user0", await checker.requestAvatarId(login("user0")))
        await refused(checker.requestAvatarId(login("user0", "hunter2")))
        await refused(checker.requestAvatarId(login("nobody", "hunter2")))
        path.unlink()
        checker._file._looked -= 60
        with self.assertRaises(FileNotFoundError) as caught:
            await checker.requestAvatarId(login("user0", "hunter2"))
        text = "\n".join([*shown, str(caught.exception), str(log)])
        for secret in ("hunter2", PASSWORD, "QuB81UTB4evg5KRZbFLz", "0SMytGEV3QNpKKcSFHkW40", "LddOVGk0iVwoCo6hmChsm"):
            self.assertNotIn(secret, text)
