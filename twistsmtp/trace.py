"""Trace fields (RFC 5321 section 4.4): what the server writes in front of a message."""

import time
from functools import lru_cache

from twistsmtp.envelope import Envelope, ReversePath
from twistsmtp.session import Session

__all__ = ["date_time", "received", "return_path"]

# RFC 5322 section 3.3 wants English names, whatever the locale.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@lru_cache(maxsize=2)
def date_time(seconds: int) -> str:
    """*seconds* since the epoch as RFC 5322 section 3.3 writes them, in UTC."""
    t = time.gmtime(seconds)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday} {_MONTHS[t.tm_mon - 1]} {t.tm_year} "
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} +0000"
    )


def return_path(reverse_path: ReversePath) -> bytes:
    """The Return-Path field, which final delivery puts in front of all others."""
    return f"Return-Path: <{reverse_path}>\r\n".encode()


def received(session: Session, envelope: Envelope, now: float) -> bytes:
    """The Received field of this server.

    :param now: seconds since the epoch.
    """
    recipients = envelope.recipients
    # RFC 5321 section 4.4: "for" names one recipient at the most, and none of several, who may not know each other.
    to = f"\tfor <{recipients[0].mailbox}>" if len(recipients) == 1 else "\t"
    protocol = _protocol(session, envelope.reverse_path)
    stamp = f"{_stamp(session.helo, session.client, session.hostname, protocol)}{envelope.id}\r\n"
    return f"{stamp}{to}; {date_time(int(now))}\r\n".encode()


@lru_cache(maxsize=1024)
def _stamp(helo: str | None, client: str, hostname: str, protocol: str) -> str:
    """All of the field that is the same for every message of a session, up to the id."""
    return f"Received: from {helo} ({_tcp_info(client)})\r\n\tby {hostname} (twistsmtp) with {protocol} id "


def _tcp_info(client: str) -> str:
    """The client's address as an address literal (RFC 5321 section 4.1.3)."""
    if ":" in client:
        return f"[IPv6:{client.partition('%')[0]}]"
    return f"[{client}]" if client[0].isdigit() else client


def _protocol(session: Session, reverse_path: ReversePath) -> str:
    """The "with" protocol type (RFC 3848, RFC 6531 section 4.3)."""
    if reverse_path.internationalized:
        base = "UTF8SMTP"
    elif session.esmtp:
        base = "ESMTP"
    else:
        return "SMTP"
    return f"{base}{'S' if session.tls else ''}{'A' if session.identity is not None else ''}"
