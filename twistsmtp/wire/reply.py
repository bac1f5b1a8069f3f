"""Replies: the value, the one exception that carries it, and the catalogue of all that the server can say.

A reply is ``code [enhanced] text`` (RFC 5321 section 4.2; the enhanced code is RFC 3463's). Its octets are made
once, when the value is made: a reply of the catalogue costs nothing when it is sent.

The catalogue is a value as well, so that a front end with other texts replaces it as a whole::

    SMTPFactory(delivery, replies=dataclasses.replace(Catalogue(), bye=Reply(221, "2.0.0", "Until next time")))
"""

from dataclasses import dataclass, field, fields
from functools import lru_cache
from string import Formatter
from typing import cast

from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.text import printable

__all__ = ["Catalogue", "Refusal", "Reply"]

#: RFC 5321 section 4.5.3.1.5: a reply line has at most 512 octets, the code, its separator and CRLF included.
LINE_LIMIT = 512


@lru_cache(maxsize=256)
def _prefixes(code: int, enhanced: str) -> tuple[str, str, int]:
    """What the last line of a reply begins with, what the others do, and the characters that a line has room for behind
    that. RFC 2034 section 4: the enhanced code stands on every line of a multi-line reply.

    :raises ValueError: the code is out of range, or the enhanced code is of another class.
    """
    if not 200 <= code <= 599:
        raise ValueError(f"a reply code is 200 to 599, not {code}")
    if enhanced and ord(enhanced[0]) - ord("0") != code // 100:
        raise ValueError(f"enhanced code {enhanced} is not of the class of {code}")
    last, continuing = (f"{code} {enhanced} ", f"{code}-{enhanced} ") if enhanced else (f"{code} ", f"{code}-")
    # RFC 4954 section 4: a challenge may be longer.
    return last, continuing, (12288 if code == 334 else LINE_LIMIT) - len(last) - len("\r\n")


def _encode(code: int, enhanced: str, text: str) -> bytes:
    """The octets of a reply."""
    prefix, continuing, room = _prefixes(code, enhanced)
    if len(text) <= room and text.isascii() and text.isprintable():  # nearly all replies: one plain line
        return f"{prefix}{text}\r\n".encode("ascii")
    *continued, last = (printable(line, room) for line in text.split("\n"))
    lines = [f"{continuing}{line}\r\n" for line in continued]
    lines.append(f"{prefix}{last}\r\n")
    return "".join(lines).encode("ascii")


@lru_cache(maxsize=256)
def _encode_basic(code: int, text: str) -> bytes:
    return _encode(code, "", text)


@dataclass(frozen=True, slots=True, init=False)
class Reply:
    """What the server says to one command.

    :param code: 200 to 599 (RFC 5321 section 4.2.1).
    :param enhanced: the enhanced status code (RFC 3463), ``"2.1.0"``, or ``""`` where the RFC has none: the
        greeting, replies to HELO and EHLO, and every 3xx (RFC 2034 section 4).
    :param text: what a person reads; a newline separates the lines of a multi-line reply. Control and non-ASCII
        characters are escaped, and a line is cut where it would pass 512 octets.
    :raises ValueError: the code is out of range, or the enhanced code is of another class.
    """

    code: int
    enhanced: str
    text: str
    #: The reply on the wire, with its enhanced code.
    octets: bytes = field(init=False, repr=False, compare=False)

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        _set_code(self, code)
        _set_enhanced(self, enhanced)
        _set_text(self, text)
        _set_octets(self, _encode(code, enhanced, text))

    @property
    def basic_octets(self) -> bytes:
        """The reply on the wire without its enhanced code, for a server that does not offer RFC 2034."""
        return _encode_basic(self.code, self.text) if self.enhanced else self.octets

    @property
    def positive(self) -> bool:
        """Whether the command was carried out, or is to go on (2xx, 3xx)."""
        return self.code < 400

    @property
    def temporary(self) -> bool:
        """Whether the client is to try again later (4xx)."""
        return 400 <= self.code < 500

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}" if self.enhanced else f"{self.code} {self.text}"

    def fill(self, **values: object) -> "Reply":
        """The reply with the ``{name}`` places of its text filled; a value cannot add a line."""
        for name, value in values.items():
            values[name] = printable(str(value))
        return Reply(self.code, self.enhanced, self.text.format_map(values))


