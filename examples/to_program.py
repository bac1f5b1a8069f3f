"""Each message for a program, on standard input: to_program.py COMMAND [ENDPOINT]

A command is 'procmail -d {local}', for one. Its exit status is the verdict, as sysexits.h has them: 67, say, is for a
mailbox that is not there.
"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from twistsmtp import RelayRule, SMTPFactory
from twistsmtp.delivery.program import Program


async def main(reactor: object, command: str, endpoint: str = "tcp:8025:interface=127.0.0.1") -> None:
    """Serve until the process is stopped."""
    program = Program(command, each=True, timeout=60, at_once=4)
    program.start()  # which fails where there is no such program, before any mail does
    factory = SMTPFactory(program, policies=[RelayRule(["localhost", "example.org"])])
    port = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
