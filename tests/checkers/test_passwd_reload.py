"""Logins by a file of accounts that changes."""

from traceback import walk_tb

from twisted.internet.defer import CancelledError, Deferred

from tests.authentication import secured
from tests.checkers.accounts import FileCase, Proof, ProofOfKeys, login
from tests.checkers.kit import SCRAM_256, SHA1, Log, Threads
from twistsmtp.checkers.errors import Unavailable
from twistsmtp.checkers.hashes import parse_hash
from twistsmtp.checkers.scram import ScramVerifier


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
        self.assertEqual(f"{self.path} has changed, and was read again", str(self.log))

    def test_scram_changes(self) -> None:
        """So do proofs, and the mechanisms that are offered."""
        checker = self.checker(f"ada:{SHA1}")
        self.assertEqual(set(), checker.scram_digests)
        self.write(f"ada:{SCRAM_256}")
        self.clock.advance(1)
        self.assertEqual(b"ada", self.accepts(checker, Proof("ada")))
        self.assertEqual({"sha-256"}, checker.scram_digests)

    def test_offer_does_not_wait(self) -> None:
        """Who is told what mechanisms there are has the file read, though nobody logs in, but is not told yet."""
        threads = Threads()
        checker = self.checker(f"ada:{SHA1}", in_thread=threads)
        self.write(f"ada:{SCRAM_256}")
        self.clock.advance(1)
        for _ in range(2):
            self.assertEqual(set(), checker.scram_digests)
        self.assertEqual(1, threads.calls)
        threads.run()
        self.assertEqual({"sha-256"}, checker.scram_digests)

    def test_ehlo(self) -> None:
        """A client that comes when the file has gained keys may use SCRAM; the server goes on."""
        server = secured(self.checker(f"ada:{SHA1}"))
        for lines, offered in (
            ([f"ada:{SHA1}"], "AUTH PLAIN LOGIN"),
            ([f"ada:{SCRAM_256}"], "AUTH SCRAM-SHA-256 PLAIN LOGIN"),
            ([f"ada:{SCRAM_256}", f"bob:{SHA1}"], "AUTH PLAIN LOGIN"),
        ):
            self.write(*lines)
            self.clock.advance(1)
            _, reply = server.connect().say("EHLO client.test")  # the greeting comes first
            self.assertIn(offered, [line[4:] for line in reply.split("\r\n")])

    def test_broken(self) -> None:
        """If the new file is bad that is logged, once and without secrets, and the old accounts stay."""
        checker = self.checker(f"ada:{SHA1}")
        self.write(f"bob:{SHA1}", "carol:hunter2")
        for _ in range(3):
            self.clock.advance(1)
            self.assertEqual(b"ada", self.accepts(checker, login("ada")))
            self.refuses(checker, login("bob"))
        self.assertEqual(1, len(self.log))
        self.assertIn(f"{self.path} was not read again, and what was read before stays in use: line 2: ", str(self.log))
        self.assertNotIn("hunter2", str(self.log))
        self.write(f"bob:{SHA1}")
        self.clock.advance(1)
        self.assertEqual(b"bob", self.accepts(checker, login("bob")))

    def test_gone(self) -> None:
        """While the file is not there, nobody knows: not even those who were in it."""
        checker = self.checker(f"ada:{SHA1}")
        away = self.path.with_suffix(".away")
        self.path.rename(away)
        self.clock.advance(1)
        for credentials in (login("ada"), login("eve"), Proof("ada")):
            self.failureResultOf(checker.requestAvatarId(credentials), FileNotFoundError)
        for keys in (checker.known_keys, checker.scram_keys):
            self.failureResultOf(Deferred.fromCoroutine(keys("ada", "sha-256")), FileNotFoundError)
        away.rename(self.path)
        self.clock.advance(1)
        self.assertEqual(b"ada", self.accepts(checker, login("ada")))

    def test_errors_keep_nothing(self) -> None:
        """A login that fails as the file is gone leaves its frames, in which its password is, with nobody."""
        checker = self.checker(f"ada:{SHA1}")
        self.path.unlink()
        self.clock.advance(1)
        errors = [
            self.failureResultOf(checker.requestAvatarId(login("ada")), FileNotFoundError).value for _ in range(2)
        ]
        kept = checker._file.error
        self.assertEqual({str(kept)}, {str(each) for each in errors})
        self.assertEqual(3, len({id(each) for each in (kept, *errors)}))
        frames = [frame.f_code.co_name for frame, _ in walk_tb(kept.__traceback__ if kept else None)]
        self.assertNotIn("_check_password", frames)

    def test_one_reader(self) -> None:
        """Logins that come while the file is read wait for it, and do not read it themselves."""
        threads = Threads()
        checker = self.checker(f"ada:{SCRAM_256}", in_thread=threads)
        self.write(f"bob:{SCRAM_256}")
        self.clock.advance(1)
        first, *others = (checker.requestAvatarId(Proof("bob")) for _ in range(5))
        self.assertEqual(1, threads.calls)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        threads.run()
        self.assertEqual([b"bob"] * 4, [self.successResultOf(each) for each in others])
        self.assertEqual(1, threads.calls)

    def test_many_wait(self) -> None:
        """There may be more of them than Python's stack has room for."""
        threads = Threads()
        checker = self.checker(f"ada:{SHA1}", in_thread=threads)
        self.write(f"bob:{SHA1}", f"bob:{SCRAM_256}")
        self.clock.advance(1)
        verifier = parse_hash(SCRAM_256)
        assert isinstance(verifier, ScramVerifier)
        proof = ProofOfKeys("bob")
        proof.keys = verifier.keys
        proofs = [checker.requestAvatarId(proof) for _ in range(2000)]
        passwords = [checker.requestAvatarId(login("bob")) for _ in range(2000)]
        self.assertEqual(1, threads.calls)
        for each in (*proofs, *passwords):
            self.assertNoResult(each)
        while threads.begun:
            threads.run()
        self.assertEqual([b"bob"] * 2000, [self.successResultOf(each) for each in proofs])
        # Of passwords only so many are computed or wait for that: `SameForUnknownTests.test_at_once`.
        self.assertEqual([b"bob"] * 260, [self.successResultOf(each) for each in passwords[:260]])
        for each in passwords[260:]:
            self.failureResultOf(each, Unavailable)
