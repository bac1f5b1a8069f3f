"""Messages in chunks, by DATA, and commands between them: cut anywhere, answered at once or later, over SMTP and LMTP,
the same replies in the same order, and the same octets stored."""

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.chunks import TRANSACTION, bdat, chunking
from tests.lmtp import LMTPServer
from tests.scripted import LATER, Answer, How, Script
from tests.support import Client, Server, cuts
from twistsmtp.limits import Limits
from twistsmtp.wire.reply import Catalogue, Refusal, Reply

NO = Refusal(Reply(550, "5.7.1", "No"))
#: So that replies do not depend on the ids of sessions.
REPLIES = replace(Catalogue(), accepted=Reply(250, "2.0.0", "OK"))


class Oops(Exception):
    """What nobody meant to raise."""


# Chunks that may be part of a message are of 10 octets, so that one that is refused is so for the same reason wherever
# it is cut: it is either too long or a loop.
_GOOD = [b"", b"QUIT\r\n.\r\n\n", b"RSET\r\n\0\rab", b"\r\n.\r\nDATA\r", b"BDAT 5\r\n\xff\xfe", b"From: a\r\n\r"]
_BAD = [b"x" * 50, b"Received: x\r\n" * 2, b"NOOP\r\n" * 20]
_COMMANDS = [
    b"MAIL FROM:<> SIZE=5 BODY=8BITMIME",
    b"MAIL FROM:<> BODY=BINARYMIME",
    b"MAIL FROM:<> SIZE=50",
    b"RCPT TO:<c@mx.test>",
    b"RCPT TO:<>",
    b"DATA",
    b"RSET",
    b"NOOP",
    b"HELP",
    b"BDAT 0",
    b"BDAT 0 LAST",
    b"BDAT",
    b"BDAT -1",
    b"BDAT 99999999999999999999",
]
_STEPS = ("begin", "rcpt", "open", "commit", "policy_mail", "policy_rcpt", "policy_data", "policy_message")
_BODIES = [b"", b"text\r\n", b"..\r\n"]


@dataclass(frozen=True)
class Dialogue:
    """What a client means to say, and what the steps come to that it makes the server take.

    :param units: a command each, or a command with its chunk.
    """

    lmtp: bool
    units: list[bytes]
    body: bytes
    say_goodbye: bool
    results: dict[str, list[Exception | None]]
    write: Exception | None

    @property
    def said(self) -> list[bytes]:
        hello = b"LHLO client.test\r\n" if self.lmtp else b"EHLO client.test\r\n"
        return [hello, *self.units, *[b"NOOP\r\n", b"QUIT\r\n"] * self.say_goodbye]

    def connect(self, script: Script) -> Client:
        limits = Limits(message_size=40, hops=2, errors=12)
        server = LMTPServer if self.lmtp else Server
        return server.scripted(script, replies=REPLIES, limits=limits, extensions=chunking()).connect()

    def script(self, hows: list[How]) -> Script:
        """The results of this dialogue, come to in these ways."""
        answers: dict[str, Any] = {
            step: [Answer(hows[n % len(hows)], result) for n, result in enumerate(each)]
            for step, each in self.results.items()
        }
        if self.write is not None:
            answers["write"] = Answer(hows[-1], self.write)
        return Script(*hows, **answers)


def dialogues(chunks: list[bytes], write: Exception | None) -> st.SearchStrategy[Dialogue]:
    chunk = st.builds(bdat, st.sampled_from(chunks), st.booleans())
    mail = TRANSACTION.splitlines(keepends=True)
    message = st.lists(chunk, min_size=1, max_size=4).map(lambda units: [*mail, *units])
    command = st.sampled_from(_COMMANDS).map(lambda line: [line + b"\r\n"])
    groups = st.lists(message | st.just([*mail, b"DATA\r\n"]) | chunk.map(lambda unit: [unit]) | command, max_size=7)
    return st.builds(
        Dialogue,
        lmtp=st.booleans(),
        units=groups.map(lambda groups: [unit for group in groups for unit in group]),
        body=st.sampled_from(_BODIES),
        say_goodbye=st.booleans(),
        results=st.dictionaries(
            st.sampled_from(_STEPS),
            st.lists(st.sampled_from([None, None, None, NO, Oops("?")]), min_size=1, max_size=3),
            max_size=4,
        ),
        write=st.just(write),
    )


def one_at_a_time(dialogue: Dialogue) -> tuple[Client, bytes]:
    """A client that waits for each reply, and all that it sent."""
    client = dialogue.connect(dialogue.script([How.PLAIN]))
    sent = b""
    for unit in dialogue.said:
        sent += unit
        if client.send(unit).startswith(b"354"):
            sent += dialogue.body + b".\r\n"
            client.send(dialogue.body + b".\r\n")
        if client.closed:
            break
    return client, sent


def endings(client: Client) -> list[tuple[int, int, bytes]]:
    """What became of each transaction, when the connection is gone."""
    client.vanish()
    return [(each.commits, each.aborts, each.body * each.commits) for each in client.server.delivery.transactions]


class OrderTests(SynchronousTestCase):
    @given(
        dialogues(_GOOD + _BAD, None) | dialogues(_GOOD, NO) | dialogues(_GOOD, Oops("?")),
        st.lists(st.sampled_from(How), min_size=1, max_size=7),
        st.lists(st.integers(0, 2000), max_size=8),
        st.lists(st.booleans(), min_size=1, max_size=5),
    )
    def test_rfc3030_2_as_one_at_a_time(
        self, dialogue: Dialogue, hows: list[How], positions: list[int], releases: list[bool]
    ) -> None:
        self.flushLoggedErrors()
        expected, sent = one_at_a_time(dialogue)
        errors = len(self.flushLoggedErrors(Oops))

        script = dialogue.script(hows)
        client = dialogue.connect(script)
        for number, piece in enumerate(cuts(sent, positions)):
            client.send(piece)
            if releases[number % len(releases)] and script.waiting:
                script.release()
        if sent.endswith(b"QUIT\r\n"):
            client.finish_sending()
        script.release_all()

        self.assertEqual(script.overlaps, [])
        self.assertEqual(b"".join(client.wire.writes), b"".join(expected.wire.writes))
        self.assertEqual(client.closed, expected.closed)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), errors)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(client.session.counts, expected.session.counts)
        ends = endings(client)
        self.assertEqual(ends, endings(expected))
        for commits, aborts, _ in ends:
            self.assertEqual(commits + aborts, 1)

    def test_rfc3030_2_one_step_at_a_time(self) -> None:
        message = TRANSACTION + bdat(b"a\nb") + b"BDAT 0\r\n" + bdat(b"QUIT\r\n", True)
        units = message.splitlines(keepends=True)
        for lmtp in (False, True):
            dialogue = Dialogue(lmtp, units, b"", True, {}, None)
            stream = b"".join(dialogue.said)
            for how in LATER:
                for position in range(len(stream)):
                    script = Script(how)
                    client = dialogue.connect(script)
                    for piece in cuts(stream, [position]):
                        client.send(piece)
                        if script.waiting:
                            script.release()
                    script.release_all()
                    self.assertEqual(script.overlaps, [], (how, position))
                    self.assertTrue(client.closed)
                    self.assertEqual(client.server.delivery.bodies, [b"a\nbQUIT\r\n"])
