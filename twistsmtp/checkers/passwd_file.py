"""``passwd:PATH`` and ``htpasswd:PATH``: accounts in a file, which may change while the server runs."""

import os
import time
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, cast, get_args

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from twistsmtp.checkers.accounts import Account, Accounts, BadLines, parse_accounts
from twistsmtp.checkers.scram import IScramStore
from twistsmtp.checkers.turns import Turns
from twistsmtp.sasl.credentials import IScramProof, ScramKeys
from twistsmtp.sasl.prep import LIMIT, saslprep

__all__ = ["PasswdFile", "Scram"]

_log = Logger(namespace="twistsmtp.checkers")

#: Seconds between two looks at whether the file has changed.
LOOK_EVERY = 1.0
#: Hashes that are computed at once.
AT_ONCE = 4

Scram: TypeAlias = Literal["auto", "yes", "no"]
#: What a file that has not changed still has: the time of its last change in nanoseconds, inode, octets.
_State: TypeAlias = tuple[int, int, int]


@implementer(IScramStore)
class PasswdFile:
    """Checks passwords and SCRAM proofs against the accounts in a file; `twistsmtp.checkers.accounts` has its form.

    The file is read again when it has changed; that is looked at when somebody logs in, at most once a second. If what
    it has become cannot be read, that is logged, and the accounts stay what they were; if it cannot be opened, nobody
    can log in until it can. Its avatar identifier is the user's name, prepared by SASLprep, in UTF-8.

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
        self._path = os.fspath(path)
        self._scram = scram
        self._in_thread = in_thread
        self._now = now
        self._turns = Turns(AT_ONCE, begin=in_thread)
        self._lock = DeferredLock()
        self._looked = now()
        self._state, content = self._read()
        if isinstance(content, BadLines):
            raise ValueError(f"{self._path}: {content}")
        self._accounts = content

    @classmethod
    def from_options(cls, path: str, *, scram: str = "auto") -> "PasswdFile":
        """The checker that ``passwd:PATH`` names.

        :raises ValueError: see `PasswdFile`.
        :raises OSError: see `PasswdFile`.
        """
        return cls(path, scram=cast(Scram, scram))

    @property
    def credentialInterfaces(self) -> tuple[InterfaceClass, ...]:
        """Passwords, and SCRAM where it is to be offered as the file is now."""
        return (IUsernamePassword, IScramProof) if self.scram_digests else (IUsernamePassword,)

    @property
    def scram_digests(self) -> frozenset[str]:
        """See `IScramStore`."""
        if self._scram == "no":
            return frozenset()
        return self._accounts.digests if self._scram == "yes" else self._accounts.common_digests

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Whose credentials they are.

        :raises UnauthorizedLogin: nobody's.
        :raises Unavailable: too many are logging in.
        :raises OSError: the file cannot be read.
        """
        check = self._check_proof if IScramProof.providedBy(credentials) else self._check_password
        return Deferred.fromCoroutine(check(credentials))

    async def known_keys(self, username: str, digest: str) -> ScramKeys | None:
        """See `IScramStore`."""
        account = (await self._current()).find(username)
        return account.keys(digest) if account else None

    async def scram_keys(self, username: str, digest: str) -> ScramKeys:
        """See `IScramChecker`."""
        return await self.known_keys(username, digest) or self._accounts.decoy(username, digest)

    async def _check_password(self, credentials: Any) -> bytes:
        username, password = _text(credentials.username), _text(credentials.password)
        accounts = await self._current()
        account = accounts.find(username)
        asked = account or accounts.stand_in(username)
        if asked is None or not password:
            raise UnauthorizedLogin
        right = await self._turns.run(asked.verify, password)
        return _avatar_id(account, right)

    async def _check_proof(self, credentials: Any) -> bytes:
        accounts = await self._current()
        account = accounts.find(credentials.username)
        keys = account.keys(credentials.digest) if account else None
        right = credentials.proves(keys or accounts.decoy(credentials.username, credentials.digest))
        return _avatar_id(account, right and keys is not None)

    async def _current(self) -> Accounts:
        """The accounts as they are in the file, or were when it last could be read.

        :raises OSError: it is not there, or is not for us to read.
        """
        if self._due():
            await self._lock.run(self._refresh)
        return self._accounts

    def _due(self) -> bool:
        return self._now() - self._looked >= LOOK_EVERY

    async def _refresh(self) -> None:
        if not self._due():  # another login did this while we waited for the lock
            return
        if _state(os.stat(self._path)) != self._state:
            self._state, content = await self._in_thread(self._read)
            if isinstance(content, BadLines):
                _log.error("{path} stays as it was: {problem}", path=self._path, problem=str(content))
            else:
                self._accounts = content
                _log.info("{path} has changed: {count} accounts", path=self._path, count=len(content))
        self._looked = self._now()

    def _read(self) -> tuple[_State, Accounts | BadLines]:
        """What the file has. It blocks."""
        with open(self._path, "rb") as file:
            state = _state(os.fstat(file.fileno()))  # before reading: what changes meanwhile is a change still to come
            octets = file.read()
        try:
            return state, parse_accounts(octets)
        except BadLines as problem:
            return state, problem


def _state(stat: os.stat_result) -> _State:
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


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
