"""LHLO (RFC 2033 section 4.1), which LMTP has in place of HELO and EHLO. `LMTP` is all of its verbs."""

from typing import Any

from twistsmtp.verb import Verb
from twistsmtp.verbs import data, mail, rcpt, session
from twistsmtp.verbs.hello import extended_hello

__all__ = ["LMTP"]

LMTP: tuple[Verb[Any], ...] = (extended_hello("LHLO"), *mail.VERBS, *rcpt.VERBS, *data.VERBS, *session.VERBS)
