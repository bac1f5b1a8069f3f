"""Several checkers for one kind of credentials."""

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.checkers.kit import Log
from twistsmtp.checkers.errors import Unavailable
from twistsmtp.checkers.scram import IScramStore
from twistsmtp.checkers.together import FirstOf, by_interface
from twistsmtp.later import is_later
from twistsmtp.sasl.credentials import IBearerToken, IScramChecker, IScramProof, ScramKeys, decoy_keys

ADA = UsernamePassword(b"ada", b"secret")


@implementer(ICredentialsChecker)
class Checker:
    """Answers as it is told, with an answer, an error, or a Deferred."""

    def __init__(self, answer: Any = None, *interfaces: Any) -> None:
        self.answer = UnauthorizedLogin() if answer is None else answer
        self.credentialInterfaces = interfaces or (IUsernamePassword,)
        self.asked: list[Any] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        self.asked.append(credentials)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def keys(name: str) -> ScramKeys:
    return ScramKeys(name.encode(), 4096, b"", b"")


@implementer(IScramStore)
class Store(Checker):
    """Knows some users' keys."""

    def __init__(self, *known: str, digests: frozenset[str] = frozenset({"sha-256"}), error: Any = None) -> None:
        super().__init__(None, IScramProof)
        self.known = known
        self.scram_digests = digests
        self.error = error

    def known_keys(self, username: str, digest: str) -> Any:
        self.asked.append("known")
        if self.error:
            raise self.error
        return succeed(keys(username) if username in self.known else None)

    def scram_keys(self, username: str, digest: str) -> ScramKeys:
        self.asked.append("keys")
        if self.error:
            raise self.error
        return keys(username) if username in self.known else decoy_keys(username, digest, 7)


@implementer(IScramChecker)
class Simple(Checker):
    """Gives keys, and does not say whether they are of anybody."""

    def scram_keys(self, username: str, digest: str) -> Any:
        self.asked.append("keys")
        return succeed(keys(f"simple {username}"))


class FirstOfTests(SynchronousTestCase):
    def ask(self, *checkers: Checker) -> Deferred[Any]:
        return FirstOf(checkers, [IUsernamePassword]).requestAvatarId(ADA)

    def test_interface(self) -> None:
        verifyObject(IScramStore, FirstOf([Checker()], [IUsernamePassword]))

    def test_first(self) -> None:
        """The first that accepts wins, and those behind are not asked."""
        refuses, accepts, last = Checker(), Checker(succeed(b"ada")), Checker(b"other")
        self.assertEqual(b"ada", self.successResultOf(self.ask(refuses, accepts, last)))
        self.assertEqual(([ADA], [ADA], []), (refuses.asked, accepts.asked, last.asked))

    def test_none(self) -> None:
        self.failureResultOf(self.ask(Checker(), Checker()), UnauthorizedLogin)

    def test_waits(self) -> None:
        """The next is asked only when one has refused."""
        answer: Deferred[bytes] = Deferred()
        second = Checker(b"ada")
        asked = self.ask(Checker(answer), second)
        self.assertEqual([], second.asked)
        answer.errback(UnauthorizedLogin())
        self.assertEqual(b"ada", self.successResultOf(asked))

    def test_failure(self) -> None:
        """A checker that fails otherwise leaves it to the next, which may accept; then the failure is logged."""
        log = Log(self)
        self.assertEqual(b"ada", self.successResultOf(self.ask(Checker(Unavailable("no answer")), Checker(b"ada"))))
        self.assertIn("Unavailable: no answer", str(log))

    def test_failure_is_the_answer(self) -> None:
        """If nobody accepts, the first failure is the answer: nobody knows that the credentials are wrong."""
        first, second = Unavailable("first"), Unavailable("second")
        for checkers in (
            (Checker(), Checker(first), Checker(second)),
            (Checker(first), Checker()),
            (Checker(first), Checker(second), Checker()),
        ):
            failure = self.failureResultOf(self.ask(*checkers), Unavailable)
            self.assertIs(first, failure.value)

    def test_cancel(self) -> None:
        """Who goes away is not asked about any more."""
        pending: Deferred[bytes] = Deferred()
        second = Checker(b"ada")
        asked = self.ask(Checker(pending), second)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual([], second.asked)


