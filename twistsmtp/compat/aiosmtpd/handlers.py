"""Handlers that come with it: print, forward, drop or keep mail, or have it parsed for a subclass."""

import asyncio
import logging
import mailbox
import os
import re
import smtplib
import sys
from abc import ABCMeta, abstractmethod
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from email.message import Message as Em_Message
from email.parser import BytesParser, Parser
from functools import partial
from threading import Lock
from typing import Any, Self, TextIO, TypeAlias

from twistsmtp.compat.aiosmtpd import _get_or_new_eventloop
from twistsmtp.compat.aiosmtpd.smtp import SMTP as SMTPServer
from twistsmtp.compat.aiosmtpd.smtp import Envelope as SMTPEnvelope
from twistsmtp.compat.aiosmtpd.smtp import Session as SMTPSession
from twistsmtp.wire.text import printable

__all__ = ["AsyncMessage", "Debugging", "Mailbox", "Message", "Proxy", "Sink"]

log = logging.getLogger("mail.debug")

#: What the next server has said about recipients that it has not taken: a code, or -1 where it said none, and a text.
Refused: TypeAlias = Mapping[str, tuple[int, bytes | str]]

_NEWLINE = re.compile(rb"\r\n|\r|\n")


def _format_peer(peer: Any) -> str:
    return f"X-Peer: {peer!r}"


