"""Logins by a file of accounts."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.checkers.kit import MADE, NEEDS, PASSWORD, SCRAM_1, SCRAM_256, SHA1, Log, Threads, at_once, need, refused
from twistsmtp.checkers import hashes
from twistsmtp.checkers.errors import Unavailable
from twistsmtp.checkers.hashes import parse_hash
from twistsmtp.checkers.passwd_file import PasswdFile
from twistsmtp.checkers.scram import IScramStore, ScramVerifier, derive_keys
from twistsmtp.sasl.credentials import IScramChecker, IScramProof, ScramKeys


def login(name: str | bytes, password: str | bytes = PASSWORD) -> UsernamePassword:
    octets = (each.encode() if isinstance(each, str) else each for each in (name, password))
    return UsernamePassword(*octets)


@implementer(IScramProof)
class Proof:
    """A proof that is made with the password itself."""

    def __init__(self, username: str, digest: str = "sha-256", password: str = PASSWORD) -> None:
        self.username = username
        self.digest = digest
        self.password = password

    def proves(self, keys: ScramKeys) -> bool:
        return derive_keys(self.password, keys.salt, keys.iterations, self.digest) == keys


class ProofOfKeys(Proof):
    """A proof by somebody who knows the keys that the server showed."""

    keys: ScramKeys
    right = False

    def proves(self, keys: ScramKeys) -> bool:
        self.right = keys == self.keys
        return self.right


class FileCase(SynchronousTestCase):
    """A file in which there may be accounts."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = Clock()
        self.times = iter(range(1, 1000))

    def write(self, *lines: str) -> None:
        """Change the file, so that it shows."""
        self.path.write_text("".join(f"{line}\n" for line in lines))
        time = next(self.times) * 10**9
        os.utime(self.path, ns=(time, time))

    def checker(self, *lines: str, in_thread: Any = at_once, **options: Any) -> PasswdFile:
        self.write(*lines)
        return PasswdFile(self.path, in_thread=in_thread, now=self.clock.seconds, **options)

    def accepts(self, checker: PasswdFile, credentials: Any) -> bytes:
        result = self.successResultOf(checker.requestAvatarId(credentials))
        assert isinstance(result, bytes)
        return result

    def refuses(self, checker: PasswdFile, credentials: Any) -> None:
        failure = self.failureResultOf(checker.requestAvatarId(credentials), UnauthorizedLogin)
        self.assertEqual("", str(failure.value))


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
            interfaces = (IUsernamePassword, IScramProof) if digests else (IUsernamePassword,)
            self.assertEqual(interfaces, checker.credentialInterfaces)


