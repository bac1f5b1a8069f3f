"""Each message for a program, on standard input: to_program.py COMMAND [ENDPOINT]

A command is 'procmail -d {local}', for one. Its exit status is the verdict, as sysexits.h has them: 67, say, is for a
mailbox that is not there.
"""

import sys

from twistsmtp import RelayRule, SMTPFactory, serve
from twistsmtp.delivery.program import Program

if __name__ == "__main__":
    command, *endpoint = sys.argv[1:]
    program = Program(command, each=True, timeout=60, at_once=4)
    serve(SMTPFactory(program, policies=[RelayRule(["localhost", "example.org"])]), *endpoint)