class Debugging:
    """Prints mail.

    :param stream: where to; by default the standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stdout if stream is None else stream

    @classmethod
    def from_cli(cls, parser: ArgumentParser, *args: str) -> Self:
        """Make one of the arguments of the command line."""
        streams = {(): None, ("stdout",): sys.stdout, ("stderr",): sys.stderr}
        if args not in streams:
            parser.error("Debugging usage: [stdout|stderr]")
        return cls(streams.get(args))

    def _print_message_content(self, peer: Any, data: str | bytes) -> None:
        in_header = True
        for line in data.splitlines():
            if in_header and not line:
                print(_format_peer(peer), file=self.stream)
                in_header = False
            print(line.decode("utf-8", "replace") if isinstance(line, bytes) else line, file=self.stream)

    async def handle_DATA(self, server: SMTPServer, session: SMTPSession, envelope: SMTPEnvelope) -> str:
        """Print it."""
        print("---------- MESSAGE FOLLOWS ----------", file=self.stream)
        if envelope.mail_options:
            print("mail options:", envelope.mail_options, file=self.stream)
        if any(envelope.rcpt_options):
            print("rcpt options:", envelope.rcpt_options, file=self.stream)
        if envelope.mail_options or any(envelope.rcpt_options):
            print(file=self.stream)
        self._print_message_content(session.peer, envelope.content or b"")
        print("------------ END MESSAGE ------------", file=self.stream)
        return "250 OK"


class Proxy:
    """Forwards mail to another server, and answers as that does: what it has not taken is not taken here.

    :param remote_hostname: its name or address.
    """

    def __init__(self, remote_hostname: str, remote_port: int) -> None:
        self._hostname = remote_hostname
        self._port = remote_port

    async def handle_DATA(self, server: SMTPServer, session: SMTPSession, envelope: SMTPEnvelope) -> str:
        """Forward it, with an X-Peer field at the end of its header."""
        content = envelope.original_content if isinstance(envelope.content, str) else envelope.content
        data = _with_peer(content or b"", session.peer)
        deliver = partial(self._deliver, envelope.mail_from or "", envelope.rcpt_tos, data)
        refused = await asyncio.get_running_loop().run_in_executor(None, deliver)
        log.info("we got some refusals: %s", refused)
        return _answer(refused)

    def _deliver(self, mail_from: str, rcpt_tos: Sequence[str], data: bytes) -> Refused:
        """Speak to the other server, in a thread."""
        try:
            client = smtplib.SMTP()
            client.connect(self._hostname, self._port)
            try:
                return client.sendmail("" if mail_from == "<>" else mail_from, rcpt_tos, data)
            finally:
                client.quit()
        except smtplib.SMTPRecipientsRefused as error:
            log.info("got SMTPRecipientsRefused")
            return error.recipients
        except (OSError, smtplib.SMTPException) as error:
            log.exception("got %s", error.__class__)
            said = getattr(error, "smtp_code", -1), getattr(error, "smtp_error", b"ignore")
            return dict.fromkeys(rcpt_tos, said)


def _with_peer(content: bytes, peer: Any) -> bytes:
    """A message with one more field. Its lines end as lines do, so that no server sees an end where there is none."""
    host = peer[0] if isinstance(peer, tuple) else str(peer or "")
    field = b"X-Peer: " + printable(host).encode("ascii")
    lines = _NEWLINE.split(content)
    end = lines.index(b"") if b"" in lines else len(lines)
    return b"\r\n".join([*lines[:end], field, *lines[end:]])


def _answer(refused: Refused) -> str:
    """One answer for all recipients: the first that is to be tried again, else the first that is refused."""
    if not refused:
        return "250 OK"
    code, text = min(refused.values(), key=lambda said: 500 <= said[0] <= 599)
    if not 400 <= code <= 599:
        return "451 4.4.1 The next server cannot be reached now; try again later"
    said = text.decode("ascii", "backslashreplace") if isinstance(text, bytes) else text
    return f"{code} {printable(' '.join(said.split()), 400)}"


class Sink:
    """Drops mail."""

    @classmethod
    def from_cli(cls, parser: ArgumentParser, *args: str) -> Self:
        """Make one of the arguments of the command line."""
        if args:
            parser.error("Sink handler does not accept arguments")
        return cls()


class MessageBase(metaclass=ABCMeta):
    """What those have that parse mail.

    :param message_class: what it becomes.
    """

    def __init__(self, message_class: type[Em_Message] | None = None) -> None:
        self.message_class = message_class

    def prepare_message(self, session: SMTPSession, envelope: SMTPEnvelope) -> Em_Message:
        """The message, with fields for whom it is from and to.

        :raises TypeError: there is none.
        """
        data, kind = envelope.content, self.message_class or Em_Message
        if isinstance(data, (bytes, bytearray)):
            message: Em_Message = BytesParser(kind).parsebytes(data)
        elif isinstance(data, str):
            message = Parser(kind).parsestr(data)
        else:
            raise TypeError(f"Expected str or bytes, got {type(data)}")
        message["X-Peer"] = str(session.peer)
        message["X-MailFrom"] = str(envelope.mail_from)
        message["X-RcptTo"] = ", ".join(envelope.rcpt_tos)
        return message

    @abstractmethod
    async def handle_DATA(self, server: SMTPServer, session: SMTPSession, envelope: SMTPEnvelope) -> str:
        """Parse it, and give it to the subclass."""


class Message(MessageBase, metaclass=ABCMeta):
    """Gives each message, parsed, to a method of a subclass. The server waits for that, and does nothing else."""

    async def handle_DATA(self, server: SMTPServer, session: SMTPSession, envelope: SMTPEnvelope) -> str:
        """Parse it, and give it to `handle_message`."""
        self.handle_message(self.prepare_message(session, envelope))
        return "250 OK"

    @abstractmethod
    def handle_message(self, message: Em_Message) -> None:
        """Do something with *message*."""


class AsyncMessage(MessageBase, metaclass=ABCMeta):
    """Gives each message, parsed, to a coroutine of a subclass."""

    def __init__(
        self, message_class: type[Em_Message] | None = None, *, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        super().__init__(message_class)
        self.loop = loop or _get_or_new_eventloop()

    async def handle_DATA(self, server: SMTPServer, session: SMTPSession, envelope: SMTPEnvelope) -> str:
        """Parse it, and give it to `handle_message`."""
        await self.handle_message(self.prepare_message(session, envelope))
        return "250 OK"

    @abstractmethod
    async def handle_message(self, message: Em_Message) -> None:
        """Do something with *message*."""


class Mailbox(Message):
    """Keeps mail in a Maildir. It is written in a thread, and is there when the client is told so.

    :param mail_dir: the folder.
    """

    def __init__(self, mail_dir: str | os.PathLike[str], message_class: type[Em_Message] | None = None) -> None:
        self.mailbox = mailbox.Maildir(mail_dir)
        self.mail_dir = mail_dir
        self._lock = Lock()
        super().__init__(message_class)

    async def handle_DATA(self, server: SMTPServer, session: SMTPSession, envelope: SMTPEnvelope) -> str:
        """Parse it, and keep it."""
        message = self.prepare_message(session, envelope)
        await asyncio.get_running_loop().run_in_executor(None, self._handle, message)
        return "250 OK"

    def _handle(self, message: Em_Message) -> None:
        with self._lock:
            self.handle_message(message)

    def handle_message(self, message: Em_Message) -> None:
        """Keep it."""
        self.mailbox.add(message)

    def reset(self) -> None:
        """Drop all that there is."""
        self.mailbox.clear()

    @classmethod
    def from_cli(cls, parser: ArgumentParser, *args: str) -> Self:
        """Make one of the arguments of the command line."""
        if not args:
            parser.error("The directory for the maildir is required")
        elif len(args) > 1:
            parser.error("Too many arguments for Mailbox handler")
        return cls(args[0])
