"""``passwd:PATH`` and ``htpasswd:PATH``: accounts in a file, which may change while the server runs."""

import os
import time
from collections.abc import Callable
from copy import copy
from typing import Any, Literal, TypeAlias, cast, get_args

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from twistsmtp.checkers.accounts import Account, Accounts, parse_accounts
from twistsmtp.checkers.scram import IScramStore
from twistsmtp.checkers.turns import Turns
from twistsmtp.later import awaited
from twistsmtp.sasl.credentials import IScramProof, ScramKeys
from twistsmtp.sasl.prep import LIMIT, saslprep
from twistsmtp.textfile import TextFile

__all__ = ["PasswdFile", "Scram"]

#: Hashes that are computed at once.
AT_ONCE = 4

Scram: TypeAlias = Literal["auto", "yes", "no"]


@implementer(IScramStore)
class PasswdFile:
    """Checks passwords and SCRAM proofs against the accounts in a file; `twistsmtp.checkers.accounts` has its form.

    The file is read again when it has changed (`TextFile`): who logs in waits for it, who is told what mechanisms there
    are does not. If what it has become cannot be parsed, the accounts stay what they were; if it cannot be opened,
    nobody can log in until it can. The avatar identifier is the user's name, prepared by SASLprep, in UTF-8.

    A client takes SCRAM before a mechanism that shows the password, and fails if there are no keys for its user. So
    SCRAM is offered, by default, for the digests that *every* account of the file has keys of.

    :param scram: ``"auto"``: as above. ``"yes"``: offered as soon as any account has keys. ``"no"``: never.
    :param in_thread: calls a function in a thread, with arguments, and returns a Deferred.
    :param now: a clock, in seconds.
    :raises ValueError: a line of the file is bad, or *scram* is none of these.
    :raises OSError: the file cannot be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        scram: Scram = "auto",
        in_thread: Callable[..., Deferred[Any]] = deferToThread,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if scram not in get_args(Scram):
            raise ValueError(f"scram is {', '.join(get_args(Scram))}, not {scram!r}")
        self._scram = scram
        self._turns = Turns(AT_ONCE, begin=in_thread)
        self._file = TextFile(path, parse_accounts, seconds=now, in_thread=in_thread)
        #: See `ICredentialsChecker`. SCRAM is one of them while there are no keys, too: the file may gain them.
        self.credentialInterfaces: tuple[InterfaceClass, ...] = (
            (IUsernamePassword,) if scram == "no" else (IUsernamePassword, IScramProof)
        )

    @classmethod
    def from_options(cls, path: str, *, scram: str = "auto") -> "PasswdFile":
        """The checker that ``passwd:PATH`` names.

        :raises ValueError: see `PasswdFile`.
        :raises OSError: see `PasswdFile`.
        """
        return cls(path, scram=cast(Scram, scram))

    @property
    def scram_digests(self) -> frozenset[str]:
        """See `IScramStore`. If the file has changed, who asks next is told of it."""
        if self._scram == "no":
            return frozenset()
        self._file.current()  # which begins to read it then
        accounts = self._file.content
        return accounts.digests if self._scram == "yes" else accounts.common_digests

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Whose credentials they are.

        :raises UnauthorizedLogin: nobody's.
        :raises Unavailable: too many are logging in.
        :raises OSError: the file cannot be read.
        """
        check = self._check_proof if IScramProof.providedBy(credentials) else self._check_password
        return Deferred.fromCoroutine(check(credentials))

    def reload(self) -> None:
        """See `Reloader`."""
        self._file.reload()

    async def known_keys(self, username: str, digest: str) -> ScramKeys | None:
        """See `IScramStore`."""
        return (await self._accounts()).keys(username, digest)

    async def scram_keys(self, username: str, digest: str) -> ScramKeys:
        """See `IScramChecker`."""
        return _keys(await self._accounts(), username, digest)[1]

    async def _check_password(self, credentials: Any) -> bytes:
        username, password = _text(credentials.username), _text(credentials.password)
        accounts = await self._accounts()
        account, stand_in = accounts.find(username), accounts.stand_in(username)
        asked = account or stand_in
        if asked is None or not password:
            raise UnauthorizedLogin
        right = await self._turns.run(asked.verify, password)
        return _avatar_id(account, right)

    async def _check_proof(self, credentials: Any) -> bytes:
        accounts = await self._accounts()
        real, keys = _keys(accounts, credentials.username, credentials.digest)
        right = credentials.proves(keys)
        return _avatar_id(accounts.find(credentials.username), right and real)

    async def _accounts(self) -> Accounts:
        """The accounts as they are in the file, or were when it last could be parsed.

        :raises OSError: it is not there, or is not for us to read.
        """
        accounts = await awaited(self._file.current())
        if self._file.error is not None:
            # A copy: what is raised gets a traceback, of frames that have this client's password.
            raise copy(self._file.error)
        return accounts


def _keys(accounts: Accounts, username: str, digest: str) -> tuple[bool, ScramKeys]:
    """The user's SCRAM keys, and whether they are real ones."""
    # Both are made in any case: the challenge with the salt goes out at once, and its time would tell which it was.
    keys, decoy = accounts.keys(username, digest), accounts.decoy(username, digest)
    return keys is not None, keys or decoy


def _avatar_id(account: Account | None, right: bool) -> bytes:
    if account is None or not right:
        raise UnauthorizedLogin
    return account.name.encode()


def _text(octets: bytes) -> str:
    """A name or a password of a client, prepared; empty if it cannot be one."""
    try:
        return saslprep(octets.decode()) if len(octets) <= LIMIT and b"\0" not in octets else ""
    except ValueError:
        return ""
