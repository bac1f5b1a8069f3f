"""A load that begins with TLS: ``starttls.py -c THREADS -n MESSAGES -s OCTETS -t SECONDS HOST PORT``.

Each message has a connection of its own: EHLO, STARTTLS, a whole handshake with no ticket from before, EHLO, MAIL,
RCPT, DATA, the message, QUIT. What it says in the end, and where something is not as it should be, is as with
``load.c``.
"""

import argparse
import json
import os
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor

FROM, TO = b"MAIL FROM:<a@example.com>", b"RCPT TO:<b@example.com>"
HELLO = b"EHLO client.example.com"
HEADER = b"From: <a@example.com>\r\nTo: <b@example.com>\r\nSubject: load\r\n\r\n"


class UnexpectedError(Exception):
    """The server did not say what it had to."""


class Client:
    """One connection."""

    def __init__(self, where: tuple[str, int], timeout: float) -> None:
        self._socket = socket.create_connection(where, timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def say(self, octets: bytes, code: bytes) -> None:
        """Send *octets* and a CRLF, if there are any, and read one reply, which has *code*.

        :raises UnexpectedError: it has another.
        """
        if octets:
            self._socket.sendall(octets + b"\r\n")
        said = b""
        while not (said.endswith(b"\r\n") and said[said.rfind(b"\n", 0, -1) + 1 :][3:4] == b" "):
            more = self._socket.recv(4096)
            if not more:
                raise UnexpectedError(f"the server closed after {octets[:40]!r}")
            said += more
        if not said.startswith(code):
            raise UnexpectedError(f"{octets[:40]!r} was answered by {said[:80]!r}")

    def begin_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands."""
        self._socket = context.wrap_socket(self._socket)

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def compose(octets: int) -> bytes:
    """A message of so many *octets*, and the dot behind it."""
    full, rest = divmod(octets - len(HEADER), 78)
    lines = [76] * (full - 1) + [rest + 76 if full else rest - 2]
    return HEADER + b"".join(b"X" * each + b"\r\n" for each in lines) + b"."


def send(where: tuple[str, int], message: bytes, context: ssl.SSLContext, timeout: float) -> None:
    """Send one message.

    :raises UnexpectedError: the server did not say what it had to.
    :raises OSError: the connection was lost.
    """
    client = Client(where, timeout)
    try:
        for octets, code in (b"", b"220"), (HELLO, b"250"), (b"STARTTLS", b"220"):
            client.say(octets, code)
        client.begin_tls(context)
        for octets, code in (HELLO, b"250"), (FROM, b"250"), (TO, b"250"), (b"DATA", b"354"), (message, b"250"):
            client.say(octets, code)
        client.say(b"QUIT", b"221")
    finally:
        client.close()


def main() -> int:
    """Send all, and say how it went.

    :returns: the exit status.
    """
    options = parse()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    where = (options.host, options.port)
    message = compose(options.octets)
    deadline = time.monotonic() + options.seconds
    begin, done = time.perf_counter(), 0

    def one(_: int) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise UnexpectedError("the time is up")
        send(where, message, context, left)

    try:
        with ThreadPoolExecutor(options.threads) as threads:
            for done, _ in enumerate(threads.map(one, range(options.messages)), 1):  # noqa: B007  # told below
                pass
    except (UnexpectedError, OSError) as error:
        sys.stderr.write(f"starttls: {error} ({done} of {options.messages} messages were done)\n")
        return 1
    times = os.times()
    seconds = time.perf_counter() - begin
    json.dump({"messages": done, "connections": done, "seconds": seconds, "cpu": times.user + times.system}, sys.stdout)
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-m", dest="mode")  # as load.c has it; there is one
    parser.add_argument("-c", type=int, dest="threads", default=8)
    parser.add_argument("-n", type=int, dest="messages", default=1000)
    parser.add_argument("-s", type=int, dest="octets", default=1000)
    parser.add_argument("-t", type=float, dest="seconds", default=60.0)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
