"""ENHANCEDSTATUSCODES (RFC 2034)."""

import re
from collections.abc import Iterator

from ..check import MUST, check
from ..replies import Reply
from ..talk import END, Failed, Talk

__all__: list[str] = []

_KEYWORD = ("ENHANCEDSTATUSCODES",)
#: status-code ::= class "." subject "." detail
_CODE = re.compile(r"([245])\.(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2})(?: |$)")


def _replies(talk: Talk) -> Iterator[Reply]:
    for command in (
        "NOOP",
        "VRFY postmaster",
        "FOOBAR",
        talk.rcpt,
        talk.mail,
        talk.rcpt,
        "RCPT TO:<a b@example.com>",
        "DATA",
    ):
        yield talk.say(command)
    talk.link.send(b"Subject: conformance\r\n\r\ntext" + END)
    yield talk.link.read()
    for command in (f"{talk.mail} XFOOBAR=1", "RSET", "HELP", "QUIT"):
        yield talk.say(command)


@check("enhanced.all", 2034, "4", MUST, needs=_KEYWORD)
def everywhere(talk: Talk) -> None:
    """Each line of a 2xx, 4xx and 5xx reply has an enhanced code."""
    for reply in _replies(talk):
        if reply.code != 354 and not all(_CODE.match(line) for line in reply.lines):
            raise Failed(f"{reply} has none, or not on each line")


@check("enhanced.class", 2034, "4", MUST, needs=_KEYWORD)
def same_class(talk: Talk) -> None:
    """An enhanced code is of the class of its reply."""
    for reply in _replies(talk):
        for match in map(_CODE.match, reply.lines):
            if match and match[1] != str(reply.code)[0]:
                raise Failed(f"{reply}")


@check("enhanced.hello", 2034, "4", MUST, needs=_KEYWORD)
def hello(talk: Talk) -> None:
    """The replies to HELO and EHLO have no enhanced code."""
    for command in (f"{talk.target.hello} {talk.name}", talk.target.hello):
        reply = talk.say(command)
        if any(map(_CODE.match, reply.lines)):
            raise Failed(f"{command} was answered by {reply}")
