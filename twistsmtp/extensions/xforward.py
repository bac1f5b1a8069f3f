"""XFORWARD, as Postfix has it (XFORWARD_README): a filter that is trusted says where the next message came from.

It changes the log, and nothing else: the session remains that of the filter. A line of the log has what was said, with
the id of the message to come, and a delivery or a policy can ask for it by `forwarded_of`, as long as the transaction
lasts. `xforward` makes the extension, for the addresses that are trusted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any

from twisted.logger import Logger

from twistsmtp.clients import Networks
from twistsmtp.session import Session, Stage
from twistsmtp.verb import Extension, Outcome, Verb
from twistsmtp.wire.attributes import Unstated, malformed, neutered, parse_attributes, parse_port
from twistsmtp.wire.reply import Refusal

__all__ = ["Forwarded", "Source", "forwarded_of", "xforward"]

SYNTAX = "XFORWARD attribute=value ..."
NAMES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")
#: Characters of a protocol's name.
PROTOCOL_LIMIT = 64

_KEY = "xforward"

_log = Logger(namespace="twistsmtp.xforward")


class Source(Enum):
    """Where a message began, as seen from the host in front."""

    #: On that host.
    LOCAL = "LOCAL"
    REMOTE = "REMOTE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """What XFORWARD has said of the message to come; ``None`` is what is not known. Texts are printable."""

    #: The client's name, as the host in front has it.
    name: str | None = None
    #: Its address, IP or not. Without one the message was submitted on the host in front.
    address: str | None = None
    port: int | None = None
    #: By what the message came: ``"ESMTP"``, say.
    protocol: str | None = None
    helo: str | None = None
    #: The message's id in the host in front.
    ident: str | None = None
    source: Source | None = None


def forwarded_of(session: Session) -> Forwarded | None:
    """What was said of the transaction of *session* that is open, or comes next; ``None`` if nothing was."""
    forwarded: Forwarded | None = session.notes.get(_KEY)
    return forwarded


def _parse(trusted: Networks, session: Session, argument: str) -> dict[str, Any]:
    """The fields of a `Forwarded` that are said now."""
    if session.origin not in trusted:
        raise Refusal(session.replies.not_trusted.fill(verb="XFORWARD"))
    said: dict[str, Any] = {}
    for name, value in parse_attributes(argument, "XFORWARD", NAMES):
        if value is Unstated.TEMPUNAVAIL:
            raise malformed("XFORWARD", name)
        said[_FIELDS[name]] = None if isinstance(value, Unstated) else _value(name, value)
    return said


_FIELDS = dict(zip(NAMES, (each.name for each in fields(Forwarded)), strict=True))


def _value(name: str, text: str) -> str | int | Source:
    if name == "PORT":
        return parse_port("XFORWARD", name, text)
    if name == "SOURCE":
        try:
            return Source(text.upper())
        except ValueError:
            raise malformed("XFORWARD", name) from None
    if name == "PROTO" and len(text) > PROTOCOL_LIMIT:
        raise malformed("XFORWARD", name)
    return neutered(text)


def _run(session: Session, said: dict[str, Any]) -> Outcome:
    forwarded = replace(forwarded_of(session) or Forwarded(), **said)
    session.notes[_KEY] = forwarded
    _log.info(
        "{id} client={client} forwards name={name} address={address} port={port} protocol={protocol} helo={helo} "
        "ident={ident} source={source}",
        id=f"{session.id}-{session.counts.transactions + 1}",
        client=session.client,
        **{each.name: getattr(forwarded, each.name) for each in fields(Forwarded) if each.name != "source"},
        source=forwarded.source and forwarded.source.value,
    )
    return session.replies.ok


def xforward(trusted: Networks | Iterable[str]) -> Extension:
    """All that it adds.

    :param trusted: who may say it: `Networks`, or the names of some.
    :raises ValueError: one of them is no network.
    """
    networks = trusted if isinstance(trusted, Networks) else Networks(trusted)
    return Extension(
        name="xforward",
        rfc="Postfix's XFORWARD_README",
        keyword=" ".join(["XFORWARD", *NAMES]),
        usable=lambda session: session.origin in networks,
        verbs=(
            Verb(
                name="XFORWARD",
                syntax=SYNTAX,
                help="Say where the next message came from.",
                parse=lambda session, argument: _parse(networks, session, argument),
                run=_run,
                stages=Stage.CONNECTED | Stage.READY | Stage.BARRED,
                idle=True,
            ),
        ),
    )
