"""XCLIENT, as Postfix has it (XCLIENT_README): somebody who is trusted says for whom it speaks, and from then on the
session is that client's.

It is for proxies that speak SMTP themselves, for filters that pass on what they have taken, and to try out rules for
clients that one is not. Whoever may say it may be anybody: it is offered to the addresses alone that are trusted, by
where the connection is from, whatever it has claimed since. So it is never among the extensions by default, and not to
be had by its name alone: `xclient` makes it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address as IPv4
from ipaddress import IPv6Address as IPv6
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

from twistsmtp.clients import Networks, UnknownAddress
from twistsmtp.cred import receive
from twistsmtp.events import exception_caught
from twistsmtp.later import awaited
from twistsmtp.session import Phase, Session, Stage
from twistsmtp.verb import Close, Extension, Outcome, Verb
from twistsmtp.wire.attributes import Unstated, malformed, neutered, parse_attributes, parse_port
from twistsmtp.wire.grammar import parse_hello
from twistsmtp.wire.reply import Refusal

__all__ = ["Claim", "claim_of", "xclient"]

SYNTAX = "XCLIENT attribute=value ..."
NAMES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")

_KEY = "xclient"

#: What `parse_hello` takes and DNS may call a host: no literal, no number, and no label with a hyphen at its ends.
_HOST = re.compile(r"(?!(?:.*\.)?[0-9]+$)(?![\[\-])(?!.*(?:\.-|-\.|-$)).+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What XCLIENT has said of the client, all of it together: ``None`` is what was never said."""

    #: Its name in DNS; `Unstated` says whether there is none, or there may be one later.
    name: str | Unstated | None = None
    #: An IPv4 or IPv6 address in its usual form.
    address: str | Unstated | None = None
    port: int | Unstated | None = None
    #: ``"SMTP"`` or ``"ESMTP"``.
    protocol: str | Unstated | None = None
    helo: str | Unstated | None = None
    login: str | Unstated | None = None
    #: Where the client has connected to.
    destination: str | Unstated | None = None
    destination_port: int | Unstated | None = None


def claim_of(session: Session) -> Claim | None:
    """What XCLIENT has said in *session*; ``None`` if it has not been there, or not since TLS began: what was said in
    plain text may be anybody's word (RFC 3207 section 4.2)."""
    tls, claim = session.annotations.get(_KEY, (None, None))
    said: Claim | None = claim
    return said if tls is session.tls else None


# --- the command ---------------------------------------------------------------------------------------------


def _parse(trusted: Networks, session: Session, argument: str) -> dict[str, Any]:
    """The fields of a `Claim` that are said now."""
    if session.origin not in trusted:
        raise Refusal(session.replies.not_trusted.fill(verb="XCLIENT"))
    said: dict[str, Any] = {}
    for name, value in parse_attributes(argument, "XCLIENT", NAMES):
        field, parse = _ATTRIBUTES[name]
        if isinstance(value, Unstated):
            if name == "PROTO" or (value is Unstated.TEMPUNAVAIL and name != "NAME"):
                raise malformed("XCLIENT", name)
            said[field] = value
        else:
            said[field] = parse(name, value)
    return said


def _name(name: str, text: str) -> str:
    host = parse_hello(text)
    if not _HOST.fullmatch(host):  # "not an SMTP client address"
        raise malformed("XCLIENT", name)
    return host


def _address(name: str, text: str) -> str:
    try:
        if text[:5].upper() != "IPV6:":
            return str(IPv4(text))
        if "%" not in text:
            return str(IPv6(text[5:]))
    except ValueError:
        pass
    raise malformed("XCLIENT", name)


def _port(name: str, text: str) -> int:
    return parse_port("XCLIENT", name, text)


def _protocol(name: str, text: str) -> str:
    if text.upper() not in ("SMTP", "ESMTP"):
        raise malformed("XCLIENT", name)
    return text.upper()


def _login(name: str, text: str) -> str:
    try:
        login = text.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise malformed("XCLIENT", name) from None
    if not login.isprintable():
        raise malformed("XCLIENT", name)
    return login


_ATTRIBUTES: dict[str, tuple[str, Any]] = {
    "NAME": ("name", _name),
    "ADDR": ("address", _address),
    "PORT": ("port", _port),
    "PROTO": ("protocol", _protocol),
    "HELO": ("helo", lambda name, text: neutered(text)),  # who passes it on may have taken anything
    "LOGIN": ("login", _login),
    "DESTADDR": ("destination", _address),
    "DESTPORT": ("destination_port", _port),
}


# --- what it does --------------------------------------------------------------------------------------------


async def _run(session: Session, said: dict[str, Any]) -> Outcome:
    """The session is the client's, and begins with the greeting: 220, or what the client would be refused by."""
    # These are of one client: nobody gets them from the client before. Postfix keeps the others, as here.
    earlier = replace(claim_of(session) or Claim(), helo=None, protocol=None, login=None)
    claim = replace(earlier, **said)
    session.annotations[_KEY] = session.tls, claim
    session.become(_peer(session.peer, claim))
    if isinstance(claim.name, str):
        session.client_name = claim.name
    limit = session.limits.connections_per_client
    if session.network and session.clients.count(session.network) > limit:
        return Close(session.replies.too_many_from_client)
    try:
        await awaited(session.ask(Phase.CONNECT))
        await awaited(receive(session))
        await _believe(session, claim)
    except Refusal as refusal:
        return Close(refusal.reply)
    except Exception as error:  # and the session is not that of anybody who may go on
        if not session.over:
            exception_caught(session, Failure(error), str(session.replies.local_error))
        return Close(session.replies.local_error)
    return session.replies.greeting.fill(hostname=session.hostname)


async def _believe(session: Session, claim: Claim) -> None:
    """What the client has said and proved to somebody else holds here as well."""
    if isinstance(claim.helo, str):
        await awaited(session.ask(Phase.HELLO, claim.helo))
        session.hello(claim.helo, esmtp=claim.protocol == "ESMTP")
    if isinstance(claim.login, str):
        await awaited(session.ask(Phase.AUTH, claim.login))
        # There are no credentials to log in with: the mail goes where that of any client goes.
        session.authenticated(claim.login, session.delivery, lambda: None)


def _peer(now: IAddress, claim: Claim) -> IAddress:
    if claim.address is None:  # and who was spoken for before TLS began is not who speaks
        return now
    if isinstance(claim.address, Unstated):
        return UnknownAddress()
    port = claim.port if isinstance(claim.port, int) else 0
    kind = IPv6Address if ":" in claim.address else IPv4Address
    return kind("TCP", claim.address, port)


def xclient(trusted: Networks | Iterable[str]) -> Extension:
    """All that it adds.

    :param trusted: who may say it: `Networks`, or the names of some.
    :raises ValueError: one of them is no network.
    """
    networks = trusted if isinstance(trusted, Networks) else Networks(trusted)
    return Extension(
        name="xclient",
        rfc="Postfix's XCLIENT_README",
        keyword=" ".join(["XCLIENT", *NAMES]),
        usable=lambda session: session.origin in networks,
        verbs=(
            Verb(
                name="XCLIENT",
                syntax=SYNTAX,
                help="Say for whom you speak.",
                parse=lambda session, argument: _parse(networks, session, argument),
                run=_run,
                stages=Stage.CONNECTED | Stage.READY | Stage.BARRED,
                idle=True,
            ),
        ),
    )
