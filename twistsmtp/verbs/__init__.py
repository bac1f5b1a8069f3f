"""The core verbs of RFC 5321, one module a family. `CORE` is all of them, in the order in which HELP lists them."""

from typing import Any

from twistsmtp.verb import Verb
from twistsmtp.verbs import data, hello, mail, rcpt, session

__all__ = ["CORE"]

CORE: tuple[Verb[Any], ...] = (*hello.VERBS, *mail.VERBS, *rcpt.VERBS, *data.VERBS, *session.VERBS)
