"""Parsers of the simplest arguments: none at all, and any text."""

from collections.abc import Callable

from twistsmtp.session import Session
from twistsmtp.wire.reply import Refusal

__all__ = ["any_text", "needed", "no_argument"]


def no_argument(verb: str) -> Callable[[Session, str], None]:
    """For *verb*, which takes none (RFC 5321 section 4.1.1: 501)."""

    def parse(session: Session, argument: str) -> None:
        if argument:
            raise Refusal(session.replies.no_argument.fill(verb=verb))

    return parse


def needed(syntax: str) -> Callable[[Session, str], str]:
    """For a verb that is nothing without its argument."""

    def parse(session: Session, argument: str) -> str:
        if not argument:
            raise Refusal(session.replies.argument_needed.fill(syntax=syntax))
        return argument

    return parse


def any_text(session: Session, argument: str) -> str:
    """For a verb that may have one."""
    return argument
