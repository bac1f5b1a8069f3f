"""Why a message was not sent.

Each error has a `Reply`: what there is to say to whoever gave us the message, as a relay does. Where the far side has
refused, it is the far side's own reply; elsewhere it is ours, and a 4xx wherever another attempt may do better. No
error's text holds a secret, and what it has of the far side is printable.
"""

from collections.abc import Sequence

from twistsmtp.client.verdict import Verdict
from twistsmtp.wire.reply import Reply
from twistsmtp.wire.text import printable

__all__ = [
    "AuthError",
    "BadMessage",
    "ClientError",
    "ConnectError",
    "ConnectionLost",
    "NotOffered",
    "OutcomeUnknown",
    "ProtocolError",
    "Refused",
    "TLSError",
    "TimedOut",
]


class ClientError(Exception):
    """A message was not sent, or not to everybody.

    :param reply: what to say to whoever gave us the message.
    :param text: what is wrong, in one line.
    """

    def __init__(self, reply: Reply, text: str = "") -> None:
        super().__init__(printable(text) if text else str(reply))
        self.reply = reply

    @property
    def temporary(self) -> bool:
        """Whether the same may succeed later."""
        return self.reply.temporary


class ConnectError(ClientError):
    """There is no connection: nobody listens there, the name is unknown, it took too long, or too many wait."""

    def __init__(self, text: str) -> None:
        super().__init__(Reply(451, "4.4.1", "The next server cannot be reached"), text)


class ConnectionLost(ClientError):
    """The connection ended before the message had been sent: the far side has not taken it.

    :param step: what was to be answered: ``"MAIL"``.
    """

    def __init__(self, step: str, text: str = "connection lost") -> None:
        super().__init__(Reply(451, "4.4.2", "The connection to the next server was lost"), f"{step}: {text}")
        self.step = step


class TimedOut(ConnectionLost):
    """The far side took longer than it may (RFC 5321 section 4.5.3.2). The connection was closed."""

    def __init__(self, step: str) -> None:
        super().__init__(step, "no answer in time")


class OutcomeUnknown(ConnectionLost):
    """The connection ended behind the message's end and before the reply: whether the far side has taken the message
    cannot be known. To send it again may double it; not to send it may lose it, which is worse."""

    def __init__(self, text: str = "connection lost before the reply") -> None:
        super().__init__("end of message", text)


class TLSError(ClientError):
    """There is no encryption of the kind that was asked for. Nothing was sent without it."""

    def __init__(self, text: str) -> None:
        super().__init__(Reply(451, "4.7.5", "The next server cannot be spoken to securely"), text)


class AuthError(ClientError):
    """We are not let in.

    :param refusal: what the far side said, if it did.
    """

    def __init__(self, text: str, refusal: Reply | None = None) -> None:
        own = Reply(535, "5.7.8", "The next server does not let us in")
        super().__init__(own if refusal is None else refusal, text if refusal is None else f"{text}: {refusal}")
        self.refusal = refusal


class ProtocolError(ClientError):
    """The far side says what no SMTP server says. The connection was closed."""

    def __init__(self, text: str) -> None:
        super().__init__(Reply(451, "4.5.0", "The next server does not speak SMTP"), text)


class NotOffered(ClientError):
    """The message needs an extension that the far side does not offer.

    :param keyword: the extension's, as in the reply to EHLO.
    """

    def __init__(self, keyword: str, reply: Reply) -> None:
        super().__init__(reply)
        self.keyword = keyword


class BadMessage(ClientError):
    """The message cannot be sent in this form: it has a bare CR or LF, which servers do not agree on (SMTP smuggling),
    or is too large."""


class Refused(ClientError):
    """The far side has refused; `reply` is what it said.

    :param step: what was refused: ``"MAIL"``, or ``"end of message"``.
    :param verdicts: what it said of each recipient, where it said that.
    """

    def __init__(self, step: str, reply: Reply, verdicts: Sequence[Verdict] = ()) -> None:
        super().__init__(reply, f"{step}: {reply}")
        self.step = step
        self.verdicts = tuple(verdicts)
