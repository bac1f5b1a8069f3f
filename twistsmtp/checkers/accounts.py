"""The accounts in a file: who there is, and what their passwords are checked against.

A line is ``user:hash``, with any number of ``:fields`` behind, which are not looked at. A user may have several lines,
one for each scheme. A password is checked against the user's first hash; SCRAM keys stand in where there is no other.
Empty lines and those that begin with ``#`` say nothing.
"""

import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from twistsmtp.checkers.errors import MissingExtra
from twistsmtp.checkers.hashes import Verifier, parse_hash, split_hash
from twistsmtp.checkers.scram import DIGESTS, SCRAM_ITERATIONS, ScramVerifier
from twistsmtp.sasl.credentials import ScramKeys, decoy_keys, decoy_secret
from twistsmtp.sasl.prep import LIMIT, saslprep
from twistsmtp.textfile import parse_lines

__all__ = ["Account", "Accounts", "parse_accounts", "prepared_name"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Account:
    """A user."""

    #: Prepared by SASLprep.
    name: str
    #: In the file's order; there is one at least.
    verifiers: tuple[Verifier, ...] = field(repr=False)

    def verify(self, password: str) -> bool:
        """Whether *password*, prepared by SASLprep, is the user's. It takes its time."""
        hashes = [each for each in self.verifiers if not isinstance(each, ScramVerifier)]
        return (hashes or self.verifiers)[0].verify(password)

    def keys(self, digest: str) -> ScramKeys | None:
        """The user's SCRAM keys, if there are any.

        :param digest: ``"sha-1"`` or ``"sha-256"``.
        """
        for each in self.verifiers:
            if isinstance(each, ScramVerifier) and each.digest == digest:
                return each.keys
        return None


class Accounts:
    """All accounts of a file. It does not change.

    :param accounts: no two of one name.
    """

    def __init__(self, accounts: Iterable[Account] = ()) -> None:
        self._accounts = tuple(accounts)
        self._by_name = {each.name: each for each in self._accounts}
        #: For each digest, the iterations of all who have keys.
        self._iterations = {
            digest: tuple(keys.iterations for each in self._accounts if (keys := each.keys(digest)))
            for digest in DIGESTS
        }
        #: The digests that some have SCRAM keys of.
        self.digests = frozenset(digest for digest, each in self._iterations.items() if each)
        #: The digests that all have SCRAM keys of.
        self.common_digests = frozenset(
            digest for digest in self.digests if len(self._iterations[digest]) == len(self._accounts)
        )

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts)

    def find(self, username: str) -> Account | None:
        """The account of that name, which need not be prepared yet."""
        name = prepared_name(username)
        return None if name is None else self._by_name.get(name)

    def keys(self, username: str, digest: str) -> ScramKeys | None:
        """The SCRAM keys of the user of that name, if there are any."""
        account = self.find(username)
        return account.keys(digest) if account else None

    def stand_in(self, username: str) -> Account | None:
        """An account to check the password of an unknown user against, so that it takes as long as for a known one.

        It is one of those that there are, always the same for one name: where hashes differ in kind or cost, the
        times of unknown users differ as those of known ones do. ``None`` if there are no accounts.
        """
        return _pick(username, self._accounts)

    def decoy(self, username: str, digest: str) -> ScramKeys:
        """Keys for a user who has none, with as many iterations as those of the others have."""
        return decoy_keys(username, digest, _pick(username, self._iterations[digest]) or SCRAM_ITERATIONS)


def _pick(username: str, choices: Sequence[T]) -> T | None:
    number = int.from_bytes(hmac.digest(decoy_secret(), username.encode("utf-8", "surrogatepass"), "sha256")[:8])
    return choices[number % len(choices)] if choices else None


def parse_accounts(octets: bytes) -> Accounts:
    """The accounts of a file.

    :param octets: all of the file.
    :raises BadLines: there are lines that cannot be read. What is said of them shows nothing of them.
    """
    verifiers: dict[str, list[Verifier]] = {}

    def parse(line: str) -> None:
        name, verifier = _parse_line(line)
        _add(verifiers.setdefault(name, []), verifier)

    parse_lines(octets, parse)
    return Accounts(Account(name, tuple(each)) for name, each in verifiers.items())


def _parse_line(line: str) -> tuple[str, Verifier]:
    user, colon, rest = line.partition(":")
    name = prepared_name(user)
    if not colon or name is None:
        raise ValueError("no user's name with a colon behind it")
    try:
        return name, parse_hash(split_hash(rest)[0])
    except MissingExtra as missing:
        raise ValueError(str(missing)) from None


def _add(verifiers: list[Verifier], verifier: Verifier) -> None:
    if any(each.scheme == verifier.scheme for each in verifiers):
        raise ValueError(f"a second {verifier.scheme} hash of one user")
    verifiers.append(verifier)


def prepared_name(text: str) -> str | None:
    """A user's name by SASLprep, or ``None`` if it cannot be one."""
    try:
        name = saslprep(text)
    except ValueError:
        return None
    return name if 0 < len(name.encode()) <= LIMIT else None