# A message's own 250 is made for each message, so it matters that this is the quick way to set a frozen value's slots.
_set_code = Reply.__dict__["code"].__set__
_set_enhanced = Reply.__dict__["enhanced"].__set__
_set_text = Reply.__dict__["text"].__set__
_set_octets = Reply.__dict__["octets"].__set__


def _places(reply: Reply) -> set[str]:
    """The names of the places to fill in the text of *reply*."""
    return {name for _, name, _, _ in Formatter().parse(reply.text) if name is not None}


class Refusal(Exception):
    """Say this to the client instead: the one exception that a verb, policy or delivery refuses by.

    :raises ValueError: *reply* refuses nothing: to say "250" for what was not kept would lose it.
    """

    def __init__(self, reply: Reply) -> None:
        if reply.positive:
            raise ValueError(f"no refusal: {reply}")
        super().__init__(str(reply))
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every reply the server can give, by name. A ``{place}`` is filled when the reply is sent.

    :raises ValueError: a reply has a place that nothing is there to fill.
    """

    # The session
    greeting: Reply = Reply(220, "", "{hostname} ESMTP twistsmtp")
    hello: Reply = Reply(250, "", "{hostname}")
    ok: Reply = Reply(250, "2.0.0", "OK")
    bye: Reply = Reply(221, "2.0.0", "Bye")
    help: Reply = Reply(214, "2.0.0", "{text}")
    help_unknown: Reply = Reply(504, "5.5.4", "No help for that; HELP alone lists the verbs")
    cannot_verify: Reply = Reply(252, "2.0.0", "Cannot VRFY user, but will accept message and attempt delivery")
    verified: Reply = Reply(250, "2.1.5", "{text}")
    ambiguous: Reply = Reply(553, "5.1.4", "Ambiguous; Possibilities are")
    not_ascii: Reply = Reply(252, "2.6.8", "The answer is not ASCII, which no reply can show")
    not_implemented: Reply = Reply(502, "5.5.1", "{verb} is not implemented")
    shutting_down: Reply = Reply(421, "4.3.2", "{hostname} is shutting down; try again later")

    # Encryption and authentication (RFC 3207, RFC 4954)
    ready_for_tls: Reply = Reply(220, "2.0.0", "Ready to start TLS")
    tls_active: Reply = Reply(503, "5.5.1", "TLS has begun already")
    tls_unavailable: Reply = Reply(454, "4.7.0", "TLS is not available")
    tls_required: Reply = Reply(530, "5.7.0", "Say STARTTLS first")
    authenticated: Reply = Reply(235, "2.7.0", "Authentication succeeded")
    authentication_required: Reply = Reply(530, "5.7.0", "Authentication required")
    authenticated_already: Reply = Reply(503, "5.5.1", "You have authenticated already")
    encryption_required: Reply = Reply(538, "5.7.11", "Encryption required for authentication: say STARTTLS first")
    mechanism_unknown: Reply = Reply(504, "5.5.4", "Authentication mechanism not available")
    credentials_invalid: Reply = Reply(535, "5.7.8", "Authentication credentials invalid")
    authentication_cancelled: Reply = Reply(501, "5.7.0", "Authentication cancelled")
    authentication_malformed: Reply = Reply(501, "5.5.2", "That is not what the mechanism has here")
    initial_response: Reply = Reply(501, "5.7.0", "The server speaks first in this mechanism")
    not_base64: Reply = Reply(501, "5.5.2", "That is not base64")
    authentication_line_too_long: Reply = Reply(500, "5.5.6", "Authentication exchange line is too long")
    authentication_unavailable: Reply = Reply(454, "4.7.0", "Temporary authentication failure")
    too_many_auth_failures: Reply = Reply(421, "4.7.0", "Too many authentication failures")

    # The transaction
    sender_ok: Reply = Reply(250, "2.1.0", "Sender OK")
    recipient_ok: Reply = Reply(250, "2.1.5", "Recipient OK")
    start_message: Reply = Reply(354, "", "Start mail input; end with <CRLF>.<CRLF>")
    chunk_ok: Reply = Reply(250, "2.0.0", "{octets} octets received")
    chunks_only: Reply = Reply(503, "5.5.1", "A message with BODY=BINARYMIME is sent by BDAT")
    accepted: Reply = Reply(250, "2.0.0", "OK: message {id} accepted")
    priority_changed: Reply = Reply(250, "2.3.6", "{priority} is the priority of this message: {text}")

    # Syntax and order
    hello_syntax: Reply = Reply(501, "", "Syntax: {verb} domain, or address literal in brackets")
    no_argument: Reply = Reply(501, "5.5.4", "{verb} takes no argument")
    argument_needed: Reply = Reply(501, "5.5.4", "Syntax: {syntax}")
    unrecognized: Reply = Reply(500, "5.5.1", "Command not recognized")
    line_too_long: Reply = Reply(500, "5.5.2", "Line too long")
    unknown_parameter: Reply = Reply(555, "5.5.4", "{verb} parameter {keyword} not recognized or not implemented")
    hello_first: Reply = Reply(503, "5.5.1", "Say HELO or EHLO first")
    ehlo_first: Reply = Reply(503, "5.5.1", "Say EHLO first: HELO has no extensions")
    mail_first: Reply = Reply(503, "5.5.1", "Need MAIL first")
    rcpt_first: Reply = Reply(503, "5.5.1", "Need RCPT first")
    transaction_open: Reply = Reply(503, "5.5.1", "A transaction is open already; RSET ends it")
    no_recipients: Reply = Reply(554, "5.5.1", "No valid recipients")
    smtputf8_needed: Reply = Reply(553, "5.6.7", "A mailbox that is not ASCII needs SMTPUTF8 in MAIL")

    # Refusals of a mailbox
    relay_denied: Reply = Reply(550, "5.7.1", "Relaying denied: mail for this domain is not taken here")
    sender_login_needed: Reply = Reply(553, "5.7.1", "This sender address is for its owner: authenticate first")
    sender_not_owned: Reply = Reply(553, "5.7.1", "This sender address is not one of yours")
    mailbox_unknown: Reply = Reply(550, "5.1.1", "No such mailbox here")
    mailbox_deferred: Reply = Reply(450, "4.2.1", "The mailbox takes no mail now; try again later")
    sender_refused: Reply = Reply(550, "5.7.1", "Mail from this sender is not taken here")
    sender_deferred: Reply = Reply(450, "4.7.1", "Mail from this sender is not taken now; try again later")
    hello_refused: Reply = Reply(550, "5.7.1", "You said {name} in HELO or EHLO: {reason}")
    owner_changed: Reply = Reply(550, "5.7.17", "The mailbox has another owner since")
    domain_changed: Reply = Reply(550, "5.7.18", "The domain has another owner since")
    owner_unknown: Reply = Reply(550, "5.7.19", "Whose mailbox it was is not known here")

    # Refusals of a client (RFC 7372 section 3.3 for X.7.25)
    dns_listed: Reply = Reply(554, "5.7.1", "{subject} is listed by {zone}: {reason}")
    reverse_dns_missing: Reply = Reply(550, "5.7.25", "{client} has no name in the DNS")
    reverse_dns_unconfirmed: Reply = Reply(550, "5.7.25", "No name of {client} in the DNS leads back to it")
    reverse_dns_unknown: Reply = Reply(450, "4.7.25", "The name of {client} cannot be looked up now; try again later")
    greylisted: Reply = Reply(450, "4.7.1", "Greylisted: try again in {seconds} seconds")

    # Refusals of a message
    message_too_big: Reply = Reply(552, "5.3.4", "Message exceeds the limit of {limit} octets")
    message_line_too_long: Reply = Reply(554, "5.6.0", "A line of the message exceeds the limit of {limit} octets")
    bare_newline: Reply = Reply(
        550, "5.6.0", "Message holds a bare {found}: lines end with CRLF (RFC 5321 section 2.3.8)"
    )
    mail_loop: Reply = Reply(554, "5.4.6", "Mail loop: the message has passed through {hops} servers")
    insufficient_storage: Reply = Reply(452, "4.3.1", "Insufficient system storage")
    by_too_soon: Reply = Reply(555, "5.5.4", "BY with R is at least {least} seconds here")
    hold_too_long: Reply = Reply(501, "5.5.4", "A message is held for {longest} seconds at most")
    soliciting: Reply = Reply(550, "5.7.1", "No soliciting: SOLICIT={classes}")

    # Queues (RFC 1985 section 5)
    queue_started: Reply = Reply(250, "2.0.0", "OK, queuing for node {node} started")
    queue_empty: Reply = Reply(251, "2.0.0", "OK, no messages waiting for node {node}")
    queue_pending: Reply = Reply(252, "2.0.0", "OK, pending messages for node {node} started")
    queue_counted: Reply = Reply(253, "2.0.0", "OK, {count} pending messages for node {node} started")
    queue_unable: Reply = Reply(458, "4.3.0", "Unable to queue messages for node {node}")
    queue_not_allowed: Reply = Reply(459, "4.7.1", "Node {node} not allowed: {reason}")

    # Limits
    too_many_recipients: Reply = Reply(452, "4.5.3", "Too many recipients in one transaction")
    too_many_messages: Reply = Reply(421, "4.7.0", "Too many messages in one connection; connect again")
    too_many_errors: Reply = Reply(421, "4.7.0", "Too many errors")
    too_many_unknown: Reply = Reply(421, "4.7.0", "Too many unrecognized commands")
    too_many_idle: Reply = Reply(421, "4.7.0", "Too many commands without mail")
    too_many_connections: Reply = Reply(421, "4.3.2", "Too many connections; try again later")
    too_many_from_client: Reply = Reply(421, "4.7.0", "Too many connections from your address")
    line_flood: Reply = Reply(421, "4.7.0", "Line without end")
    idle_timeout: Reply = Reply(421, "4.4.2", "Idle for too long")
    data_timeout: Reply = Reply(421, "4.4.2", "The message took too long")
    data_too_slow: Reply = Reply(421, "4.4.2", "The message came too slowly")
    too_much_mail: Reply = Reply(451, "4.7.1", "Too much mail from {whom} lately; try again later")
    connects_too_often: Reply = Reply(421, "4.7.0", "Too many connections from your address lately; try again later")
    not_smtp: Reply = Reply(421, "4.7.0", "This is an SMTP server")
    talked_early: Reply = Reply(554, "5.5.1", "You talked before the greeting")
    not_trusted: Reply = Reply(550, "5.7.0", "{verb} is not for you")

    # Ours
    local_error: Reply = Reply(451, "4.3.0", "Requested action aborted: local error in processing")

    def __post_init__(self) -> None:
        for each in fields(self):
            unknown = _places(getattr(self, each.name)) - _places(cast(Reply, each.default))
            if unknown:
                raise ValueError(f"the reply {each.name} has no {{{unknown.pop()}}} to fill")

    def of_grammar(self, error: GrammarError) -> Reply:
        """What to say when a command does not parse."""
        return Reply(error.code, error.enhanced, error.text)
