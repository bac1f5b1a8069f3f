"""One mail on its way to a server (RFC 5321 section 3.3), step by step or all at once.

Step by step is for who has the message in pieces, and has to know of each step, as a relay does::

    await transaction.mail(reverse_path)
    await transaction.rcpt(recipient)      # each; Refused where the server does not take it
    await transaction.open()
    await transaction.write(octets)        # as often as it takes
    verdicts = await transaction.commit()

`begin` says MAIL and all RCPT at once, in one flight where the server has PIPELINING (RFC 2920).

A message goes by BDAT (RFC 3030) where that is offered: its octets go as they are, the recipients' replies are all in
before it begins, and if it is given up half-way, RSET ends it, where behind DATA only closing the connection does.
Otherwise it goes by DATA, with its dots stuffed. The octets never go before the server has taken a recipient, and are
never ended unless all of them were given.
"""

from collections.abc import Awaitable, Iterable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twistsmtp.client.commands import line, mail_command, rcpt_command
from twistsmtp.client.connection import Connection
from twistsmtp.client.errors import (
    BadMessage,
    ClientError,
    ConnectionLost,
    NotOffered,
    OutcomeUnknown,
    ProtocolError,
    Refused,
)
from twistsmtp.client.stuffing import DotStuffer, LineCheck
from twistsmtp.client.verdict import Verdict, first_temporary
from twistsmtp.envelope import Recipient, ReversePath
from twistsmtp.later import awaited
from twistsmtp.wire.reply import Reply

__all__ = ["CHUNK", "ClientTransaction"]

#: Octets of a chunk, where a message goes in several.
CHUNK = 64 * 1024
#: Chunks that may be without a reply.
_UNANSWERED = 16

_NOT_8BIT = Reply(554, "5.6.3", "The message has octets above 127, which the next server does not take (8BITMIME)")
_NO_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")


def _value(failure: Failure) -> ClientError:
    """The error of a reply that will not come, as a value."""
    error = failure.value
    return error if isinstance(error, ClientError) else ConnectionLost("connection", "given up")


