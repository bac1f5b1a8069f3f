"""The public keys that tokens are signed with (RFC 7517), and the tokens (RFC 7519)."""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from twistsmtp.checkers.claims import Claims, Rejected
from twistsmtp.checkers.errors import Unavailable, extra
from twistsmtp.checkers.turns import Turns

__all__ = ["KeySet", "SignedTokens"]

_log = Logger(namespace="twistsmtp.checkers")

#: Algorithms by the type of a key. None of them works with a secret: who can check a token cannot make one.
_ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
#: Seconds that keys are used before they are fetched again, for one of them may have been withdrawn.
AGE = 3600.0
#: Seconds between two fetches, whatever keys tokens name; and where no fetch has succeeded yet.
PAUSE = 60.0
FIRST_PAUSE = 5.0
#: Keys that are tried on a token that names none.
_MOST = 16
#: Tokens that are checked at once.
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class _Key:
    kid: str | None
    key: Any = field(repr=False)
    algorithms: tuple[str, ...]


class KeySet:
    """Keys that are fetched when they are needed, and again when they are old or a token names another.

    :param fetch: gives the octets of the set, or fails.
    :param now: a clock, in seconds.
    :param in_thread: calls a function in a thread, with arguments, and returns a Deferred.
    :raises MissingExtra: PyJWT is not installed.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[bytes]],
        now: Callable[[], float] = time.monotonic,
        in_thread: Callable[..., Deferred[Any]] = deferToThread,
    ) -> None:
        self._jwt = extra("jwt", "jwt")
        self._fetch = fetch
        self._now = now
        self._in_thread = in_thread
        self._keys: list[_Key] | None = None
        self._fetched = self._tried = -AGE
        #: Who waits for the keys that are being fetched.
        self._waiting: list[Deferred[None]] | None = None

    async def find(self, kid: str | None) -> list[_Key]:
        """The keys of that name; all of them if it is ``None``.

        :raises Unavailable: there are no keys, for they cannot be had.
        """
        if self._waiting is None and self._wants(kid):
            self._begin()
        if self._waiting is not None and (self._old or not self._named(kid)):
            fetched: Deferred[None] = Deferred()
            self._waiting.append(fetched)
            await fetched
        if self._keys is None:
            raise Unavailable("the keys of tokens cannot be had")
        return self._named(kid)

    @property
    def _old(self) -> bool:
        return self._now() - self._fetched >= AGE

    def _named(self, kid: str | None) -> list[_Key]:
        return [key for key in self._keys or () if kid is None or key.kid == kid][:_MOST]

    def _wants(self, kid: str | None) -> bool:
        """Whether it is time to fetch."""
        pause = FIRST_PAUSE if self._keys is None else PAUSE
        return self._now() - self._tried >= pause and (self._old or not self._named(kid))

    def _begin(self) -> None:
        """Fetch the keys. This goes on if the client that it is for goes away, or else clients could have us fetch
        them as often as they like.
        """
        self._waiting, self._tried = [], self._now()
        Deferred.fromCoroutine(self._renew()).addBoth(self._done)

    async def _renew(self) -> None:
        try:
            self._keys = await self._in_thread(self._parse, await self._fetch())
            self._fetched = self._tried
        except Exception as error:
            _log.error("keys of tokens cannot be fetched: {problem}", problem=str(error))

    def _done(self, _: object) -> None:
        waiting, self._waiting = self._waiting or [], None
        for each in waiting:
            each.callback(None)

    def _parse(self, octets: bytes) -> list[_Key]:
        """The keys of a set. It takes its time."""
        try:
            entries = json.loads(octets)["keys"]
            keys = [key for entry in entries if (key := self._key(entry))]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise ValueError("what is there is no set of keys") from None
        if not keys:
            raise ValueError("no key of the set can be used")
        return keys

    def _key(self, entry: Any) -> _Key | None:
        """The key, if it is one to check signatures with."""
        if not isinstance(entry, dict):
            return None
        algorithms = _ALGORITHMS.get(str(entry.get("kty")), ())
        named = entry.get("alg")
        if named is not None:
            algorithms = tuple(each for each in algorithms if each == named)
        kid = entry.get("kid")
        if not algorithms or entry.get("use", "sig") != "sig" or not isinstance(kid, str | None):
            return None
        try:
            return _Key(kid, self._jwt.PyJWK(entry, algorithm=algorithms[0]).key, algorithms)
        except self._jwt.PyJWTError:
            return None


class SignedTokens:
    """Tokens that are signed (JWT): the signature says who made them.

    :param turns: bounds how many are checked at once; threads by default.
    """

    def __init__(self, keys: KeySet, turns: Turns | None = None) -> None:
        self._jwt = extra("jwt", "jwt")
        self._keys = keys
        self._turns = Turns(AT_ONCE) if turns is None else turns

    async def claims(self, token: str) -> Claims:
        """What *token* says, if one of the keys has signed it. Times and names in it are not looked at.

        :raises UnauthorizedLogin: it is no token.
        :raises Rejected: none of the keys has signed it.
        :raises Unavailable: there are no keys, or too many are logging in.
        """
        try:
            kid = self._jwt.get_unverified_header(token).get("kid")
        except (self._jwt.PyJWTError, RecursionError):  # the second is JSON's, for what is nested too deeply
            raise UnauthorizedLogin from None
        claims: Claims | None = await self._turns.run(self._signed, token, await self._keys.find(kid))
        if claims is None:
            raise Rejected("its signature is not of a key that is known")
        return claims

    def _signed(self, token: str, keys: Sequence[_Key]) -> Claims | None:
        """What *token* says, or ``None`` if none of *keys* has signed it. It takes a millisecond for each of them."""
        for key in keys:
            try:
                claims: Claims = self._jwt.decode(
                    token, key.key, algorithms=list(key.algorithms), options=_SIGNATURE_ONLY
                )
            except self._jwt.PyJWTError:
                continue
            return claims
        return None


_SIGNATURE_ONLY = {"verify_signature": True} | dict.fromkeys(
    ("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss", "verify_sub", "verify_jti"), False
)
