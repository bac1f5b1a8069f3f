"""Logins by PAM."""

import os
import sys
from pathlib import Path
from typing import Any, ClassVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.checkers.kit import Threads, need, refused
from twistsmtp.checkers.errors import MissingExtra, Unavailable, extra
from twistsmtp.checkers.pam import PAMChecker
from twistsmtp.checkers.turns import Turns


class Authenticator:
    """In place of python-pam's; answers with a code."""

    asked: ClassVar[list[tuple[bytes, bytes, dict[str, Any]]]] = []

    def __init__(self, code: int) -> None:
        self._answer = code
        self.code = 0

    def authenticate(self, username: bytes, password: bytes, **options: Any) -> bool:
        self.asked.append((username, password, options))
        self.code = self._answer
        return self.code == 0


class PAMTests(SynchronousTestCase):
    def setUp(self) -> None:
        need("pam")
        self.patch(Authenticator, "asked", [])
        self.threads = Threads()

    def ask(self, code: int = 0, name: bytes = b"ada", password: bytes = b"hunter2") -> Deferred[Any]:
        checker = PAMChecker("smtp", make=lambda: Authenticator(code), turns=Turns(1, begin=self.threads))
        verifyObject(ICredentialsChecker, checker)
        asked = checker.requestAvatarId(UsernamePassword(name, password))
        self.threads.run()
        return asked

    def test_yes(self) -> None:
        """In a thread, with the service's name."""
        self.assertEqual(b"ada", self.successResultOf(self.ask()))
        self.assertEqual(1, self.threads.calls)
        self.assertEqual([(b"ada", b"hunter2", {"service": "smtp", "resetcreds": False})], Authenticator.asked)

    def test_no(self) -> None:
        """A wrong password, an unknown user, an account that has ended or may not be used now."""
        pam = extra("pam", "pam")
        for name in ("AUTH_ERR", "USER_UNKNOWN", "ACCT_EXPIRED", "PERM_DENIED", "NEW_AUTHTOK_REQD", "MAXTRIES"):
            self.failureResultOf(self.ask(getattr(pam, f"PAM_{name}")), UnauthorizedLogin)

    def test_does_not_know(self) -> None:
        """PAM has no answer: it is set up wrongly, or whom it asks is away."""
        pam = extra("pam", "pam")
        for name in ("SYSTEM_ERR", "SERVICE_ERR", "AUTHINFO_UNAVAIL", "ABORT", "CRED_INSUFFICIENT"):
            failure = self.failureResultOf(self.ask(getattr(pam, f"PAM_{name}")), Unavailable)
            self.assertNotIn("hunter2", str(failure.value))

    def test_not_asked(self) -> None:
        for name, password in ((b"", b"x"), (b"ada", b""), (b"a\0", b"x"), (b"ada", b"x\0"), (b"a" * 1025, b"x")):
            self.failureResultOf(self.ask(0, name, password), UnauthorizedLogin)
        self.assertEqual([], Authenticator.asked)


class OptionsTests(SynchronousTestCase):
    def test_service(self) -> None:
        need("pam")
        for service in ("", "../login", "a/b", ".x", "a\0b"):
            self.assertRaises(ValueError, PAMChecker, service)
        error = self.assertRaises(ValueError, PAMChecker.from_options, "no-such-service")
        self.assertEqual("there is no service 'no-such-service' in /etc/pam.d", str(error))

    def test_missing(self) -> None:
        self.patch(sys, "modules", {**sys.modules, "pam": None})
        error = self.assertRaises(MissingExtra, PAMChecker, "smtp")
        self.assertIn("twistsmtp[pam]", str(error))


class SystemTests(TestCase):
    """The system's own PAM."""

    async def test_system(self) -> None:
        """``su`` lets root be anybody there is; an account that there is not is refused."""
        need("pam")
        service = Path("/etc/pam.d/su")
        if os.geteuid() or not service.is_file() or "sufficient pam_rootok.so" not in service.read_text():
            raise SkipTest("this takes root, and su as Debian sets it up")
        checker = PAMChecker.from_options("su")
        self.assertEqual(b"root", await checker.requestAvatarId(UsernamePassword(b"root", b"any")))
        await refused(checker.requestAvatarId(UsernamePassword(b"no-such-user", b"any")))
