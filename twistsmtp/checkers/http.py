"""``http:URL``: asks a web server whether a name and a password are right, as HTTP Basic authentication has them."""

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from twistsmtp.checkers.errors import Unavailable
from twistsmtp.checkers.web import Web, basic
from twistsmtp.makers import number, yes_or_no
from twistsmtp.sasl.prep import LIMIT
from twistsmtp.web import checked_url, place

__all__ = ["HTTPChecker"]

_DENIED = frozenset({401, 403})


@implementer(ICredentialsChecker)
class HTTPChecker:
    """Sends a GET with the name and the password, as HTTP Basic authentication (RFC 7617) in UTF-8.

    200 to 299 say yes, 401 and 403 say no. Any other answer, a redirect as well, says nothing, and nor does none: the
    client is to come again. The avatar identifier is the name as the client gave it.

    :param url: what to ask.
    :param web: who asks.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, url: str, web: Web) -> None:
        self._url = url
        self._web = web

    @classmethod
    def from_options(cls, url: str, *, timeout: str = "10", ca: str = "", insecure: str = "no") -> "HTTPChecker":
        """The checker that ``http:URL`` names.

        :param timeout: in seconds.
        :param ca: see `Web`.
        :param insecure: whether the URL may be ``http:`` where that is not this machine.
        :raises ValueError: an option is wrong.
        :raises OSError: the file *ca* cannot be read.
        :raises MissingExtra: treq is not installed.
        """
        checked = checked_url(url, insecure=yes_or_no("insecure", insecure))
        return cls(checked, Web(timeout=number("timeout", timeout), ca=ca))

    def stop(self) -> Deferred[None]:
        """See `Stopper`."""
        return self._web.close()

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Whose credentials they are.

        :raises UnauthorizedLogin: the server says no.
        :raises Unavailable: the server does not say.
        """
        return Deferred.fromCoroutine(self._ask(credentials.username, credentials.password))

    async def _ask(self, username: bytes, password: bytes) -> bytes:
        if not _sendable(username) or b":" in username or not _sendable(password):
            raise UnauthorizedLogin
        answer = await self._web.request("GET", self._url, headers=basic(username, password))
        if answer.code in _DENIED:
            raise UnauthorizedLogin
        if not 200 <= answer.code < 300:
            raise Unavailable(f"{place(self._url)} answered {answer.code}")
        return username


def _sendable(octets: bytes) -> bool:
    """RFC 7617 section 2: no control characters."""
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return False
    return 0 < len(octets) <= LIMIT and not any(ord(each) < 32 or 127 <= ord(each) < 160 for each in text)
