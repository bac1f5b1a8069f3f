"""The parameters of MAIL and RCPT (RFC 5321 section 4.1.1.11), read by the tables that the extensions filled."""

from collections.abc import Mapping
from typing import Any

from twistsmtp.envelope import Parameter
from twistsmtp.session import Session
from twistsmtp.wire.grammar import GrammarError, parse_parameters
from twistsmtp.wire.reply import Refusal

__all__ = ["Options", "read_parameters"]

#: The parameters as the client wrote them.
Options = tuple[tuple[str, str | None], ...]


def read_parameters(
    session: Session, verb: str, text: str, known: Mapping[str, Parameter[Any]]
) -> tuple[Options, dict[str, Any]]:
    """The parameters in *text*, as they were written and as typed values by keyword.

    :raises Refusal: one is not known (555), or its extension refuses it.
    :raises GrammarError: *text* is no list of parameters, a value is not what its extension specifies, or one
        excludes another.
    """
    options = parse_parameters(text)
    values: dict[str, Any] = {}
    for keyword, value in options:
        parameter = known.get(keyword)
        if parameter is None or not parameter.usable(session):
            raise Refusal(session.replies.unknown_parameter.fill(verb=verb, keyword=keyword))
        if parameter.excludes and not parameter.excludes.isdisjoint(values):
            raise GrammarError("esmtp-param", 501, "5.5.4", f"{keyword} stands beside what it excludes")
        values[keyword] = parameter.parse(session, value)
    return options, values
