"""ETRN (RFC 1985): a client asks the server to send what waits for a node, by a connection of the server's own.

The queue is the delivery's: one that is a `QueueRunner` has ETRN offered and answers it, for no other it is offered.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Protocol, runtime_checkable

from twistsmtp.later import Later, then
from twistsmtp.session import Session, Stage
from twistsmtp.verb import Extension, Outcome, Verb
from twistsmtp.wire.grammar import GrammarError, parse_hello
from twistsmtp.wire.reply import Refusal, Reply

__all__ = ["Pending", "QueueRequest", "QueueRunner", "Target", "extension"]

SYNTAX = "ETRN node, ETRN @domain or ETRN #queue"


class Target(StrEnum):
    """What a name in ETRN names (section 5); the value is what stands before the name."""

    #: A host, or the domain of an address.
    NODE = ""
    #: A domain with all that is below it.
    SUBDOMAINS = "@"
    #: A queue of the server's, whatever that is.
    QUEUE = "#"


@dataclass(frozen=True, slots=True)
class QueueRequest:
    """What ETRN asks for; `str` gives it as it was written.

    :param name: a domain, an address literal or, of a queue, any printable ASCII; its case kept.
    """

    target: Target
    name: str

    def __str__(self) -> str:
        return f"{self.target.value}{self.name}"


@dataclass(frozen=True, slots=True)
class Pending:
    """The messages that wait in a queue.

    :param count: how many there are, or ``None`` where they are not counted.
    :param some: whether it is known, where they are not counted, that there are some.
    """

    count: int | None = None
    some: bool = False


@runtime_checkable
class QueueRunner(Protocol):
    """A delivery with a queue that a client may have run."""

    def run_queue(self, session: Session, request: QueueRequest) -> Later[Pending]:
        """Begin to send the messages of *request*, and do not wait until they are sent.

        Anybody can ask: a delivery that does not want that looks at *session*.

        :returns: what there is to send.
        :raises Refusal: ``session.replies.queue_not_allowed.fill(node=request, reason="authenticate first")``, or
            ``session.replies.queue_unable.fill(node=request)``.
        """
        ...


@lru_cache(maxsize=64)
def _runs_queues(delivery: type) -> bool:
    # To look costs a tenth of a connection, and every EHLO asks.
    return issubclass(delivery, QueueRunner)


def _usable(session: Session) -> bool:
    return _runs_queues(type(session.delivery))


# Section 5: ETRN [<option character>]<node name>
_QUEUE_NAME = re.compile("[!-~]{1,255}")


def _parse(session: Session, argument: str) -> QueueRequest:
    target = Target(argument[:1]) if argument[:1] in ("@", "#") else Target.NODE
    name = argument[len(target.value) :]
    if target is Target.QUEUE:
        well_formed = bool(_QUEUE_NAME.fullmatch(name))
    else:
        well_formed = not (target is Target.SUBDOMAINS and name.startswith("[")) and _is_host(name)
    if not well_formed:
        raise GrammarError("node-name", 501, "5.5.4", f"Syntax: {SYNTAX}")
    return QueueRequest(target, name)


def _is_host(name: str) -> bool:
    try:
        parse_hello(name)
    except GrammarError:
        return False
    return name == name.strip(" \t")


def _run(session: Session, request: QueueRequest) -> Later[Outcome]:
    delivery = session.delivery
    if not isinstance(delivery, QueueRunner):
        raise Refusal(session.replies.not_implemented.fill(verb="ETRN"))

    def answer(pending: Pending) -> Reply:
        if pending.count is None:
            return (session.replies.queue_pending if pending.some else session.replies.queue_started).fill(node=request)
        if pending.count == 0:
            return session.replies.queue_empty.fill(node=request)
        return session.replies.queue_counted.fill(count=pending.count, node=request)

    return then(delivery.run_queue(session, request), answer)


def extension() -> Extension:
    """All that it adds."""
    return Extension(
        name="etrn",
        rfc="RFC 1985",
        keyword="ETRN",
        usable=_usable,
        verbs=(
            Verb(
                name="ETRN",
                syntax=SYNTAX,
                help="Have the messages sent that wait for a node.",
                parse=_parse,
                run=_run,
                stages=Stage.READY,
                idle=True,
            ),
        ),
    )