class ClientTransaction:
    """One mail.

    :param connection: on which none is under way.
    :param chunking: whether it may go by BDAT where it could go by DATA.
    """

    def __init__(self, connection: Connection, *, chunking: bool = True) -> None:
        self.connection = connection
        #: Those whom the server has taken, in order.
        self.recipients: list[Recipient] = []
        offered = connection.capabilities
        self._chunking = chunking and "CHUNKING" in offered
        self._eightbit = "8BITMIME" in offered
        self._path = ReversePath(mailbox=None)
        self._binary = False
        #: What looks at the octets; ``None`` before `open`.
        self._stuffer: DotStuffer | None = None
        self._check: LineCheck | None = None
        #: Octets for the next chunk, and how many.
        self._kept: list[bytes] = []
        self._size = 0
        #: Whether MAIL was said, and the transaction has not ended there; and whether it has ended here.
        self._begun = False
        self._over = False
        #: Whether 354 was said, so that all octets are the message's until its end.
        self._in_data = False
        #: Why the message cannot be ended any more.
        self._error: ClientError | None = None
        #: The reply to a DATA that was said together with the recipients.
        self._data: Reply | None = None
        #: Chunks without a reply; and whether one is on its way that has not been written to its end.
        self._unanswered = 0
        self._pouring = False
        self._answered: Deferred[None] | None = None

    # --- the envelope -----------------------------------------------------------------------------------------

    async def mail(self, path: ReversePath) -> Reply:
        """Say MAIL. Of the path's ``options``, those are said that the server has.

        :raises Refused: the server does not take the sender.
        :raises NotOffered: an option cannot be said, and cannot be left out.
        :raises ClientError: the connection is lost.
        """
        command = self._mail(path)
        return _accepted("MAIL", await self.connection.command(command))

    async def rcpt(self, recipient: Recipient) -> Reply:
        """Say RCPT. Of the recipient's ``options``, those are said that the server has.

        :raises Refused: the server does not take the recipient.
        :raises NotOffered: an option cannot be said, and cannot be left out.
        :raises ClientError: the connection is lost.
        """
        command = rcpt_command(recipient, self._path, self.connection.capabilities)
        reply = _accepted("RCPT", await self.connection.command(command))
        self.recipients.append(recipient)
        return reply

    async def begin(self, path: ReversePath, recipients: Sequence[Recipient], *, data: bool = False) -> list[Verdict]:
        """Say MAIL and all RCPT, as many at once as the server allows.

        :param data: the message is there: DATA, if it goes by that, is said at once as well.
        :returns: what it says of each recipient.
        :raises Refused: it does not take the sender.
        :raises NotOffered: see `mail`.
        :raises ClientError: the connection is lost.
        """
        capabilities = self.connection.capabilities
        commands = [self._mail(path)]
        verdicts: list[Verdict | None] = []
        for recipient in recipients:
            try:
                commands.append(rcpt_command(recipient, path, capabilities))
                verdicts.append(None)
            except NotOffered as error:
                verdicts.append(Verdict(recipient.mailbox, error.reply))
        data = data and not self._chunking and "PIPELINING" in capabilities
        if data:
            commands.append("DATA")
        mail, *replies = await self._say(commands)
        if data:
            self._data = replies.pop()
            self._in_data = self._data.code == 354
        if mail.code >= 300:
            await self._nothing_to_send()
        _accepted("MAIL", mail)
        for index, recipient in enumerate(recipients):
            if verdicts[index] is None:
                reply = replies.pop(0)
                verdicts[index] = Verdict(recipient.mailbox, _answer("RCPT", reply))
                if reply.code < 300:
                    self.recipients.append(recipient)
        if not self.recipients:
            await self._nothing_to_send()
        return [each for each in verdicts if each is not None]

    # --- the message ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """The message's octets are about to come.

        :raises Refused: the server takes no message, or has taken no recipient.
        :raises ClientError: the connection is lost.
        """
        if not self.recipients:
            raise Refused("DATA", _NO_RECIPIENTS)
        if self._chunking:
            self._check = None if self._binary else LineCheck()
            return
        reply = self._data or await self.connection.command("DATA")
        if reply.code != 354:
            raise _refused("DATA", reply)
        self._in_data = True
        self._stuffer = DotStuffer()

    def write(self, octets: bytes) -> Deferred[None] | None:
        """The next octets of the message, with CRLF line ends, cut anywhere.

        :returns: a Deferred for when there is room for more, if there is none now.
        :raises BadMessage: they have a bare CR or LF.
        :raises NotOffered: they have octets above 127, and the server does not offer 8BITMIME.
        :raises Refused: the server does not take the message.
        :raises ClientError: the connection is lost.
        """
        if self._error is not None:
            raise self._error
        try:
            self._look_at(octets)
            if self._stuffer is not None:
                return self.connection.write(self._stuffer.feed(octets))
        except (BadMessage, NotOffered) as error:
            self._error = error
            raise
        self._kept.append(octets)
        self._size += len(octets)
        return self._send_chunk() if self._size >= CHUNK else None

    async def commit(self) -> tuple[Verdict, ...]:
        """All octets have been written: end the message.

        :returns: what the server says of each recipient that it had taken, in order; over SMTP the same of all.
            Where an LMTP server's connection is lost behind the first that it has taken, those that it has said nothing
            of have a reply of ours, 451 4.4.2.
        :raises Refused: it does not take the message, for any of them.
        :raises BadMessage: the message ends with a bare CR.
        :raises OutcomeUnknown: the connection was lost before the server's reply.
        :raises ClientError: the connection was lost before that.
        """
        if self._error is not None:
            raise self._error
        if self._stuffer is not None:
            return await self._end([self._stuffer.end()])
        if self._check is not None:
            self._check.end()
        await self._all_answered()
        kept, self._kept = self._kept, []
        return await self._end([line(f"BDAT {self._size} LAST"), *kept])

    async def send(self, octets: bytes) -> tuple[Verdict, ...]:
        """A whole message: `open`, `write` and `commit` in one. By BDAT it is one chunk."""
        await self.open()
        pieces = [octets[start : start + CHUNK] for start in range(0, len(octets), CHUNK)] or [b""]
        if self._stuffer is not None:
            for piece in pieces:
                await awaited(self.write(piece))
            return await self.commit()
        self._look_at(octets)
        if self._check is not None:
            self._check.end()
        header = line(f"BDAT {len(octets)} LAST")
        self._pouring = True
        for piece in pieces[:-1]:
            await awaited(self.connection.write([header, piece] if header else piece))
            header = b""
        self._pouring = False
        return await self._end([header, pieces[-1]])

    def abort(self) -> None:
        """Give the message up, wherever it is; the server takes nothing of it. The connection goes on, unless only its
        end could end the message."""
        connection = self.connection
        if self._over or not connection.usable:
            return
        self._over = True
        if self._in_data or self._pouring or connection.waiting > self._unanswered:
            connection.abort()
        elif self._begun:
            [reply] = connection.send(line("RSET"), ["RSET"])
            reply.addCallbacks(self._reset, _value)

    # --- inside -----------------------------------------------------------------------------------------------

    def _reset(self, reply: Reply) -> None:
        if reply.code != 250:
            self.connection.abort()

    def _look_at(self, octets: bytes) -> None:
        """See whether *octets* may go to this server."""
        if not (self._eightbit or octets.isascii()):
            raise NotOffered("8BITMIME", _NOT_8BIT)
        if self._check is not None:
            self._check.feed(octets)

    async def _end(self, octets: list[bytes]) -> tuple[Verdict, ...]:
        """Send the last *octets* of the message, and have the verdicts."""
        lmtp = self.connection.lmtp
        steps = ["end of message"] * (len(self.recipients) if lmtp else 1)
        outcomes = [each.addErrback(_value) for each in self.connection.send(octets, steps, ends=True)]
        self._in_data = False
        replies, unknown = await self._words(outcomes)
        if not lmtp:
            replies *= len(self.recipients)
        verdicts = tuple(
            Verdict(recipient.mailbox, reply) for recipient, reply in zip(self.recipients, replies, strict=True)
        )
        if not any(each.accepted for each in verdicts):
            if unknown is not None:
                raise unknown
            # Behind BDAT the transaction stays, in the state of having failed (RFC 3030 section 2).
            self._begun = self._stuffer is None
            raise Refused("end of message", first_temporary(replies), verdicts)
        self._begun, self._over = False, True
        return verdicts

    async def _words(
        self, outcomes: "Iterable[Deferred[Reply | ClientError]]"
    ) -> tuple[list[Reply], ClientError | None]:
        """The replies to a message, and why the last of them are ours: each that has come stands, though the connection
        is lost before the next."""
        replies: list[Reply] = []
        unknown: ClientError | None = None
        for outcome in outcomes:
            result = await outcome
            if isinstance(result, Reply) and 300 <= result.code < 400:
                self.connection.abort()
                result = OutcomeUnknown("no reply to a message")
            if isinstance(result, ClientError):
                unknown = unknown or result
            replies.append(result.reply if isinstance(result, ClientError) else result)
        return replies, unknown

    async def _nothing_to_send(self) -> None:
        """The server has taken no recipient. If it wants a message all the same, it gets none: RFC 2920 section 3.1
        has it refuse that."""
        if not self._in_data:
            return
        if self.connection.lmtp:  # which has no reply to that
            self.connection.abort()
            return
        self._in_data = False
        [reply] = self.connection.send(b".\r\n", ["DATA"])
        await reply

    def _mail(self, path: ReversePath) -> str:
        connection = self.connection
        command = mail_command(path, connection.capabilities, secure=connection.verified)
        self._path, self._begun = path, True
        self._binary = any(k.upper() == "BODY" and (v or "").upper() == "BINARYMIME" for k, v in path.options)
        if self._binary:
            self._chunking = True
        return command

    async def _say(self, commands: Iterable[str]) -> list[Reply]:
        """The replies to *commands*, all said at once if the server has PIPELINING."""
        steps = [(line(command), command.partition(" ")[0]) for command in commands]
        if "PIPELINING" not in self.connection.capabilities:
            return [await self._one(octets, step) for octets, step in steps]
        sent = self.connection.send(b"".join(octets for octets, _ in steps), [step for _, step in steps])
        return await _replies([each.addErrback(_value) for each in sent])

    def _one(self, octets: bytes, step: str) -> Awaitable[Reply]:
        [reply] = self.connection.send(octets, [step])
        return reply

    def _send_chunk(self) -> Deferred[None] | None:
        """Send what is kept as a chunk that is not the last."""
        [reply] = self.connection.send([line(f"BDAT {self._size}"), *self._kept], ["BDAT"])
        self._kept, self._size = [], 0
        self._unanswered += 1
        reply.addErrback(_value).addCallback(self._chunk_answered)
        if self._error is not None:
            raise self._error
        most = _UNANSWERED if "PIPELINING" in self.connection.capabilities else 1
        if self._unanswered < most:
            return self.connection.room()
        self._answered = Deferred(lambda _: self.connection.abort())
        return self._answered

    def _chunk_answered(self, result: Reply | ClientError) -> None:
        self._unanswered -= 1
        if self._error is None:
            if isinstance(result, ClientError):
                self._error = result
            elif result.code != 250:
                self._error = _refused("BDAT", result)
        answered, self._answered = self._answered, None
        if answered is not None and not answered.called:
            if self._error is not None:
                answered.errback(self._error)
            else:
                answered.callback(None)

    async def _all_answered(self) -> None:
        """Wait for the replies to the chunks: the last is not sent behind one that was refused."""
        while self._unanswered:
            self._answered = Deferred(lambda _: self.connection.abort())
            await self._answered
        if self._error is not None:
            raise self._error


async def _replies(outcomes: "Iterable[Deferred[Reply | ClientError]]") -> list[Reply]:
    """All of them.

    :raises ClientError: the first that is none.
    """
    replies = []
    for outcome in outcomes:
        result = await outcome
        if isinstance(result, ClientError):
            raise result
        replies.append(result)
    return replies


def _answer(step: str, reply: Reply) -> Reply:
    """*reply*, if it says yes or no."""
    if 300 <= reply.code < 400:
        raise ProtocolError(f"{step}: {reply.code}")
    return reply


def _accepted(step: str, reply: Reply) -> Reply:
    if _answer(step, reply).code >= 300:
        raise Refused(step, reply)
    return reply


def _refused(step: str, reply: Reply) -> ClientError:
    """The error for a *reply* that is not the one to go on by."""
    return ProtocolError(f"{step}: {reply.code}") if reply.positive else Refused(step, reply)
