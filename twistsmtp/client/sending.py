"""`send`: one message to one server, and what it says of each recipient.

What ``twisted.mail.smtp.sendmail`` does, and more: see docs/client.rst for how the one becomes the other.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from twistsmtp.client.capabilities import Capabilities
from twistsmtp.client.commands import PARAMETERS, mailbox_of
from twistsmtp.client.destination import Destination
from twistsmtp.client.errors import Refused
from twistsmtp.client.message import InThread, Message, render
from twistsmtp.client.opening import Connector
from twistsmtp.client.pool import Pool
from twistsmtp.client.timeouts import Timeouts
from twistsmtp.client.tls import ClientTLS, TLSMode
from twistsmtp.client.transaction import ClientTransaction
from twistsmtp.client.verdict import Result, Verdict, first_temporary
from twistsmtp.envelope import Recipient, ReversePath
from twistsmtp.later import awaited
from twistsmtp.sasl.client_api import Credentials
from twistsmtp.wire.grammar import Mailbox, parse_parameters

__all__ = ["destination_of", "send", "send_to"]

#: Whom a message is for: one address or several. A `Recipient` may have options of its own.
Recipients = str | Mailbox | Recipient | Iterable[str | Mailbox | Recipient]


async def send(
    sender: str | Mailbox | None,
    recipients: Recipients,
    message: Message,
    *,
    host: str = "localhost",
    port: int | None = None,
    path: str = "",
    tls: TLSMode | str | None = None,
    ca: str = "",
    certificate: str = "",
    ssl: Any = None,
    username: str = "",
    password: str = "",
    token: str = "",
    credentials: Credentials | None = None,
    lmtp: bool = False,
    hostname: str = "",
    mail_options: Sequence[str] = (),
    rcpt_options: Sequence[str] = (),
    chunking: bool = True,
    timeouts: Timeouts | None = None,
    reactor: Any = None,
) -> Result:
    """Send *message* by a connection of its own. With several messages to send, use a `Pool` and `send_to`.

    :param sender: where reports of what was not delivered go (RFC 5321 section 4.1.1.2); ``""`` or ``None`` for
        nowhere.
    :param message: octets with CRLF line ends, or anything else that a `Message` may be.
    :param port: where there is none: 24 for LMTP, 465 for implicit TLS, 587 with credentials, else 25.
    :param path: of a UNIX socket, in place of *host* and *port*.
    :param tls: see `TLSMode`. Where there is none: ``implicit`` at port 465, ``required`` with credentials, ``none`` on
        a UNIX socket, else ``opportunistic``.
    :param ca: see `ClientTLS`, as for *certificate*; and *ssl*, which is its ``options``.
    :param username: with *password*, or *token* of OAuth 2; *credentials* in their place have more to say.
    :param hostname: what to say in EHLO; the name of this machine where there is none.
    :param mail_options: parameters of MAIL, ``"RET=HDRS"``; see `ClientTransaction.mail`.
    :param rcpt_options: parameters of each RCPT, ``"NOTIFY=SUCCESS,FAILURE"``.
    :param chunking: see `Destination`.
    :param reactor: the global one if none is given.
    :returns: what the server said of each recipient: it has taken the message for one of them at least.
    :raises Refused: it has taken it for none. Its ``verdicts`` tell of each.
    :raises ClientError: there is no word of the server; see `twistsmtp.client.errors`.
    :raises ValueError: an address or an option is none, or is none that this client knows.
    """
    if credentials is None and (username or password or token):
        credentials = Credentials(username=username, password=password, token=token)
    destination = destination_of(
        "" if path else host,
        port,
        path=path,
        tls=tls,
        ca=ca,
        certificate=certificate,
        options=ssl,
        credentials=credentials,
        lmtp=lmtp,
        hostname=hostname,
        chunking=chunking,
        timeouts=timeouts or Timeouts(),
    )
    pool = Pool(Connector(reactor))
    try:
        return await send_to(
            pool, destination, sender, recipients, message, mail_options=mail_options, rcpt_options=rcpt_options
        )
    finally:
        await pool.close()


def destination_of(
    host: str = "",
    port: int | None = None,
    *,
    tls: TLSMode | str | None = None,
    ca: str = "",
    certificate: str = "",
    options: Any = None,
    credentials: Credentials | None = None,
    path: str = "",
    lmtp: bool = False,
    hostname: str = "",
    **more: Any,
) -> Destination:
    """The destination that this describes, as `send` does; *more* is what else a `Destination` has.

    :raises ValueError: it makes no sense.
    :raises OSError: a file cannot be read.
    """
    if tls is not None and tls not in set(TLSMode):
        raise ValueError(f"tls is {', '.join(TLSMode)}, not {tls!r}")
    if tls is None:
        if path:
            tls = TLSMode.NONE
        elif port == 465:
            tls = TLSMode.IMPLICIT
        else:
            tls = TLSMode.OPPORTUNISTIC if credentials is None else TLSMode.REQUIRED
    mode = TLSMode(tls)
    if port is None:
        if lmtp:
            port = 24
        elif mode is TLSMode.IMPLICIT:
            port = 465
        else:
            port = 25 if credentials is None else 587
    return Destination(
        host=host,
        port=port,
        path=path,
        tls=ClientTLS(mode, ca=ca, certificate=certificate, options=options),
        credentials=credentials,
        lmtp=lmtp,
        hostname=hostname,
        **more,
    )


async def send_to(
    pool: Pool,
    destination: Destination,
    sender: str | Mailbox | None,
    recipients: Recipients,
    message: Message,
    *,
    mail_options: Sequence[str] = (),
    rcpt_options: Sequence[str] = (),
) -> Result:
    """Send *message* by a connection of *pool*. See `send`."""
    mailbox = None if sender is None or sender == "" else mailbox_of(sender)
    for_each = _options(rcpt_options)
    to = [_recipient(each, for_each) for each in _several(recipients)]
    if not to:
        raise ValueError("there is no recipient")
    options = _options(mail_options)
    not_ascii = not all(each.is_ascii for each in (*(each.mailbox for each in to), *filter(None, [mailbox])))
    prepared = _Prepared(
        mailbox=mailbox,
        options=options,
        recipients=to,
        message=message,
        not_ascii=not_ascii,
        in_thread=pool.connector.in_thread,
    )
    transaction, verdicts = await pool.begin(destination, prepared.begin)
    try:
        refused = [each for each in verdicts if not each.accepted]
        if len(refused) == len(verdicts):
            raise Refused("RCPT", first_temporary([each.reply for each in refused]), verdicts)
        answers = iter(await prepared.finish(transaction))
        return Result(tuple(next(answers) if each.accepted else each for each in verdicts))
    except Refused as error:
        if error.step == "RCPT":
            raise
        told = iter(error.verdicts)
        whole = [next(told, Verdict(v.recipient, error.reply)) if v.accepted else v for v in verdicts]
        raise Refused(error.step, first_temporary([each.reply for each in whole]), whole) from None
    finally:
        transaction.abort()
        pool.give_back(destination, transaction.connection)


def _options(texts: Sequence[str]) -> tuple[tuple[str, str | None], ...]:
    """The parameters *texts*. One that would not be said, as a relay's client has some that are for the relay, is
    none here."""
    options = parse_parameters(" ".join(texts))
    for keyword, _ in options:
        if keyword.upper() not in PARAMETERS:
            raise ValueError(f"{keyword} is none of the parameters that can be sent: {', '.join(PARAMETERS)}")
    return options


def _several(recipients: Recipients) -> list[str | Mailbox | Recipient]:
    return [recipients] if isinstance(recipients, str | Mailbox | Recipient) else list(recipients)


def _recipient(address: str | Mailbox | Recipient, options: tuple[tuple[str, str | None], ...]) -> Recipient:
    if isinstance(address, Recipient):
        return Recipient(mailbox=mailbox_of(address.mailbox), options=(*address.options, *options))
    return Recipient(mailbox=mailbox_of(address), options=options)


@dataclass(slots=True, eq=False, kw_only=True)
class _Prepared:
    """One message for one server."""

    mailbox: Mailbox | None
    options: tuple[tuple[str, str | None], ...]
    recipients: Sequence[Recipient]
    message: Message
    #: Whether an address is not ASCII.
    not_ascii: bool
    in_thread: InThread
    #: What the message is for the server, once that is known.
    octets: bytes | AsyncIterable[bytes] = b""

    async def begin(self, transaction: ClientTransaction) -> list[Verdict]:
        """Say whom the message is from and to."""
        offered = transaction.connection.capabilities
        self.octets = octets = await render(self.message, offered, utf8=self.not_ascii, in_thread=self.in_thread)
        options = dict(self.options)
        header = octets.partition(b"\r\n\r\n")[0] if isinstance(octets, bytes) else b""
        if not header.isascii() or (self.not_ascii and "SMTPUTF8" in offered):
            options.setdefault("SMTPUTF8", None)
        if isinstance(octets, bytes):
            options.setdefault("SIZE", str(len(octets)))
        if self._may_be_8bit(octets, offered):
            options.setdefault("BODY", "8BITMIME")
        path = ReversePath(mailbox=self.mailbox, options=tuple(options.items()))
        return await transaction.begin(path, self.recipients, data=isinstance(octets, bytes))

    @staticmethod
    def _may_be_8bit(octets: bytes | AsyncIterable[bytes], offered: Capabilities) -> bool:
        return not octets.isascii() if isinstance(octets, bytes) else "8BITMIME" in offered

    async def finish(self, transaction: ClientTransaction) -> Sequence[Verdict]:
        """Send the message."""
        if isinstance(self.octets, bytes):
            return await transaction.send(self.octets)
        await transaction.open()
        try:
            async for piece in self.octets:
                await awaited(transaction.write(piece))
        except Exception:
            if isinstance(self.octets, AsyncGenerator):
                await self.octets.aclose()  # so that it need not wait for the garbage collector to be done
            raise
        return await transaction.commit()
