"""Several checkers for one kind of credentials, asked one after the other.

A `Portal` of `twisted.cred` has one checker for each interface of credentials: ``--auth passwd:… --auth pam:…`` would
leave it the last. `by_interface` makes of any list of checkers one that a portal can have::

    Portal(realm, by_interface(checkers))
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from twistsmtp.checkers.scram import DIGESTS, IScramStore
from twistsmtp.later import awaited
from twistsmtp.lifecycle import Checkable, Reloader, Starter, Stopper
from twistsmtp.sasl.credentials import IScramChecker, ScramKeys

__all__ = ["FirstOf", "by_interface"]

_log = Logger(namespace="twistsmtp.checkers")


def by_interface(checkers: Iterable[ICredentialsChecker]) -> list[ICredentialsChecker]:
    """Checkers of which no two check the same credentials: those given, and `FirstOf` those that would.

    Where one of several checkers of passwords knows only what a password becomes, none is asked about the answers of
    CRAM-MD5, for which the password itself is needed: clients would prefer that mechanism, and some users never get in.

    :param checkers: in the order in which they are to be asked.
    """
    claims: dict[InterfaceClass, list[ICredentialsChecker]] = {}
    for checker in checkers:
        for interface in checker.credentialInterfaces:
            claims.setdefault(interface, []).append(checker)
    passwords, responses = claims.get(IUsernamePassword, []), claims.get(IUsernameHashedPassword, [])
    if len(responses) < len(passwords) and all(each in passwords for each in responses):
        claims.pop(IUsernameHashedPassword, None)
    groups: dict[tuple[ICredentialsChecker, ...], list[InterfaceClass]] = {}
    for interface, each in claims.items():
        groups.setdefault(tuple(each), []).append(interface)
    return [_one(group, interfaces) for group, interfaces in groups.items()]


def _one(group: tuple[ICredentialsChecker, ...], interfaces: list[InterfaceClass]) -> ICredentialsChecker:
    alone = len(group) == 1 and set(group[0].credentialInterfaces) == set(interfaces)
    return group[0] if alone else FirstOf(group, interfaces)


@implementer(IScramStore)
class FirstOf:
    """Asks checkers in order; the first that accepts the credentials wins.

    One that refuses (`UnauthorizedLogin`) passes on to the next. So does one that fails otherwise, but then nobody
    knows that the credentials are wrong: if no other accepts them, that failure is the answer.

    :param checkers: one at least.
    :param interfaces: of the credentials that all of them check.
    """

    def __init__(self, checkers: Sequence[ICredentialsChecker], interfaces: Sequence[InterfaceClass]) -> None:
        self._checkers = tuple(checkers)
        #: See `ICredentialsChecker`.
        self.credentialInterfaces = tuple(interfaces)

    @property
    def scram_digests(self) -> frozenset[str]:
        """See `IScramStore`: what all of them have."""
        each = (getattr(checker, "scram_digests", DIGESTS) for checker in self._checkers)
        return frozenset(DIGESTS).intersection(*each)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """What the first that accepts *credentials* says.

        :raises UnauthorizedLogin: all refuse.
        :raises Exception: what the first that failed failed with, where none accepts.
        """
        return Deferred.fromCoroutine(self._ask(credentials))

    def check(self) -> None:
        """See `Checkable`."""
        for checker in self._checkers:
            if isinstance(checker, Checkable):
                checker.check()

    def start(self) -> None:
        """See `Starter`."""
        for checker in self._checkers:
            if isinstance(checker, Starter):
                checker.start()

    def reload(self) -> None:
        """See `Reloader`."""
        for checker in self._checkers:
            if isinstance(checker, Reloader):
                checker.reload()

    async def stop(self) -> None:
        """See `Stopper`."""
        for checker in reversed(self._checkers):
            if isinstance(checker, Stopper):
                await awaited(checker.stop())

    async def _ask(self, credentials: Any) -> bytes | tuple[()]:
        failures: list[Exception] = []
        for checker in self._checkers:
            try:
                avatar_id: bytes | tuple[()] = await maybeDeferred(checker.requestAvatarId, credentials)
            except UnauthorizedLogin:
                continue
            except CancelledError:
                raise
            except Exception as error:
                failures.append(error)
            else:
                _tell(failures)
                return avatar_id
        raise failures[0] if failures else UnauthorizedLogin

    async def known_keys(self, username: str, digest: str) -> ScramKeys | None:
        """See `IScramStore`: those of the first that knows the user.

        :raises Exception: what the first that failed failed with, where none knows.
        """
        known, failures = await self._known(username, digest)
        keys = next(filter(None, known.values()), None)
        if failures and keys is None:
            raise failures[0]
        _tell(failures)
        return keys

    async def scram_keys(self, username: str, digest: str) -> ScramKeys:
        """See `IScramChecker`.

        A checker that is no `IScramStore` does not say whether it knows a user: it has the last word.

        The challenge with the salt goes out at once, so neither its time nor a failure may tell whether there is such
        a user: all are asked in any case, and there are keys if anybody at all has an answer. If they are not the
        user's own, because the checker that has those has failed, that failure answers the proof.

        :raises Exception: what the first that failed failed with, where all fail.
        """
        known, failures = await self._known(username, digest)
        able = (each for each in self._checkers if IScramChecker.providedBy(each))
        silent = (each for each in able if not IScramStore.providedBy(each))
        for checker in (*silent, *known):
            with _collected(failures):
                last = await awaited(checker.scram_keys(username, digest))
                _tell(failures)
                return next(filter(None, known.values()), last)
        raise failures[0]

    async def _known(self, username: str, digest: str) -> tuple[dict[Any, ScramKeys | None], list[Exception]]:
        """What each of those that say whether they know a user has, but those that failed; and how these did."""
        known: dict[Any, ScramKeys | None] = {}
        failures: list[Exception] = []
        stores: list[Any] = list(filter(IScramStore.providedBy, self._checkers))
        for checker in stores:
            with _collected(failures):
                known[checker] = await awaited(checker.known_keys(username, digest))
        return known, failures


@contextmanager
def _collected(failures: list[Exception]) -> Iterator[None]:
    """What fails within goes to *failures*, unless nobody waits for it any more."""
    try:
        yield
    except CancelledError:
        raise
    except Exception as error:
        failures.append(error)


def _tell(failures: list[Exception]) -> None:
    """Log what nobody would see: the answer came from another."""
    for error in failures:
        _log.error("a checker failed, and another was asked: {kind}: {error}", kind=type(error).__name__, error=error)
