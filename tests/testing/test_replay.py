"""Recorded sessions, replayed."""

import smtplib
from base64 import b64decode
from dataclasses import replace
from hmac import digest
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import PASSWORD, USER, Digests, Passwords, certificates, encoded, portal
from tests.support import CONVERSATION, cuts
from twistsmtp.delivery.memory import Memory
from twistsmtp.factory import LMTPFactory, SMTPFactory
from twistsmtp.limits import Limits
from twistsmtp.security import Security
from twistsmtp.testing.memory import MemoryServer
from twistsmtp.testing.recorder import Recorder
from twistsmtp.testing.replay import assert_replay, replay
from twistsmtp.testing.thread import ServerThread
from twistsmtp.wire.reply import Catalogue, Reply

OTHER = replace(Catalogue(), recipient_ok=Reply(250, "2.1.5", "Fine"))


def make(**settings: Any) -> SMTPFactory:
    """A factory as it was then, but for *settings*."""
    security = Security(tls=certificates(), portal=portal(Passwords(), Digests()), plaintext_auth=True)
    return SMTPFactory(Memory(), **{"hostname": "mx.test", "security": security, "reactor": Clock(), **settings})


class ReplayTests(SynchronousTestCase):
    def server(self, factory: SMTPFactory | None = None) -> MemoryServer:
        server = MemoryServer(factory=factory or make())
        self.recorder = Recorder(self.mktemp())
        self.recorder.attach(server.factory)
        return server

    def record(self, *pieces: bytes, pause: float = 0.0, vanish: bool = True) -> Path:
        client = self.server().connect()
        for piece in pieces:
            client.send(piece)
            client.advance(pause)
        if vanish:
            client.vanish()
        return self.recorder.paths[-1]

    def test_the_same(self) -> None:
        assert_replay(self.record(CONVERSATION), make())

    def test_another_reply(self) -> None:
        path = self.record(CONVERSATION)
        found = replay(path, make(replies=OTHER))
        self.assertEqual(
            [line for line in found if line[0] in "-+"],
            ["- S: 250 2.1.5 Recipient OK", "+ S: 250 2.1.5 Fine"] * 3,
        )
        self.assertIn("  C: QUIT", found)
        error = self.assertRaises(AssertionError, assert_replay, path, make(replies=OTHER))
        self.assertTrue(str(error).startswith(f"{path}: the server says other things (- then, + now):\n  S: 220 "))

    def test_ignored(self) -> None:
        ignore = ["250 2.1.5 .*", "250.*FUTURERELEASE.*"]
        self.assertEqual(replay(self.record(CONVERSATION), make(replies=OTHER), ignore=ignore), [])

    def test_time(self) -> None:
        """Time passes as it did: a client that was idle for too long then is so now, to the second."""
        path = self.record(b"EHLO x\r\n", b"NOOP\r\n", pause=320, vanish=False)
        self.assertIn("S: 421 4.4.2 Idle for too long\n", path.read_text())
        assert_replay(path, make())
        self.assertIn("- S: 421 4.4.2 Idle for too long", replay(path, make(limits=Limits(idle_time=400))))
        assert_replay(self.record(b"EHLO x\r\n", b"NOOP\r\n", pause=280), make())

    def test_who_ends_it(self) -> None:
        """A server that closes where it did not, and one that does not where it did."""
        path = self.record(b"EHLO x\r\n", b"NOOP\r\n", pause=1)
        text = path.read_text()
        self.assertTrue(text.endswith("C: (closes)\n"))
        path.write_text(text.replace("2 C: (closes)", "2 S: (closes)"))
        self.assertIn("- S: (closes)", replay(path, make()))
        path.write_text(text.replace("C: (closes)\n", "C: (closes its side)\n2 S: (closes)\n"))
        assert_replay(path, make())

    def test_tls(self) -> None:
        server = self.server()
        client = server.connect()
        client.hello()
        client.start_tls()
        client.hello()
        client.say("QUIT")
        self.assertTrue(client.closed)
        client = server.connect(tls=True)
        client.hello()
        client.close()
        self.assertEqual(len(self.recorder.paths), 2)
        for path in self.recorder.paths:
            assert_replay(path, make())

    def test_secrets(self) -> None:
        """They are given again, in order; without them, the recording says what it wants."""
        answers = [encoded(each).encode() for each in (USER, PASSWORD)]
        path = self.record(b"EHLO x\r\n", b"AUTH LOGIN\r\n", *[each + b"\r\n" for each in answers], b"NOOP\r\n")
        assert_replay(path, make(), secrets=answers)
        with self.assertRaisesRegex(ValueError, "secrets left out"):
            replay(path, make())
        self.assertIn("- S: 235 2.7.0 Authentication succeeded", replay(path, make(), secrets=[b"YQ==", b"Yg=="]))

    def test_challenges(self) -> None:
        """A function makes the answer to another challenge than then."""

        def answer(challenge: bytes) -> bytes:
            proof = digest(PASSWORD.encode(), b64decode(challenge), "md5").hex()
            return encoded(f"{USER} {proof}").encode()

        client = self.server().connect()
        client.hello()
        [challenge] = client.say("AUTH CRAM-MD5")
        client.say(answer(challenge[4:].encode()))
        client.advance(1)
        client.close()
        [path] = self.recorder.paths
        self.assertIn("S: 235 ", path.read_text())
        assert_replay(path, make(), secrets=answer)

    def test_lmtp(self) -> None:
        client = self.server(LMTPFactory(Memory(), reactor=Clock(), hostname="mx.test")).connect("2001:db8::1")
        client.hello()
        client.send_mail(["a@mx.test", "b@mx.test"])
        client.close()
        assert_replay(self.recorder.paths[0], LMTPFactory(Memory(), hostname="mx.test"))

    def test_a_real_server(self) -> None:
        """What was recorded on a socket is replayed in memory."""
        memory = Memory()
        factory = SMTPFactory(memory, hostname="mx.test")
        self.recorder = Recorder(self.mktemp())
        self.recorder.attach(factory)
        with ServerThread(factory=factory) as server, smtplib.SMTP(server.host, server.port) as client:
            client.sendmail("a@client.test", ["b@mx.test"], "Subject: x\r\n\r\n.\r\n")
        again = Memory()
        assert_replay(self.recorder.paths[0], SMTPFactory(again, hostname="mx.test"))
        then, now = (each.messages[0].octets.split(b"\r\n\r\n")[1] for each in (memory, again))
        self.assertEqual(then, now)

    def test_malformed(self) -> None:
        path = Path(self.mktemp())
        path.write_text("hello\n")
        self.assertRaises(ValueError, replay, path, make())

    @settings(max_examples=40)
    @given(st.lists(st.integers(0, 10_000), max_size=10), st.floats(0, 30))
    def test_however_it_came(self, positions: list[int], pause: float) -> None:
        """Any pieces, at any time."""
        assert_replay(self.record(*cuts(CONVERSATION, positions), pause=pause, vanish=False), make())
