"""What the server logs: one structured event for each message, and one for each connection.

An event carries its facts as fields, so that an observer can count or store them; ``log_format`` is only how a
person reads it. Texts that a client sent are made printable here.
"""

from twisted.logger import Logger
from twisted.python.failure import Failure

from twistsmtp.session import Session, Transaction
from twistsmtp.wire.text import printable

__all__ = ["connection_ended", "exception_caught", "message_ended"]

_connection = Logger(namespace="twistsmtp.connection")
_message = Logger(namespace="twistsmtp.message")

#: Recipients of a message that its event names; the event has the count of all.
NAMED_RECIPIENTS = 20


def message_ended(session: Session, transaction: Transaction, result: str) -> None:
    """A message whose octets had begun to come has ended.

    :param result: ``"accepted"``, the reply that refused it, or why it was aborted.
    """
    recipients = transaction.recipients
    named = ", ".join([printable(str(recipient)) for recipient in recipients[:NAMED_RECIPIENTS]])
    _message.info(
        "{id} from=<{sender}> to={recipients} nrcpt={recipient_count} size={size} {result} in {duration:.3f}s",
        id=transaction.id,
        client=session.client,
        identity=session.identity,
        sender=printable(str(transaction.reverse_path)),
        recipients=named,
        recipient_count=len(recipients),
        size=transaction.octets,
        result=result,
        duration=session.seconds() - (transaction.opened or 0.0),
    )


def connection_ended(
    session: Session,
    *,
    reason: str,
    octets_in: int,
    octets_out: int,
    early_talker: bool,
    duration: float,
) -> None:
    """A connection is gone.

    :param reason: why it ended.
    :param early_talker: whether the client talked before the greeting.
    :param duration: seconds.
    """
    _connection.info(
        "{id} client={client} helo={helo} accepted={accepted} refused={refused} errors={errors} "
        "in={octets_in} out={octets_out} {reason} after {duration:.3f}s",
        id=session.id,
        client=session.client,
        helo=printable(session.helo) if session.helo is not None else "-",
        identity=session.identity,
        tls=session.tls.version if session.tls else None,
        accepted=session.counts.accepted,
        refused=session.counts.refused,
        errors=session.counts.errors,
        octets_in=octets_in,
        octets_out=octets_out,
        early_talker=early_talker,
        reason=printable(reason),
        duration=duration,
    )


def exception_caught(session: Session, failure: Failure, reply: str) -> None:
    """A delivery or policy failed in a way that it did not choose: the client gets *reply*, the log all of it."""
    _connection.failure(
        "{id} client={client} an exception was answered by {reply}",
        failure=failure,
        id=session.id,
        client=session.client,
        reply=reply,
    )