class ReloadTests(FileCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = Log(self)

    def test_changes(self) -> None:
        """A login sees what the file has become, but it is looked at once a second at most."""
        checker = self.checker(f"ada:{SHA1}")
        self.write(f"bob:{SHA1}")
        self.refuses(checker, login("bob"))
        self.clock.advance(1)
        self.assertEqual(b"bob", self.accepts(checker, login("bob")))
        self.refuses(checker, login("ada"))
        self.assertIn("has changed: 1 accounts", str(self.log))

    def test_scram_changes(self) -> None:
        """So do the mechanisms that are offered, and proofs."""
        checker = self.checker(f"ada:{SHA1}")
        self.write(f"ada:{SCRAM_256}")
        self.clock.advance(1)
        self.assertEqual(b"ada", self.accepts(checker, Proof("ada")))
        self.assertEqual((IUsernamePassword, IScramProof), checker.credentialInterfaces)

    def test_unchanged(self) -> None:
        """What has not changed is not read again."""
        threads = Threads()
        checker = self.checker(f"ada:{SCRAM_256}", in_thread=threads)
        for _ in range(3):
            self.clock.advance(1)
            self.accepts(checker, Proof("ada"))
        self.assertEqual((0, 0), (threads.calls, len(self.log)))

    def test_replaced(self) -> None:
        """A file that is put in its place with the same time and size is another one."""
        checker = self.checker(f"ada:{SHA1}")
        before = self.path.stat()
        new = self.path.with_suffix(".new")
        new.write_text(f"bob:{SHA1}\n")
        os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        new.rename(self.path)
        self.clock.advance(1)
        self.assertEqual(b"bob", self.accepts(checker, login("bob")))

    def test_broken(self) -> None:
        """If the new file is bad that is logged, once and without secrets, and the old accounts stay."""
        checker = self.checker(f"ada:{SHA1}")
        self.write(f"bob:{SHA1}", "carol:hunter2")
        for _ in range(3):
            self.clock.advance(1)
            self.assertEqual(b"ada", self.accepts(checker, login("ada")))
            self.refuses(checker, login("bob"))
        self.assertEqual(1, len(self.log))
        self.assertIn(f"{self.path} stays as it was: line 2: ", str(self.log))
        self.assertNotIn("hunter2", str(self.log))
        self.write(f"bob:{SHA1}")
        self.clock.advance(1)
        self.assertEqual(b"bob", self.accepts(checker, login("bob")))

    def test_gone(self) -> None:
        """While the file is not there, nobody knows: not even those who were in it, and at once when it is back."""
        checker = self.checker(f"ada:{SHA1}")
        away = self.path.with_suffix(".away")
        self.path.rename(away)
        self.clock.advance(1)
        for credentials in (login("ada"), login("eve"), Proof("ada")):
            self.failureResultOf(checker.requestAvatarId(credentials), FileNotFoundError)
        away.rename(self.path)
        self.assertEqual(b"ada", self.accepts(checker, login("ada")))

    def test_one_reader(self) -> None:
        """Logins that come while the file is read wait for it, and do not read it themselves."""
        threads = Threads()
        checker = self.checker(f"ada:{SCRAM_256}", in_thread=threads)
        self.write(f"bob:{SCRAM_256}")
        self.clock.advance(1)
        answers = [checker.requestAvatarId(Proof("bob")) for _ in range(5)]
        self.assertEqual(1, threads.calls)
        threads.run()
        self.assertEqual([b"bob"] * 5, [self.successResultOf(each) for each in answers])
        self.assertEqual(1, threads.calls)

    def test_reader_goes_away(self) -> None:
        """If the login that reads the file goes away, the next one reads it."""
        threads = Threads()
        checker = self.checker(f"ada:{SCRAM_256}", in_thread=threads)
        self.write(f"bob:{SCRAM_256}")
        self.clock.advance(1)
        first, second = (checker.requestAvatarId(Proof("bob")) for _ in range(2))
        first.cancel()
        self.failureResultOf(first)
        threads.run()
        self.assertEqual(b"bob", self.successResultOf(second))

    def test_changes_while_it_is_read(self) -> None:
        """What is written while the file is read is seen the next time."""
        checker = self.checker(f"ada:{SHA1}")
        self.write("# still being written")
        real = os.fstat

        def fstat(descriptor: int) -> os.stat_result:
            stat = real(descriptor)
            if stat.st_ino == self.path.stat().st_ino:
                patch.restore()
                self.write(f"ada:{SHA1}", f"bob:{SHA1}")
            return stat

        patch = self.patch(os, "fstat", fstat)
        for _ in range(2):
            self.clock.advance(1)
            checker.requestAvatarId(login("eve")).addErrback(lambda _: None)
        self.assertEqual(b"bob", self.accepts(checker, login("bob")))


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
        checker._looked -= 60
        with self.assertRaises(FileNotFoundError) as caught:
            await checker.requestAvatarId(login("user0", "hunter2"))
        text = "\n".join([*shown, str(caught.exception), str(log)])
        for secret in ("hunter2", PASSWORD, "QuB81UTB4evg5KRZbFLz", "0SMytGEV3QNpKKcSFHkW40", "LddOVGk0iVwoCo6hmChsm"):
            self.assertNotIn(secret, text)
