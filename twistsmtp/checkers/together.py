"""Several checkers for one kind of credentials, asked one after the other.

A `Portal` of `twisted.cred` has one checker for each interface of credentials: ``--auth passwd:… --auth pam:…`` would
leave it the last. `by_interface` makes of any list of checkers one that a portal can have::

    Portal(realm, by_interface(checkers))
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from twistsmtp.checkers.scram import DIGESTS, IScramStore
from twistsmtp.later import Later, is_later
from twistsmtp.sasl.credentials import IScramChecker, ScramKeys

__all__ = ["FirstOf", "by_interface"]

T = TypeVar("T")

_log = Logger(namespace="twistsmtp.checkers")


def by_interface(checkers: Iterable[ICredentialsChecker]) -> list[ICredentialsChecker]:
    """Checkers of which no two check the same credentials: those given, and `FirstOf` those that would.

    :param checkers: in the order in which they are to be asked.
    """
    claims: dict[InterfaceClass, list[ICredentialsChecker]] = {}
    for checker in checkers:
        for interface in checker.credentialInterfaces:
            claims.setdefault(interface, []).append(checker)
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
        failures: list[Exception] = []
        for checker in self._checkers:
            if not IScramStore.providedBy(checker):
                continue
            try:
                keys = await _awaited(checker.known_keys(username, digest))
            except CancelledError:
                raise
            except Exception as error:
                failures.append(error)
            else:
                if keys:
                    _tell(failures)
                    return keys
        if failures:
            raise failures[0]
        return None

    async def scram_keys(self, username: str, digest: str) -> ScramKeys:
        """See `IScramChecker`.

        A checker that is no `IScramStore` does not say whether it knows a user: it has the last word.
        """
        keys = await self.known_keys(username, digest)
        if keys is None:
            able = [each for each in self._checkers if IScramChecker.providedBy(each)]
            last = next((each for each in able if not IScramStore.providedBy(each)), able[0])
            keys = await _awaited(last.scram_keys(username, digest))
        return keys


async def _awaited(value: Later[T]) -> T:
    return await value if is_later(value) else value


def _tell(failures: list[Exception]) -> None:
    """Log what nobody would see: the answer came from another."""
    for error in failures:
        _log.error("a checker failed, and another was asked: {kind}: {error}", kind=type(error).__name__, error=error)
