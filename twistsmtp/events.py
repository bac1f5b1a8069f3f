"""What the server logs: one structured event for each message, and one for each connection.

An event carries its facts as fields, so that an observer can count or store them; ``log_format`` is only how a
person reads it. Texts that a client sent are made printable here. ``log_dialect`` is the factory's `Registry`, by which
an observer tells the servers of one process from each other.
"""

from collections.abc import Callable
from time import time
from typing import Any

from twisted.logger import LogEvent, Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from twistsmtp.session import Session
from twistsmtp.tls.facts import TLS
from twistsmtp.transaction import Transaction
from twistsmtp.wire.text import printable

__all__ = ["connection_ended", "exception_caught", "message_ended"]

_connection = Logger(namespace="twistsmtp.connection")


def _common(namespace: str, format: str, text: Callable[[LogEvent], str]) -> dict[str, Any]:
    """What all events of *namespace* have in common.

    They go to the observers as they are, and not through `Logger.info`, whose look at the level costs as much as all
    the rest. *text* says the same as *format*, in half the time; `twistsmtp.log` knows of it.
    """
    logger = Logger(namespace=namespace)
    return {
        "log_logger": logger,
        "log_level": LogLevel.info,
        "log_namespace": namespace,
        "log_source": None,
        "log_format": format,
        "log_render": text,
    }


_MESSAGE = _common(
    "twistsmtp.message",
    "{id} from=<{sender}> to={recipients} nrcpt={recipient_count} size={size} {result} in {duration:.3f}s",
    lambda event: (
        f"{event['id']} from=<{event['sender']}> to={event['recipients']} nrcpt={event['recipient_count']} "
        f"size={event['size']} {event['result']} in {event['duration']:.3f}s"
    ),
)
_CONNECTION = _common(
    "twistsmtp.connection",
    "{id} client={client} helo={helo} accepted={accepted} refused={refused} errors={errors} "
    "in={octets_in} out={octets_out} {reason} after {duration:.3f}s",
    lambda event: (
        f"{event['id']} client={event['client']} helo={event['helo']} accepted={event['accepted']} "
        f"refused={event['refused']} errors={event['errors']} in={event['octets_in']} out={event['octets_out']} "
        f"{event['reason']} after {event['duration']:.3f}s"
    ),
)

_PLAIN = {**_CONNECTION, **dict.fromkeys(("tls", "cipher", "server_name", "alpn", "peer", "encryption"))}
_ENCRYPTED_FORMAT = _CONNECTION["log_format"].replace(" accepted=", " tls={encryption} accepted=")
_ENCRYPTED = _common("twistsmtp.connection", _ENCRYPTED_FORMAT, _ENCRYPTED_FORMAT.format_map)

#: Recipients that a line of text names; the event itself has all.
NAMED_RECIPIENTS = 20


class _Names(list[str]):
    """A list, as JSON and an observer want it, that reads well in a line."""

    __slots__ = ()

    def __str__(self) -> str:
        return self[0] if len(self) == 1 else ", ".join(self[:NAMED_RECIPIENTS])


def message_ended(session: Session, transaction: Transaction, result: str) -> None:
    """A message whose octets had begun to come has ended.

    :param result: ``"accepted"``, the reply that refused it, or why it was aborted; printable.
    """
    recipients = _Names()  # not made of a list, which takes twice as long
    for recipient in transaction.recipients:
        recipients.append(printable(str(recipient.mailbox)))
    globalLogPublisher(
        dict(
            _MESSAGE,
            log_time=time(),
            log_dialect=session.dialect,
            id=transaction.id,
            client=session.client,
            identity=session.identity and printable(session.identity),
            sender=printable(str(transaction.reverse_path.mailbox or "")),
            recipients=recipients,
            recipient_count=len(recipients),
            size=transaction.octets,
            result=result,
            duration=session.seconds() - (transaction.opened or 0.0),
        )
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
    counts, tls = session.counts, session.tls
    globalLogPublisher(
        dict(
            _encrypted(tls) if tls else _PLAIN,
            log_time=time(),
            log_dialect=session.dialect,
            id=session.id,
            client=session.client,
            helo=printable(session.helo) if session.helo is not None else "-",
            identity=session.identity and printable(session.identity),
            accepted=counts.accepted,
            refused=counts.refused,
            errors=counts.errors,
            octets_in=octets_in,
            octets_out=octets_out,
            early_talker=early_talker,
            reason=printable(reason),
            duration=duration,
        )
    )


def _encrypted(tls: TLS) -> dict[str, Any]:
    """What events of connections have in common, with the facts of *tls*."""
    peer = tls.peer.subject if tls.peer else None
    said = (("sni", tls.server_name), ("alpn", tls.alpn), ("peer", peer and f'"{peer}"'))
    return {
        **_ENCRYPTED,
        "tls": tls.version,
        "cipher": tls.cipher,
        "server_name": tls.server_name,
        "alpn": tls.alpn or None,
        "peer": peer,
        "encryption": f"{tls.version}/{tls.cipher}" + "".join(f" {name}={fact}" for name, fact in said if fact),
    }


def exception_caught(session: Session, failure: Failure, reply: str) -> None:
    """A delivery or policy failed in a way that it did not choose: the client gets *reply*, the log all of it."""
    _connection.failure(
        "{id} client={client} an exception was answered by {reply}",
        failure=failure,
        log_dialect=session.dialect,
        id=session.id,
        client=session.client,
        reply=reply,
    )
