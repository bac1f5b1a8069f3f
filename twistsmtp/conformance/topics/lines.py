"""Lines of a message that are longer than a line may be, at the sizes of buffers (RFC 5321 section 4.5.3.1.6).

A server that cuts them may take a piece for a line: a dot that begins a piece, or all that comes behind them.
"""

from functools import partial

from ..check import SECURITY, check
from ..talk import END, Start, Talk

__all__: list[str] = []

#: Octets where one might be cut.
SIZES = (72, 78, 80, 127, 256, 510, 512, 998, 1000, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
#: How far about them is tried.
ABOUT = 3
#: Octets of lines with commands behind them.
LONG = (999, 1001, 2049, 4097, 8193, 16384, 16385, 32769, 65537, 131073, 1024 * 1024, 2 * 1024 * 1024)


def _dot(size: int, talk: Talk) -> None:
    lines = [b"x" * each + b".\r\n" for each in range(size - ABOUT, size + ABOUT + 1)]
    talk.link.send(b"Subject: conformance\r\n\r\n" + b"NOOP\r\n".join(lines) + b"NOOP" + END)
    talk.alone(f"lines of about {size} octets that end with a dot")


def _lone_dot(size: int, talk: Talk) -> None:
    for each in range(size - 1, size + 2):
        text = (b"x" * 62 + b"\r\n") * (each // 64 - 1)  # and up to the dot there are so many octets
        talk.link.send(text + b"x" * (each - len(text) - 2) + b"\r\n..\r\nNOOP" + END)
        talk.link.read()
        if each < size + 1:
            talk.begin()
            talk.ask("DATA", "354")
    talk.silence(f"a stuffed dot at octet {size}")


def _long(size: int, talk: Talk) -> None:
    commands = f"NOOP\r\n{talk.mail}\r\n{talk.rcpt}\r\nNOOP"
    talk.link.send(b"Subject: conformance\r\n\r\n" + b"x" * size + b"\r\n" + commands.encode() + END)
    talk.alone(f"a line of {size} octets")


for _size in SIZES:
    check(
        f"lines.dot-{_size}",
        5321,
        "4.1.1.4",
        SECURITY,
        start=Start.DATA,
        says=f"A dot behind about {_size} octets of a line is no line of its own",
    )(partial(_dot, _size))

for _size in (1024, 4096, 8192, 16384, 65536):
    check(
        f"lines.stuffed-{_size}",
        5321,
        "4.5.2",
        SECURITY,
        start=Start.DATA,
        says=f"A stuffed dot about octet {_size} of a message does not end it",
    )(partial(_lone_dot, _size))

for _size in LONG:
    check(
        f"lines.long-{_size}",
        5321,
        "4.5.3.1.6",
        SECURITY,
        start=Start.DATA,
        says=f"A line of {_size} octets does not end the message",
    )(partial(_long, _size))