class ScramTests(SynchronousTestCase):
    def first_of(self, *checkers: Checker) -> FirstOf:
        return FirstOf(checkers, [IScramProof])

    def keys(self, *checkers: Checker, name: str = "ada") -> Deferred[ScramKeys]:
        return Deferred.fromCoroutine(self.first_of(*checkers).scram_keys(name, "sha-256"))

    def test_first_that_knows(self) -> None:
        self.assertEqual(keys("ada"), self.successResultOf(self.keys(Store("bob"), Store("ada"), Simple())))

    def test_nobody_knows(self) -> None:
        """There are keys all the same, always the same ones."""
        for _ in range(2):
            self.assertEqual(decoy_keys("ada", "sha-256", 7), self.successResultOf(self.keys(Store("bob"), Store())))

    def test_last_word(self) -> None:
        """One that does not say whether it knows anybody is asked after those that do."""
        self.assertEqual(keys("simple ada"), self.successResultOf(self.keys(Simple(), Store("bob"))))
        self.assertEqual(keys("bob"), self.successResultOf(self.keys(Simple(), Store("bob"), name="bob")))

    def test_all_are_asked_in_any_case(self) -> None:
        """How long it takes does not tell whether there is such a user, nor whose user it is."""
        for name in ("ada", "bob", "eve"):
            for more in ((), (Simple(),)):
                checkers = Store("ada"), Store("bob"), *more
                self.successResultOf(self.keys(*checkers, name=name))
                expected = [["known"], ["known"], ["keys"]] if more else [["known", "keys"], ["known"]]
                self.assertEqual(expected, [each.asked for each in checkers], name)

    def test_failure(self) -> None:
        """While one has failed, known users and unknown ones have keys: its failure is the answer to the proof."""
        error = Unavailable("no answer")
        for checkers in (
            (Store(error=error), Store("ada")),
            (Store("ada"), Store(error=error)),
            (Store(error=error), Store("ada"), Simple()),
        ):
            log = Log(self)
            self.assertEqual(keys("ada"), self.successResultOf(self.keys(*checkers)))
            self.assertIn("Unavailable: no answer", str(log))
        for checkers in (Store(error=error), Store("ada")), (Store("ada"), Store(error=error)):
            decoy = self.successResultOf(self.keys(*checkers, name="eve"))
            self.assertEqual(decoy_keys("eve", "sha-256", 7), decoy)
        last = self.successResultOf(self.keys(Store(error=error), Simple(), name="eve"))
        self.assertEqual(keys("simple eve"), last)

    def test_failure_of_all(self) -> None:
        """The first failure is the answer."""
        first = Unavailable("first")
        failure = self.failureResultOf(self.keys(Store(error=first), Store(error=Unavailable("second"))), Unavailable)
        self.assertIs(first, failure.value)

    def test_known_keys_of_one_that_failed(self) -> None:
        """Who asks whether a user is known is told that nobody can know it, unless another does."""
        first_of = self.first_of(Store(error=Unavailable("x")), Store("ada"))
        self.failureResultOf(Deferred.fromCoroutine(first_of.known_keys("eve", "sha-256")), Unavailable)
        known = Deferred.fromCoroutine(first_of.known_keys("ada", "sha-256"))
        self.assertEqual(keys("ada"), self.successResultOf(known))

    def test_cancel(self) -> None:
        """Who goes away is not asked about any more."""
        pending: Deferred[None] = Deferred()
        first, second = Store(), Store("ada")
        self.patch(first, "known_keys", lambda *_: pending)
        asked = self.keys(first, second)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual([], second.asked)

    def test_digests(self) -> None:
        """What is offered all of them have, but those that do not say."""
        both = frozenset({"sha-1", "sha-256"})
        self.assertEqual({"sha-256"}, self.first_of(Store(digests=both), Store(), Simple()).scram_digests)
        self.assertEqual(both, self.first_of(Simple()).scram_digests)
        self.assertEqual(frozenset(), self.first_of(Store(), Store(digests=frozenset())).scram_digests)

    def test_known_keys(self) -> None:
        """One of these may be in another."""
        inner = self.first_of(Store("bob"), Store("ada"))
        known = inner.known_keys("eve", "sha-256")
        self.assertTrue(is_later(known))
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(known)))
        outer = FirstOf([inner, Store("eve")], [IScramProof])
        for name in ("ada", "eve"):
            found = Deferred.fromCoroutine(outer.scram_keys(name, "sha-256"))
            self.assertEqual(keys(name), self.successResultOf(found))


class ByInterfaceTests(SynchronousTestCase):
    def test_alone(self) -> None:
        """Checkers that share nothing stay what they are."""
        checkers = [Checker(), Checker(None, IScramProof, IUsernameHashedPassword)]
        self.assertEqual(checkers, by_interface(checkers))
        self.assertEqual([], by_interface([]))

    def test_shared(self) -> None:
        """Each interface is checked by one, which asks all that claim it, in their order."""
        first = Checker(None, IUsernamePassword, IScramProof)
        second = Checker(b"second", IUsernamePassword)
        third = Checker(b"third", IUsernamePassword, IBearerToken)
        portal: Any = Portal(None, by_interface([first, second, third]))  # type: ignore[arg-type]  # nobody logs in
        self.assertEqual({IUsernamePassword, IScramProof, IBearerToken}, set(portal.listCredentialsInterfaces()))
        self.assertEqual(b"second", self.successResultOf(portal.checkers[IUsernamePassword].requestAvatarId(ADA)))
        self.assertEqual(([ADA], [ADA], []), (first.asked, second.asked, third.asked))
        tokens = portal.checkers[IBearerToken]
        self.assertEqual(b"third", self.successResultOf(tokens.requestAvatarId(ADA)))

    def test_cram_md5_is_for_all_users_or_none(self) -> None:
        """Not where some have only hashes of their passwords, which their clients know nothing of."""
        both, plain = Checker(None, IUsernamePassword, IUsernameHashedPassword), Checker()
        responses = Checker(None, IUsernameHashedPassword)
        for checkers, offered in (
            ([both], True),
            ([both, both], True),
            ([plain, both], False),
            ([both, plain], False),
            # Somebody has parted what belongs together, and knows what for.
            ([plain, responses], True),
        ):
            interfaces = [each for checker in by_interface(checkers) for each in checker.credentialInterfaces]
            self.assertEqual(IUsernameHashedPassword in interfaces, offered)
            self.assertEqual(interfaces.count(IUsernamePassword), 1)

    def test_no_two(self) -> None:
        """No two check the same, and each checks what it says."""
        checkers = [Checker(None, IUsernamePassword, IScramProof), Checker(None, IScramProof, IUsernamePassword)]
        [both] = by_interface(checkers)
        self.assertEqual((IUsernamePassword, IScramProof), both.credentialInterfaces)
