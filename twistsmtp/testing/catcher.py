"""A server that takes all mail and prints it: ``python -m twistsmtp.testing``.

It stands in for ``python -m smtpd -n -c DebuggingServer`` and ``python -m aiosmtpd -n``. An application that is being
written sends its mail to localhost:1025, and what it sends is to be seen; nothing goes anywhere else. Every recipient
is taken, and every password.
"""

import argparse
import base64
import json
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from zope.interface import implementer

from twistsmtp.delivery.api import Delivery
from twistsmtp.delivery.maildir import Maildir
from twistsmtp.delivery.tee import Tee
from twistsmtp.factory import SMTPFactory
from twistsmtp.portals import portal_for
from twistsmtp.security import Security
from twistsmtp.testing.faults import Faults, FaultyProtocol
from twistsmtp.testing.inbox import Inbox, ReceivedMessage
from twistsmtp.tls.certificates import Certificates
from twistsmtp.tls.development import make_development_certificate
from twistsmtp.wire.text import printable

__all__ = ["Catcher", "as_json", "as_text", "main", "one_line"]

ADDRESS = "localhost:1025"


# --- how a message looks -----------------------------------------------------------------------------------------


def one_line(message: ReceivedMessage) -> str:
    """The envelope of *message* in a line."""
    facts = [
        f"from <{printable(message.sender)}>",
        f"to {', '.join(f'<{printable(each)}>' for each in message.recipients)}",
        f"{len(message.octets)} octets",
        f"client {message.client} ({printable(message.helo)})",
        *(["TLS"] if message.encrypted else []),
        *([f"user {printable(message.identity)}"] if message.identity is not None else []),
    ]
    return "; ".join(facts)


def as_text(message: ReceivedMessage) -> str:
    """The envelope of *message*, and what it says. What is neither printable nor a line end is escaped: no message can
    speak to a terminal."""
    text = message.octets.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    shown = "".join(map(_visible, text))
    return f"--- {one_line(message)}\n{shown}{'' if shown.endswith(chr(10)) else chr(10)}---\n"


def _visible(character: str) -> str:
    if character in "\n\t" or character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def as_json(message: ReceivedMessage) -> str:
    """All of *message* as an object in one line. What it says is ``message``, or ``message_base64`` where it is not
    UTF-8."""
    try:
        content = {"message": message.octets.decode()}
    except UnicodeDecodeError:
        content = {"message_base64": base64.b64encode(message.octets).decode()}
    facts = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "sender": message.sender,
        "recipients": message.recipients,
        "client": message.client,
        "helo": message.helo,
        "tls": message.encrypted,
        "identity": message.identity,
        "size": len(message.octets),
    }
    return json.dumps({**facts, **content}) + "\n"


class Catcher(Inbox):
    """Shows each message as it comes, and keeps none.

    :param show: what makes text of a message.
    :param output: where it goes.
    :param say: is told what was refused.
    :param gone: is called when nobody reads the output any more.
    """

    def __init__(
        self,
        show: Callable[[ReceivedMessage], str],
        output: IO[str],
        say: Callable[[str], object] = lambda text: None,
        gone: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__()
        self._show = show
        self._output = output
        self._say = say
        self._gone = gone

    def note(self, what: str) -> None:
        """Say that *what* happened."""
        self._say(printable(what))

    def keep(self, message: ReceivedMessage) -> None:
        """Show *message*."""
        try:
            self._output.write(self._show(message))
            self._output.flush()
        except BrokenPipeError:
            self._gone()
            raise


# --- everybody's password is right -------------------------------------------------------------------------------


@implementer(ICredentialsChecker)
class _Anybody:
    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """See `ICredentialsChecker`."""
        return succeed(credentials.username)


# --- the command -------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m twistsmtp.testing", description="Takes all mail, and prints it. Nothing is sent anywhere."
    )
    parser.add_argument("address", nargs="?", default=ADDRESS, metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument(
        "-l", "--listen", dest="address", metavar="HOST:PORT", default=argparse.SUPPRESS, help="the same"
    )
    parser.add_argument("--json", action="store_true", help="an object in a line for each message")
    parser.add_argument("--quiet", "-q", action="store_true", help="a line for each message, without what it says")
    parser.add_argument("--maildir", metavar="FOLDER", help="keep the messages in this Maildir, too")
    parser.add_argument("--tls", action="store_true", help="offer STARTTLS, with a certificate that nobody else trusts")
    parser.add_argument("-n", "--nosetuid", action="store_true", help="does nothing: this server changes no user")
    return parser


def _split(address: str) -> tuple[str, int]:
    """Host and port; one of them may be missing.

    :raises ValueError: *address* is none.
    """
    host, _, port = address.rpartition(":") if ":" in address else ("", "", address)
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{printable(address)!r} is not HOST:PORT")
    return host.strip("[]") or "localhost", int(port)


def _listen(reactor: Any, factory: SMTPFactory, host: str, port: int) -> list[Any]:
    """Listen on all addresses of *host*.

    :raises OSError: *host* has none.
    :raises CannotListenError: none of them can be listened on.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    ports: list[Any] = []
    failed: CannotListenError | None = None
    for address in dict.fromkeys(str(each[4][0]) for each in found):
        try:
            ports.append(reactor.listenTCP(port, factory, interface=address))
        except CannotListenError as error:
            failed = error
        else:
            port = ports[0].getHost().port  # of a port that is free on the first the others are to have the same
    if not ports and failed is not None:
        raise failed
    return ports


def _factory(catcher: Catcher, options: argparse.Namespace, scratch: Path, say: Callable[[str], object]) -> SMTPFactory:
    deliveries: list[Delivery] = [catcher]
    if options.maildir:
        deliveries.insert(0, Maildir(options.maildir, create=True))
    delivery = Tee(deliveries) if options.maildir else catcher
    tls = None
    if options.tls:
        tls = Certificates(certificate := make_development_certificate(scratch))
        say(f"certificate {certificate}")
    portal = portal_for(delivery, _Anybody())
    factory = SMTPFactory(delivery, security=Security(tls=tls, portal=portal, plaintext_auth=True))
    factory.protocol = FaultyProtocol.having(Faults(), catcher.note)
    return factory


def main(arguments: Sequence[str] | None = None, *, output: IO[str] | None = None) -> int:
    """Run the command, until it is interrupted.

    :param arguments: those of the process if there are none.
    :param output: where messages go: standard output.
    :returns: the exit status.
    """
    from twisted.internet import reactor

    options = _parser().parse_args(arguments)
    if output is None and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # whatever it can write, it takes all mail
    clock: Any = reactor
    say = partial(print, file=sys.stderr, flush=True)
    show = as_json if options.json else (lambda each: f"{one_line(each)}\n") if options.quiet else as_text
    catcher = Catcher(show, output or sys.stdout, say, clock.stop)
    with tempfile.TemporaryDirectory(prefix="twistsmtp-testing-") as scratch:
        try:
            factory = _factory(catcher, options, Path(scratch), say)
            ports = _listen(clock, factory, *_split(options.address))
        except (OSError, ValueError, CannotListenError) as error:
            say(printable(str(error)))
            return 1
        hosts = [port.getHost() for port in ports]
        say("listening on " + ", ".join(f"{each.host}:{each.port}" for each in hosts))
        clock.addSystemEventTrigger("before", "shutdown", factory.shutdown, 1.0)
        clock.run()
    return 0
