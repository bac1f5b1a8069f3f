"""LMTP (RFC 2033): what begins with LHLO, and has a reply for each recipient.

The original has one reply for a message, and programs help themselves: they push the others, or return them all in one
text. They still may.
"""

import re

from twistsmtp.compat.aiosmtpd.smtp import SMTP, syntax

__all__ = ["LMTP"]

_LINE = rb"\d{3}(?:[ -][^\x00-\x1f\x7f]*)?"


class LMTP(SMTP):
    """The server's side of one LMTP connection."""

    show_smtp_greeting = False
    #: Replies, one behind the other.
    several_lines = re.compile(rb"%b(?:\r\n%b)*" % (_LINE, _LINE))

    @syntax("LHLO hostname")
    async def smtp_LHLO(self, arg: str | None) -> None:
        """LHLO, which is what EHLO is elsewhere."""
        await super().smtp_EHLO(arg)

    async def smtp_HELO(self, hostname: str | None) -> None:
        """HELO is no command of LMTP's."""
        await self.push('500 Error: command "HELO" not recognized')

    async def smtp_EHLO(self, hostname: str | None) -> None:
        """EHLO is no command of LMTP's."""
        await self.push('500 Error: command "EHLO" not recognized')

    async def push(self, status: str | bytes) -> None:
        """Say *status*, which may be several replies."""
        self._said += _count(status)
        await super().push(status)

    async def _answer(self, status: str | bytes, count: int) -> None:
        """RFC 2033 section 4.2: there is a reply for each recipient. Those that the hook has given count."""
        await self.push(status)
        for _ in range(count - _count(status)):
            await self.push(status.splitlines()[-1])


def _count(status: str | bytes) -> int:
    """How many replies *status* is."""
    octets = status.encode(errors="replace") if isinstance(status, str) else status
    return sum(line[3:4] != b"-" for line in octets.split(b"\n"))
