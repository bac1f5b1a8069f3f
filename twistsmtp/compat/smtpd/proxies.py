"""Servers that hand messages on to others."""

import re
import smtplib
from collections.abc import Container, Mapping, Sequence
from typing import Any

from twistsmtp.compat.smtpd.server import SMTPServer
from twistsmtp.compat.smtpd.values import debug
from twistsmtp.wire.text import printable

__all__ = ["MailmanProxy", "PureProxy"]

#: Recipients that have not got a message, and why.
Refused = dict[str, tuple[int, Any]]

#: Seconds that the other server may take for an answer.
PATIENCE = 300.0


class PureProxy(SMTPServer):
    """Hands each message on to ``remoteaddr``, and answers as that did.

    :raises ValueError: *enable_SMTPUTF8*, which it does not support.
    """

    in_thread = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("enable_SMTPUTF8"):
            raise ValueError("PureProxy does not support SMTPUTF8.")
        super().__init__(*args, **kwargs)

    def process_message(self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any, **kwargs: Any) -> str | None:
        """Hand it on, with a field that says whom it is from."""
        refused = self._deliver(mailfrom, rcpttos, with_peer(data, peer[0]))
        debug("we got some refusals:", refused)
        return answer_of(refused)

    def _deliver(self, mailfrom: str, rcpttos: Sequence[str], data: str | bytes) -> Refused:
        """Send it to ``remoteaddr``; whom that refused, and why."""
        host, port = self._remoteaddr or ("localhost", 25)
        return send(smtplib.SMTP, host, port, mailfrom, rcpttos, data)


class MailmanProxy(PureProxy):
    """Hands messages to mailing lists on to Mailman, by LMTP, and all others to ``remoteaddr``."""

    #: Names of the lists that Mailman has, ``"dev"`` or ``"dev@lists.example.org"``.
    lists: Container[str] = ()
    #: Host and port where Mailman listens for LMTP.
    mailman = ("localhost", 8024)

    def list_exists(self, name: str) -> bool:
        """Whether Mailman has the list *name*, which is in lower case, with its domain or without it."""
        return name in self.lists

    def process_message(self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any, **kwargs: Any) -> str | None:
        """Hand it on."""
        message = with_peer(data, peer[0])
        lists = [each for each in rcpttos if self._is_list(each)]
        refused: Refused = {}
        for each in lists:  # one by one, as smtplib reads one answer to a message
            refused |= send(smtplib.LMTP, *self.mailman, mailfrom, [each], message)
        others = [each for each in rcpttos if each not in lists]
        if others:
            refused |= self._deliver(mailfrom, others, message)
        debug("we got some refusals:", refused)
        return answer_of(refused)

    def _is_list(self, rcpt: str) -> bool:
        local, _, domain = rcpt.lower().partition("@")
        match = _SUFFIX.fullmatch(local)
        names = [local] if match is None else [local, match[1]]
        return any(self.list_exists(name) or (domain and self.list_exists(f"{name}@{domain}")) for name in names)


#: What Mailman has behind the name of a list.
_SUFFIX = re.compile(r"(.+)-(?:bounces|confirm|join|leave|owner|request|subscribe|unsubscribe)(?:\+.*)?")


def with_peer(data: str | bytes, address: str) -> str | bytes:
    """*data* with the field X-Peer behind its others: in front of the first line that is empty, or at the end."""
    text = data if isinstance(data, str) else data.decode("latin-1")
    lines = text.split("\n")
    lines.insert(lines.index("") if "" in lines else len(lines), f"X-Peer: {printable(address)}")
    made = "\n".join(lines)
    return made if isinstance(data, str) else made.encode("latin-1")


def send(  # noqa: PLR0917  # all of what smtplib wants
    client: type[smtplib.SMTP], host: str, port: int, mailfrom: str, rcpttos: Sequence[str], data: str | bytes
) -> Refused:
    """Send *data* with *client*; whom the server refused, and why."""
    refused: Refused = {}
    octets = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    try:
        with client(host, port, timeout=PATIENCE) as server:
            server.ehlo_or_helo_if_needed()
            eight_bits = not octets.isascii() and server.has_extn("8bitmime")
            refused = server.sendmail(mailfrom, rcpttos, _crlf(octets), ["BODY=8BITMIME"] if eight_bits else [])
    except smtplib.SMTPRecipientsRefused as error:
        debug("got SMTPRecipientsRefused")
        refused = error.recipients
    except (OSError, smtplib.SMTPException) as error:
        debug("got", type(error))
        code, text = getattr(error, "smtp_code", -1), getattr(error, "smtp_error", b"ignore")
        refused = dict.fromkeys(rcpttos, (code, text))
    return refused


def _crlf(octets: bytes) -> bytes:
    return re.sub(rb"\r\n|\r|\n", b"\r\n", octets)


def answer_of(refused: Mapping[str, tuple[int, Any]]) -> str | None:
    """What the client is told: nothing if all have the message, else the first reason to try again, or to give up."""
    if not refused:
        return None
    reasons = [(code if 400 <= code < 600 else 451, text) for code, text in refused.values()]
    code, text = min(reasons, key=lambda reason: reason[0] >= 500)
    words = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else str(text)
    if code == 421:  # that connection has ended, this one has not
        code = 451
    return f"{code} {printable(' '.join(words.split()) if words != 'ignore' else 'The next server cannot be reached')}"
