"""A mail server to test against: it keeps what it gets, and does wrong what it is told to.

::

    with MailServer() as server:
        send_welcome("ada@example.net", server.host, server.port)
        [message] = server.wait_for()
        assert message.email["Subject"] == "Welcome"

It is the real server on a real port, in a thread: whatever sends mail can be tested against it.
"""

import shutil
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from twistsmtp.factory import SMTPFactory
from twistsmtp.security import Security
from twistsmtp.testing.faults import Faults, FaultyProtocol
from twistsmtp.testing.inbox import Inbox, ReceivedMessage
from twistsmtp.testing.security import LIMITS, certificate, security_for
from twistsmtp.testing.thread import ServerThread
from twistsmtp.tls.transport import TLSFactory

__all__ = ["MailServer"]


class MailServer(ServerThread):
    """A server with an inbox.

    :param tls: whether it has a certificate: STARTTLS is offered on `port`, and `tls_port` has TLS from the first
        octet.
    :param accounts: passwords by user name. Mail is then taken only from who has authenticated, without TLS, too, as
        the connection does not leave the machine. A password that is wrong is refused at once.
    :param host: an IP address of this machine.
    :param port: 0 for any that is free.
    :param factory: the kind of factory: `LMTPFactory` for LMTP.
    :param settings: of the `SMTPFactory`.
    """

    def __init__(
        self,
        *,
        tls: bool = False,
        accounts: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        factory: type[SMTPFactory] = SMTPFactory,
        **settings: Any,
    ) -> None:
        self.inbox = Inbox()
        #: What goes wrong.
        self.faults = Faults()
        #: Passwords by user name.
        self.accounts = dict(accounts or {})
        self._tls = tls
        self._kind = factory
        self._settings = {"hostname": "mx.test", "limits": LIMITS, **settings}
        if tls or accounts:
            if "security" in settings:
                raise TypeError("security has its own certificate and portal: give that, or tls and accounts")
            self._settings["security"] = security_for(self.inbox, tls=tls, accounts=self.accounts)
        self._folder: Path | None = None
        super().__init__(factory=None, host=host, port=port)
        self._make = self._make_factory

    def __enter__(self) -> "MailServer":
        self.start()
        return self

    def start(self) -> "MailServer":
        """Begin to listen; see `ServerThread.start`."""
        if self._tls and self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="twistsmtp-testing-"))
            public = load_pem_x509_certificate(certificate()).public_bytes(Encoding.PEM)
            (self._folder / "ca.pem").write_bytes(public)
        super().start()
        return self

    def stop(self, grace: float = 0.2) -> None:
        """End; the messages are still there. See `ServerThread.stop`."""
        try:
            super().stop(grace)
        finally:
            folder, self._folder = self._folder, None
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def _make_factory(self) -> SMTPFactory:
        settings = dict(self._settings)
        settings["policies"] = [self.faults, *settings.get("policies", ())]
        factory = self._kind(self.inbox, **settings)
        factory.protocol = FaultyProtocol.having(self.faults, self.inbox.note)
        return factory

    def _listeners(self) -> list[Any]:
        """One port for all, and one with TLS from the first octet if there is a certificate."""
        factory = self.factory
        security: Security = factory.security
        return [factory] if security.tls is None else [factory, TLSFactory(security.tls, False, factory)]

    # --- what a client needs ---------------------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port

    @property
    def tls_port(self) -> int:
        """The port with TLS from the first octet on.

        :raises RuntimeError: it is not running, or has no certificate.
        """
        self._need_tls()
        return self.port_of(1)

    @property
    def cafile(self) -> str:
        """The path of a file with the certificate by which a client knows the server, as ``localhost`` or 127.0.0.1.

        :raises RuntimeError: it is not running, or has no certificate.
        """
        return str(self._need_tls() / "ca.pem")

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """A client's side of TLS, which trusts this server and nobody else: for `smtplib`, asyncio and the like.

        :raises RuntimeError: it is not running, or has no certificate.
        """
        return ssl.create_default_context(cafile=self.cafile)

    def _need_tls(self) -> Path:
        if self._folder is None:
            raise RuntimeError("the server has no certificate: MailServer(tls=True), and start it")
        return self._folder

    # --- what it has got -------------------------------------------------------------------------------------

    @property
    def messages(self) -> list[ReceivedMessage]:
        """The messages so far, oldest first; a list of your own."""
        return list(self.inbox.messages)

    def clear(self) -> None:
        """Forget the messages so far."""
        self.inbox.messages.clear()
        self.inbox.journal.clear()

    def wait_for(self, count: int = 1, timeout: float = 5.0) -> list[ReceivedMessage]:
        """Wait until there are *count* messages.

        :param timeout: seconds.
        :returns: all messages so far.
        :raises AssertionError: there are fewer; it says what happened in their place.
        """
        __tracebackhide__ = True  # pytest is to show the test's line, and not ours
        try:
            return self.call(self.inbox.wait, count, timeout=timeout)
        except TimeoutError:
            raise AssertionError(self._in_vain(count, timeout)) from None

    def _in_vain(self, count: int, timeout: float) -> str:
        there = self.messages
        lines = [f"{count} wanted, {len(there)} came in {timeout:g} seconds"]
        lines += [f"  message from <{each.sender}> to {', '.join(each.recipients)}" for each in there]
        if self.inbox.journal:
            lines += ["What happened besides:", *(f"  {each}" for each in self.inbox.journal)]
        elif not there:
            lines.append("Nobody has said anything to the server that it refused, nor begun a message.")
        return "\n".join(lines)

    # --- faults, by the short way ----------------------------------------------------------------------------

    def refuse(
        self, recipient: str = "*", code: int = 550, text: str = "No such user", *, times: int | None = None
    ) -> None:
        """See `Faults.refuse`; the other faults are in `faults`."""
        self.faults.refuse(recipient, code, text, times=times)

    def defer_once(self, recipient: str = "*", code: int = 451, text: str = "Try again later") -> None:
        """See `Faults.defer_once`."""
        self.faults.defer_once(recipient, code, text)

    def delay(self, phase: str, seconds: float, *, times: int | None = None) -> None:
        """See `Faults.delay`."""
        self.faults.delay(phase, seconds, times=times)

    def drop_after(self, octets: int, *, times: int = 1) -> None:
        """See `Faults.drop_after`."""
        self.faults.drop_after(octets, times=times)

    def read_slowly(self, octets_per_second: float) -> None:
        """See `Faults.read_slowly`."""
        self.faults.read_slowly(octets_per_second)
