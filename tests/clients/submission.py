"""What tests of TLS and authentication share: the service as an operator runs it, with a certificate and accounts."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from tests.clients.kit import ROOT, ClientTestCase, Process, Stored, start
from tests.tls.support import authority, issue, write
from twistsmtp.config import load
from twistsmtp.sasl.credentials import IClientCertificate
from twistsmtp.service import SMTPService

__all__ = ["ANN", "BOB", "ELSEWHERE", "MESSAGE", "Account", "Holders", "SubmissionTestCase", "Way"]

#: As clients that read lines take it, and what they make of it.
MESSAGE = b"From: <a@mx.test>\nSubject: hello\n\n.\nhello\n"
#: Whom only those who may relay can write to.
ELSEWHERE = "c@elsewhere.test"


class Way(Enum):
    """How TLS begins."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True)
class Account:
    """A user, and the password."""

    user: str
    password: str

    @property
    def wrong(self) -> "Account":
        """The same with a password that is not right."""
        return Account(self.user, f"not {self.password}")


#: In a file, which keeps no password.
ANN = Account("ann", "Correct horse 7!")
#: In memory, and so good for CRAM-MD5 as well, which is not offered unless it is asked for: Ann could not use it.
BOB = Account("bob", "secret")


@implementer(ICredentialsChecker)
class Holders:
    """Whoever has a certificate is who it says."""

    credentialInterfaces = (IClientCertificate,)

    def requestAvatarId(self, credentials: Any) -> Any:
        """See `ICredentialsChecker`."""
        return credentials.username.encode()


class SubmissionTestCase(ClientTestCase):
    """A service that takes mail only from users, over TLS, and passes it on to everywhere; into a Maildir, that is."""

    def setUp(self) -> None:
        super().setUp()
        #: The mechanism, the user and the result of each login there was since the last look.
        self.logins: list[tuple[str, str, str]] = []
        self.maildir = self.folder / "Maildir"
        self.certificate = self.issue("mx.pem", "mx.test", "127.0.0.1")
        self.authorities = self.file("ca.pem", authority().cert_pem.bytes())

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_namespace") == "twistsmtp.auth":
                self.logins.append((event["mechanism"], event["user"], event["result"]))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def issue(self, file: str, *names: str) -> str:
        """The path of a new file with a certificate for *names*, and its key."""
        path = write(self.folder / file, issue(*names))
        path.chmod(0o600)
        return str(path.resolve())

    async def start_service(self, *checkers: ICredentialsChecker, **settings: Any) -> None:
        """Start it.

        :param checkers: asked besides those of the settings.
        :param settings: as in a file, with ``_`` for ``-``.
        """
        two = "auth" not in settings
        if two:
            settings["auth"] = [await self.accounts(), f"memory:{BOB.user}:{BOB.password}"]
        self.service = SMTPService(load(self.settings(**settings)))
        portal = self.service.factory.security.portal
        for each in checkers:
            assert portal is not None
            portal.registerChecker(each)
        if two:
            assert portal is not None
            bob: Any = InMemoryUsernamePasswordDatabaseDontUse()
            bob.addUser(BOB.user.encode(), BOB.password.encode())
            portal.registerChecker(bob, IUsernameHashedPassword)
        self.service.startService()
        self.addCleanup(self.service.factory.shutdown, 0.1)
        self.addCleanup(self.service.stopService)
        ports: list[Any] = self.service.ports
        self.ports = dict(zip(Way, (each.getHost().port for each in ports), strict=True))

    def settings(self, **settings: Any) -> dict[str, object]:
        """What the service is told, *settings* before all else."""
        return {
            "listen": ["tcp:0:interface=127.0.0.1", "tls:0:interface=127.0.0.1"],
            "hostname": "mx.test",
            "domain": ["mx.test"],
            "delivery": f"maildir:{self.maildir.resolve()}:create=yes",
            "tls-cert": [self.certificate],
            "require-auth": True,
            "relay-authenticated": True,
            # A failure costs next to nothing.
            "limits.auth-delay": 0.001,
            "limits.auth-delay-most": 0.001,
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }

    async def accounts(self, *schemes: str, account: Account = ANN) -> str:
        """A checker for a file that the command has made.

        :param schemes: what is kept of the password; by default SCRAM's keys.
        """
        path = self.folder / "users"
        kept = [word for scheme in schemes or ("scram-sha-256", "scram-sha-1") for word in ("--scheme", scheme)]
        command = [sys.executable, "-m", "twistsmtp.passwd", "users", account.user, "--stdin", *kept]
        stdin = f"{account.password}\n".encode()
        process = await start(self, command, folder=self.folder, stdin=stdin, PYTHONPATH=str(ROOT)).ended()
        self.assertEqual(process.status, 0, str(process))
        return f"passwd:{path.resolve()}"

    def stored_here(self) -> Iterator[Stored]:
        """The messages that came since the last look. They are removed."""
        folder = self.maildir / "new"
        for path in folder.iterdir() if folder.exists() else ():
            yield Stored.parse(path.read_bytes())
            path.unlink()

    def assert_sent(self, process: Process | None, mechanism: str, user: str, *, octets: bytes | None = None) -> None:
        """*user* has logged in by *mechanism* and sent one message.

        :param process: which has sent it; none if that was this one.
        """
        if process is not None:
            self.assertEqual(process.status, 0, str(process))
        self.assertEqual(self.logins, [(mechanism, user, "succeeded")], process and str(process))
        [stored] = self.stored_here()
        self.assertEqual((stored.protocol, stored.recipient), ("ESMTPSA", ELSEWHERE))
        self.assertEqual(stored.octets, octets or MESSAGE.replace(b"\n", b"\r\n"))
        self.logins.clear()

    def assert_refused(self, process: Process, mechanism: str, user: str, *, status: int, says: str) -> None:
        """*user* has not been let in, and the client understood it."""
        self.assertEqual((process.status, self.logins), (status, [(mechanism, user, "failed")]), str(process))
        self.assertIn(says, str(process))
        self.assertEqual([*self.stored_here()], [])
        self.logins.clear()
