"""``pam:SERVICE``: asks the system's PAM, which knows the users of this machine and whatever else it is set up for."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from twistsmtp.checkers.errors import Unavailable, extra
from twistsmtp.checkers.turns import Turns
from twistsmtp.sasl.prep import LIMIT

__all__ = ["PAMChecker"]

#: Users that are asked about at once. PAM makes one who is refused wait, and so others may have to.
AT_ONCE = 4

_FOLDERS = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/local/etc/pam.d", "/usr/share/pam.d")
#: Codes that say no, by their names; all others say that PAM does not know.
_DENIED = (
    "PAM_PERM_DENIED",
    "PAM_AUTH_ERR",
    "PAM_USER_UNKNOWN",
    "PAM_MAXTRIES",
    "PAM_NEW_AUTHTOK_REQD",
    "PAM_ACCT_EXPIRED",
    "PAM_CRED_EXPIRED",
    "PAM_AUTHTOK_EXPIRED",
)


class Authenticator(Protocol):
    """What python-pam has for one log-in."""

    code: int

    def authenticate(self, username: bytes, password: bytes, **options: Any) -> bool:
        """Ask PAM; ``code`` has its answer."""


@implementer(ICredentialsChecker)
class PAMChecker:
    """Asks PAM about a name and a password, and whether the account may be used. The avatar identifier is the name.

    Where accounts are those of the system (``pam_unix``), the server must run as root or PAM cannot check any other
    user's password than the server's own.

    :param service: the name of a file in ``/etc/pam.d``.
    :param make: makes what asks PAM; python-pam's by default.
    :param turns: bounds how many are asked about at once; threads by default.
    :raises ValueError: *service* is no name of a service.
    :raises MissingExtra: python-pam is not installed.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self, service: str, *, make: Callable[[], Authenticator] | None = None, turns: Turns | None = None
    ) -> None:
        pam = extra("pam", "pam")
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", service):
            raise ValueError(f"{service!r} is no name of a service")
        self._service = service
        self._make = pam.PamAuthenticator if make is None else make
        self._denied = frozenset(getattr(pam, name) for name in _DENIED)
        self._turns = Turns(AT_ONCE) if turns is None else turns

    @classmethod
    def from_options(cls, service: str = "smtp") -> "PAMChecker":
        """The checker that ``pam:SERVICE`` names.

        :raises ValueError: there is no such service; PAM itself would take another one, ``other``.
        :raises MissingExtra: python-pam is not installed.
        """
        checker = cls(service)
        if not any(Path(folder, service).is_file() for folder in _FOLDERS):
            raise ValueError(f"there is no service {service!r} in {_FOLDERS[0]}")
        return checker

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Whose credentials they are.

        :raises UnauthorizedLogin: PAM says no.
        :raises Unavailable: PAM does not say, or too many are logging in.
        """
        return Deferred.fromCoroutine(self._ask(credentials.username, credentials.password))

    async def _ask(self, username: bytes, password: bytes) -> bytes:
        if not (_fits(username) and _fits(password)):
            raise UnauthorizedLogin
        code = await self._turns.run(self._authenticate, username, password)
        if code in self._denied:
            raise UnauthorizedLogin
        if code != 0:
            raise Unavailable(f"PAM's service {self._service} answered with the code {code}")
        return username

    def _authenticate(self, username: bytes, password: bytes) -> int:
        """PAM's code. It blocks."""
        authenticator = self._make()
        # No session begins here, and so there are no credentials to set.
        right = authenticator.authenticate(username, password, service=self._service, resetcreds=False)
        return 0 if right else authenticator.code or -1


def _fits(octets: bytes) -> bool:
    return 0 < len(octets) <= LIMIT and b"\0" not in octets
