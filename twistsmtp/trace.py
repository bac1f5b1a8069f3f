"""Trace fields (RFC 5321 section 4.4): what the server writes in front of a message."""

import re
import time
from functools import lru_cache

from twistsmtp.envelope import Envelope, ReversePath
from twistsmtp.session import Session
from twistsmtp.tls.facts import TLS

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
    comments = ""
    if envelope.reverse_path.parameters:
        known = session.dialect.mail_parameters
        said = [(known[keyword], value) for keyword, value in envelope.reverse_path.parameters.items()]
        clauses = (parameter.clause(value) for parameter, value in said if parameter.clause)
        to = "\t" + " ".join(filter(None, (to[1:], *clauses)))
        written = (parameter.comment(value) for parameter, value in said if parameter.comment)
        comments = "".join(f"\r\n\t{comment}" for comment in written if comment)
    protocol = _protocol(session, envelope.reverse_path)
    stamp = _stamp(session.helo, session.client, session.client_name, session.hostname, protocol)
    tls = "" if session.tls is None else _tls(session.tls, alone=to == "\t")
    return f"{stamp}{comments} id {envelope.id}\r\n{to}{tls}; {date_time(int(now))}\r\n".encode()


def _tls(tls: TLS, *, alone: bool) -> str:
    """The "tls" clause (RFC 8314 section 4.3): the cipher suite by IANA's name; by OpenSSL's, which the clause has no
    room for, it is in the comment. That has the version and what the client said about itself, too."""
    suite = _suite(tls.cipher)
    facts = tls.version if suite else f"{tls.version} {tls.cipher}"
    peer = tls.peer
    if tls.server_name or tls.alpn or peer is not None:
        facts += _said(tls.server_name, tls.alpn, peer.subject if peer else "")
    clause = f"tls {suite} ({facts})" if suite else f"({facts})"
    return clause if alone else f"\r\n\t{clause}"


@lru_cache(maxsize=64)
def _suite(cipher: str) -> str:
    """IANA's name of a suite that OpenSSL calls *cipher*, or ``""``."""
    known = _SUITE.fullmatch(cipher)
    suite = f"TLS_{known[1]}_WITH_{known[2]}".replace("-", "_").replace("AES", "AES_") if known else cipher
    if suite.endswith("POLY1305"):
        suite += "_SHA256"
    return suite if suite.startswith("TLS_") else ""


def _said(server_name: str | None, alpn: str, subject: str) -> str:
    facts = (("sni", server_name), ("alpn", alpn), ("peer", subject))
    return "".join(f" {name}={_in_comment(fact)}" for name, fact in facts if fact)


#: Characters of a fact in the comment, so that the line stays under 998 octets (RFC 5321 section 4.5.3.1.6).
_FACT = 200


def _in_comment(text: str) -> str:
    """Printable *text* in a comment (RFC 5322 section 3.2.2): what would end it, or nest, is quoted."""
    return re.sub(r"([()\\])", r"\\\1", text[:_FACT])


#: The suites of TLS 1.2 that are worth something, as OpenSSL names them; those of 1.3 have IANA's names there, too.
_SUITE = re.compile(r"((?:EC)?DHE-(?:RSA|ECDSA))-(AES(?:128|256)-GCM-SHA(?:256|384)|CHACHA20-POLY1305)")


@lru_cache(maxsize=1024)
def _stamp(helo: str | None, client: str, name: str | None, hostname: str, protocol: str) -> str:
    """All of the field that is the same for every message of a session, up to the protocol."""
    return f"Received: from {helo} ({_tcp_info(client, name)})\r\n\tby {hostname} (twistsmtp) with {protocol}"


def _tcp_info(client: str, name: str | None) -> str:
    """The client's name, if it has one, and its address as an address literal (RFC 5321 sections 4.1.3 and 4.4)."""
    if ":" in client:
        literal = f"[IPv6:{client.partition('%')[0]}]"
    else:
        literal = f"[{client}]" if client[0].isdigit() else client
    return literal if name is None else f"{name} {literal}"


def _protocol(session: Session, reverse_path: ReversePath) -> str:
    """The "with" protocol type (RFC 3848, RFC 6531 section 4.3)."""
    if session.lmtp:
        base = "UTF8LMTP" if reverse_path.internationalized else "LMTP"
    elif reverse_path.internationalized:
        base = "UTF8SMTP"
    elif session.esmtp:
        base = "ESMTP"
    else:
        return "SMTP"
    return f"{base}{'S' if session.tls else ''}{'A' if session.identity is not None else ''}"
