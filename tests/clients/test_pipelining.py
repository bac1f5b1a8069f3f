"""A client of our own that pipelines all that RFC 2920 allows: a plain socket, and nothing in between."""

import socket
from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.clients.kit import ClientTestCase, Stored
from twistsmtp.delivery.maildir import Maildir
from twistsmtp.limits import Limits

T = TypeVar("T")


class Pipe:
    """A connection that has said EHLO."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        client.settimeout(60)
        self._replies = client.makefile("rb")
        assert self.codes(1) == ["220"]
        assert self.say(["EHLO client.test"], 1) == ["250"]

    def say(self, commands: list[str], replies: int, *, message: bytes | None = None) -> list[str]:
        """Send a message, if there is one, and the *commands* behind it, in one write.

        :param replies: how many to wait for.
        :returns: their codes.
        """
        octets = b"" if message is None else message.replace(b"\r\n.", b"\r\n..") + b".\r\n"
        self._client.sendall(octets + "".join(f"{command}\r\n" for command in commands).encode())
        return self.codes(replies)

    def codes(self, replies: int) -> list[str]:
        """The codes of the next replies."""
        return [self._code() for _ in range(replies)]

    def _code(self) -> str:
        while line := self._replies.readline():
            assert line.endswith(b"\r\n"), line
            if line[3:4] == b" ":
                return line[:3].decode()
        raise EOFError("closed")

    def rest(self) -> bytes:
        """What comes until the server closes its side."""
        return self._replies.read()


def group(number: int) -> list[str]:
    """The commands of a message."""
    return [f"MAIL FROM:<a{number}@client.test>", f"RCPT TO:<b{number}@mx.test>", "DATA"]


class PipeliningTests(ClientTestCase):
    def talk(self, port: int, talk: Callable[[Pipe], T]) -> "Deferred[T]":
        """What *talk* returns, in a thread."""

        def run() -> T:
            with closing(socket.create_connection(("127.0.0.1", port), 60)) as client:
                return talk(Pipe(client))

        return deferToThread(run)

    async def test_a_message(self) -> None:
        port = await self.serve()

        def talk(pipe: Pipe) -> tuple[list[str], list[str], bytes]:
            return pipe.say(group(1), 3), pipe.say(["QUIT"], 2, message=b"Subject: x\r\n\r\n.\r\n"), pipe.rest()

        self.assertEqual(await self.talk(port, talk), (["250", "250", "354"], ["250", "221"], b""))
        self.assertEqual([each.octets for each in self.stored], [b"Subject: x\r\n\r\n.\r\n"])
        self.assertEqual(self.recipients(), [["b1@mx.test"]])

    async def test_a_refused_recipient_among_others(self) -> None:
        port = await self.serve()
        commands = ["MAIL FROM:<>", "RCPT TO:<b@mx.test>", "RCPT TO:<c@elsewhere.test>", "RCPT TO:<d@mx.test>", "DATA"]

        def talk(pipe: Pipe) -> tuple[list[str], list[str]]:
            return pipe.say(commands, 5), pipe.say(["QUIT"], 2, message=b"x\r\n")

        self.assertEqual(await self.talk(port, talk), (["250", "250", "550", "250", "354"], ["250", "221"]))
        self.assertEqual(self.recipients(), [["b@mx.test", "d@mx.test"]])

    async def test_nobody_to_send_to(self) -> None:
        # DATA is refused, so what follows are commands again.
        port = await self.serve()
        commands = ["MAIL FROM:<a@client.test>", "RCPT TO:<c@elsewhere.test>", "DATA", "RSET", *group(1)]

        def talk(pipe: Pipe) -> tuple[list[str], list[str]]:
            return pipe.say(commands, 7), pipe.say(["QUIT"], 2, message=b"x\r\n")

        said, end = await self.talk(port, talk)
        self.assertEqual((said, end), (["250", "550", "554", "250", "250", "250", "354"], ["250", "221"]))
        self.assertEqual(self.recipients(), [["b1@mx.test"]])

    async def test_an_envelope_that_is_given_up(self) -> None:
        port = await self.serve()

        def talk(pipe: Pipe) -> tuple[list[str], list[str]]:
            commands = [*group(1)[:2], "RSET", "NOOP", *group(2)[:2], "EHLO client.test", *group(3)]
            return pipe.say(commands, 10), pipe.say(["QUIT"], 2, message=b"x\r\n")

        said, end = await self.talk(port, talk)
        self.assertEqual((said, end), (["250"] * 9 + ["354"], ["250", "221"]))
        self.assertEqual(self.recipients(), [["b3@mx.test"]])

    async def test_nine_hundred_recipients(self) -> None:
        port = await self.serve()
        everybody = [f"r{number}@mx.test" for number in range(900)]
        commands = ["MAIL FROM:<a@client.test>", *(f"RCPT TO:<{each}>" for each in everybody), "DATA"]

        def talk(pipe: Pipe) -> tuple[list[str], list[str]]:
            return pipe.say(commands, 902), pipe.say(["QUIT"], 2, message=b"x\r\n")

        self.assertEqual(await self.talk(port, talk), (["250"] * 901 + ["354"], ["250", "221"]))
        self.assertEqual(self.recipients(), [everybody])

    async def test_more_recipients_than_are_taken(self) -> None:
        port = await self.serve(limits=Limits(recipients=5, errors=20))
        everybody = [f"r{number}@mx.test" for number in range(100)]
        commands = ["MAIL FROM:<a@client.test>", *(f"RCPT TO:<{each}>" for each in everybody), "DATA"]

        def talk(pipe: Pipe) -> tuple[list[str], list[str]]:
            return pipe.say(commands, 102), pipe.say(["QUIT"], 2, message=b"x\r\n")

        said = ["250"] * 6 + ["452"] * 95 + ["354"]
        self.assertEqual(await self.talk(port, talk), (said, ["250", "221"]))
        self.assertEqual(self.recipients(), [everybody[:5]])

    async def test_too_many_errors(self) -> None:
        port = await self.serve(limits=Limits(errors=20))
        commands = ["MAIL FROM:<a@client.test>", *["RCPT TO:<c@elsewhere.test>"] * 100, "DATA"]
        said = ["250"] + ["550"] * 20 + ["421"]

        def talk(pipe: Pipe) -> tuple[list[str], bytes]:
            return pipe.say(commands, len(said)), pipe.rest()

        self.assertEqual(await self.talk(port, talk), (said, b""))
        self.assertEqual(self.stored, [])

    async def test_many_messages_into_a_maildir(self) -> None:
        # The end of a message, and the commands of the next, are one write as well.
        maildir = self.folder / "Maildir"
        port = await self.serve(Maildir(maildir, create=True))
        messages = [b"Subject: %d\r\n\r\n%s" % (number, b".line\r\n" * number) for number in range(500)]

        def talk(pipe: Pipe) -> set[tuple[str, ...]]:
            said = {("250", *pipe.say(group(0), 3))}
            for number, message in enumerate(messages[:-1], 1):
                said.add(tuple(pipe.say(group(number), 4, message=message)))
            assert pipe.say(["QUIT"], 2, message=messages[-1]) == ["250", "221"]
            return said

        self.assertEqual(await self.talk(port, talk), {("250", "250", "250", "354")})
        stored = sorted(Stored.all_in(maildir), key=lambda each: messages.index(each.octets))
        self.assertEqual([each.octets for each in stored], messages)
        self.assertEqual([each.reverse_path for each in stored], [f"a{number}@client.test" for number in range(500)])
        self.assertEqual([each.recipient for each in stored], [f"b{number}@mx.test" for number in range(500)])
