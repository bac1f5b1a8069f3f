"""``oauth:``: bearer tokens (RFC 6750), asked for at their issuer (RFC 7662) or signed by it (RFC 7519)."""

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote_plus

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from zope.interface import implementer

from twistsmtp.checkers.accounts import prepared_name
from twistsmtp.checkers.claims import Claims, Rejected, Rules
from twistsmtp.checkers.errors import Unavailable
from twistsmtp.checkers.keyset import KeySet, SignedTokens
from twistsmtp.checkers.web import Web, basic
from twistsmtp.later import Later
from twistsmtp.makers import number, several, yes_or_no
from twistsmtp.sasl.credentials import IBearerToken
from twistsmtp.web import checked_url, place

__all__ = ["Introspection", "OAuthChecker", "TokenSource"]

_log = Logger(namespace="twistsmtp.checkers")

#: Characters of a token.
TOKEN_LIMIT = 16 * 1024


class TokenSource(Protocol):
    """Somebody who knows what is said of a token."""

    def claims(self, token: str) -> Awaitable[Claims]:
        """What is said of *token*.

        :raises Rejected: it is not valid.
        :raises UnauthorizedLogin: it is not even a token.
        :raises Unavailable: that cannot be known now.
        """


@implementer(ICredentialsChecker)
class OAuthChecker:
    """Accepts a token that its source vouches for and that keeps the rules. The avatar identifier is its owner.

    A client that says whom the token is of has to be right. Why a token is not accepted is logged.

    :param source: what tokens are checked by.
    :param rules: what has to be said of them.
    :param now: seconds since 1970.
    :param web: what *source* asks, if it asks anybody.
    """

    credentialInterfaces = (IBearerToken,)

    def __init__(
        self, source: TokenSource, rules: Rules, now: Callable[[], float] = time.time, web: Web | None = None
    ) -> None:
        self._source = source
        self._rules = rules
        self._now = now
        self._web = web

    @classmethod
    def from_options(
        cls,
        *,
        introspect: str = "",
        client: str = "",
        jwks: str = "",
        issuer: str = "",
        audience: str = "",
        scope: str = "",
        claim: str = "email",
        timeout: str = "10",
        ca: str = "",
        insecure: str = "no",
    ) -> "OAuthChecker":
        """The checker that ``oauth:`` with these options names.

        :param introspect: the URL of the issuer's introspection endpoint.
        :param client: a file with ``id:secret``, by which that endpoint knows us.
        :param jwks: in place of these two: the keys that tokens are signed with, a URL or a file.
        :param issuer: who has to have issued the token; must be given with *jwks*.
        :param audience: whom it has to be for, one of these, separated by commas; must be given with *jwks*.
        :param scope: scopes that it must have, separated by commas.
        :param claim: the claim that is the owner's name; or several separated by commas, of which the first that the
            token has is.
        :param timeout: of a request, in seconds.
        :param ca: see `Web`.
        :param insecure: whether a URL may be ``http:`` where that is not this machine.
        :raises ValueError: an option is wrong or missing.
        :raises OSError: a file cannot be read.
        :raises MissingExtra: treq or PyJWT is not installed.
        """
        allowed, seconds = yes_or_no("insecure", insecure), number("timeout", timeout)
        if bool(introspect) == bool(jwks):
            raise ValueError("it takes either introspect=URL or jwks=URL")
        if jwks and not (issuer and audience):
            raise ValueError("jwks takes issuer= and audience=, or tokens for anybody else would do as well")
        if bool(introspect) != bool(client):
            raise ValueError("introspect takes client=FILE, where the file has id:secret")
        rules = Rules(
            owner=several(claim) or ("email",),
            issuer=issuer or None,
            audience=frozenset(several(audience)),
            scope=frozenset(several(scope)),
            expires=bool(jwks),
        )
        if jwks and "://" not in jwks:
            return cls(SignedTokens(_keys_in_file(jwks)), rules)
        url, web = checked_url(introspect or jwks, insecure=allowed), Web(timeout=seconds, ca=ca)
        source = Introspection(web, url, *_client(client)) if introspect else SignedTokens(_keys_at(web, url))
        return cls(source, rules, web=web)

    def stop(self) -> Later[None]:
        """See `Stopper`."""
        return self._web.close() if self._web else None

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Whose token it is; that is left in the credentials' ``username`` as well.

        :raises UnauthorizedLogin: it is nobody's, or not of the user that the client says.
        :raises Unavailable: that cannot be known now.
        """
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, credentials: Any) -> bytes:
        token: str = credentials.token
        if not (0 < len(token) <= TOKEN_LIMIT and token.isascii() and token.isprintable()):
            raise UnauthorizedLogin
        try:
            owner = self._rules.owner_of(await self._source.claims(token), self._now())
            if credentials.username is not None and prepared_name(credentials.username) != owner:
                raise Rejected("it is not of the user that the client says")
        except Rejected as reason:
            _log.info("a token is refused: {reason}", reason=str(reason))
            raise UnauthorizedLogin from None
        credentials.username = owner
        return owner.encode()


class Introspection:
    """The issuer's introspection endpoint (RFC 7662).

    :param client: the name by which it knows us.
    :param secret: and the password.
    """

    def __init__(self, web: Web, url: str, client: str, secret: str) -> None:
        self._web = web
        self._url = url
        # RFC 6749 section 2.3.1 has both encoded as in a form.
        self._headers = basic(quote_plus(client).encode(), quote_plus(secret).encode())

    async def claims(self, token: str) -> Claims:
        """See `TokenSource`."""
        headers = {**self._headers, "Accept": "application/json"}
        form = {"token": token, "token_type_hint": "access_token"}
        answer = await self._web.request("POST", self._url, headers=headers, form=form)
        if answer.code != 200:
            raise Unavailable(f"{place(self._url)} answered {answer.code}")
        try:
            claims = json.loads(answer.body)
        except (ValueError, RecursionError):
            claims = None
        if not isinstance(claims, dict):
            raise Unavailable(f"{place(self._url)} did not answer with a JSON object")
        if claims.get("active") is not True:
            raise Rejected("its issuer says that it is not active")
        return claims


def _client(path: str) -> tuple[str, str]:
    name, colon, secret = Path(path).read_text(encoding="utf-8").strip().partition(":")
    if not (name and colon and secret):
        raise ValueError(f"{path} has no id:secret")
    return name, secret


def _keys_at(web: Web, url: str) -> KeySet:
    async def fetch() -> bytes:
        answer = await web.request("GET", url, headers={"Accept": "application/json"})
        if answer.code != 200:
            raise Unavailable(f"{place(url)} answered {answer.code}")
        return answer.body

    return KeySet(fetch)


def _keys_in_file(path: str) -> KeySet:
    file = Path(path).absolute()  # a server that becomes a daemon goes to another folder

    def fetch() -> Deferred[bytes]:
        return deferToThread(file.read_bytes)

    file.read_bytes()  # what cannot be read is to be known at once
    return KeySet(fetch)
