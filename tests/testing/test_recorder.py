"""Sessions recorded, and what is not in a recording."""

import base64
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import PASSWORD, USER, certificates, encoded, portal
from tests.support import cuts
from twistsmtp.extensions.xclient import xclient
from twistsmtp.security import Security
from twistsmtp.testing.faults import Faults, FaultyProtocol
from twistsmtp.testing.memory import MemoryServer
from twistsmtp.testing.recorder import Recorder
from twistsmtp.testing.tape import Tape

PLAIN = encoded(f"\0{USER}\0{PASSWORD}")
MESSAGE = b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\n"


class RecordingTestCase(SynchronousTestCase):
    def serve(self, recorder: Recorder | None = None) -> MemoryServer:
        self.folder = Path(self.mktemp())
        self.recorder = recorder or Recorder(self.folder)
        server = MemoryServer(security=Security(tls=certificates(), portal=portal(), plaintext_auth=True))
        self.recorder.attach(server.factory)
        return server

    def record(self, *pieces: bytes) -> str:
        """The recording of a client that sends *pieces*."""
        client = self.serve().connect()
        for piece in pieces:
            client.send(piece)
            client.advance(0.5)
        client.close()
        [path] = self.recorder.paths
        return path.read_text()

    def client_lines(self, *pieces: bytes) -> list[str]:
        return re.findall(r"^\S+ C: (.*)$", self.record(*pieces), re.MULTILINE)


class RecorderTests(RecordingTestCase):
    def test_text(self) -> None:
        """The whole of it: pieces, times, octets."""
        text = self.record(b"HELO client.test\r\n", b"NOOP\r\nNO", b"OP\r\n" + MESSAGE, b"\xe9\\\r\n.\r\n")
        self.assertEqual(
            text,
            "# A session with twistsmtp. \\* stands for a secret that was left out.\n"
            "# id: memory-1\n# client: 192.0.2.1\n# hostname: mx.test\n"
            "0 S: 220 mx.test ESMTP twistsmtp\n"
            "0 C: HELO client.test\n"
            "0 S: 250 mx.test\n"
            "0.5 C: NOOP\n"
            "+ C: NO\\\n"
            "0.5 S: 250 2.0.0 OK\n"
            "1 C: OP\n"
            "+ C: MAIL FROM:<a@client.test>\n"
            "+ C: RCPT TO:<b@mx.test>\n"
            "+ C: DATA\n"
            "1 S: 250 2.0.0 OK\n"
            "+ S: 250 2.1.0 Sender OK\n"
            "+ S: 250 2.1.5 Recipient OK\n"
            "+ S: 354 Start mail input; end with <CRLF>.<CRLF>\n"
            "1.5 C: \\xe9\\\\\n"
            "+ C: .\n"
            "1.5 S: 250 2.0.0 OK: message memory-1-1 accepted\n"
            "2 C: (closes)\n",
        )

    def test_private(self) -> None:
        """Only its owner can read it."""
        self.record(b"QUIT\r\n")
        self.assertEqual(self.recorder.paths[0].stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.recorder.paths, [self.folder / "memory-1.smtp"])

    def test_who_ends_it(self) -> None:
        self.assertIn("0 S: (closes)\n", self.record(b"QUIT\r\n"))
        client = self.serve().connect()
        client.half_close()
        self.assertIn("0 C: (closes its side)\n0 S: (closes)\n", self.recorder.paths[0].read_text())

    def test_tls(self) -> None:
        server = self.serve()
        client = server.connect()
        client.hello()
        client.start_tls()
        client.say("QUIT")
        self.assertTrue(client.closed)
        self.assertRegex(
            self.recorder.paths[0].read_text(),
            r"0 C: STARTTLS\n0 S: 220 .*\n0 C: \(begins TLS\)\n0 C: QUIT\n0 S: 221 .*\n0 S: \(closes\)\n\Z",
        )
        server.connect(tls=True).close()
        self.assertRegex(self.recorder.paths[1].read_text(), r"# tls: implicit\n0 C: \(begins TLS\)\n0 S: 220 ")

    def test_bounds(self) -> None:
        """A session that is too long is recorded as far as it goes, and no more sessions than are wanted."""
        folder = Path(self.mktemp())
        server = self.serve(Recorder(folder, octets=100 + 4 * 128, sessions=1))
        for _ in range(2):
            client = server.connect()
            client.send(b"HELO x\r\n")
            client.send(b"VRFY " + b"x" * 100 + b"\r\n")
            client.send(b"NOOP\r\n")
            client.close()
        [path] = folder.iterdir()
        self.assertRegex(path.read_text(), r"0 S: 250 mx.test\n# It went on, but was too long.\n\Z")

    def test_many_pieces(self) -> None:
        """Each of them takes room, and the places of a message's pieces take none when it is used up."""
        tape = Tape(10_000)
        for place in range(1000):
            tape.heard(0.0, b"x")
            tape.message(2 * place, 2 * place + 1)
        self.assertEqual(tape.text().count("C: x"), 10_000 // 129)
        self.assertEqual(len(tape._messages), 10_000 // 129)

    def test_cannot_be_written(self) -> None:
        """The connection ends as ever."""
        server = self.serve()
        (self.folder / "memory-1.smtp").write_text("mine")
        server.connect().close()
        self.assertEqual((self.folder / "memory-1.smtp").read_text(), "mine")
        self.assertEqual(self.recorder.paths, [])
        self.assertEqual(len(self.flushLoggedErrors(FileExistsError)), 1)

    def test_beside_faults(self) -> None:
        server = MemoryServer()
        faults = Faults()
        server.factory.protocol = FaultyProtocol.having(faults, lambda note: None)
        recorder = Recorder(self.mktemp())
        recorder.attach(server.factory)
        faults.drop_after(4)
        server.connect().send(b"NOOP\r\n")
        self.assertIn("0 C: NOOP\n", recorder.paths[0].read_text())
        server.factory.protocol = lambda: None  # type: ignore[assignment]  # what is no class
        self.assertRaises(TypeError, recorder.attach, server.factory)


class SecretTests(RecordingTestCase):
    """What AUTH and XCLIENT bring."""

    def test_initial_response(self) -> None:
        for line in (b"AUTH PLAIN ", b"auth  plain\t", b" AUTH PLAIN "):
            said = self.client_lines(b"EHLO x\r\n", line + PLAIN.encode() + b"\r\n", b"NOOP\r\n")
            self.assertEqual(said[1:3], [line.decode().replace("\t", "\\t") + "\\*", "NOOP"])

    def test_exchange(self) -> None:
        answers = [encoded(each).encode() + b"\r\n" for each in (USER, PASSWORD)]
        said = self.record(b"EHLO x\r\n", b"AUTH LOGIN\r\n", *answers, b"NOOP\r\n")
        for secret in (encoded(USER), encoded(PASSWORD)):
            self.assertNotIn(secret, said)
        self.assertNotIn("VXNl", said)  # the challenges go with them
        self.assertIn("S: 334 \\*\n", said)
        self.assertIn("C: NOOP\n", said)

    def test_empty_initial_response(self) -> None:
        """That there is none is no secret."""
        said = self.client_lines(b"EHLO x\r\n", b"AUTH LOGIN =\r\n")
        self.assertEqual(said[1], "AUTH LOGIN =")

    def test_ahead_of_its_time(self) -> None:
        """A client that does not wait for the challenge; and one that is cut off in the middle."""
        for pieces in (
            (b"EHLO x\r\nAUTH LOGIN\r\ndGlt\r\naHVzaA==\r\nNOOP\r\n",),
            (b"EHLO x\r\nAUTH LOG", b"IN\r\ndGl", b"t\r\naHVz", b"aA==\r\n"),
            (b"EHLO x\r\n", b"AUTH PLAIN aHVz"),
            (b"EHLO x\r\n", b"AUTH PLAIN\r\n", b"aHVz", b"aA=="),
            (b"EHLO x\r\n", b"AUTH PLAIN " + b"aHVz" * 6000 + b"\r\n"),
            (b"EHLO x\r\n", b"AUTH PLAIN\r\n", b"aHVz" * 6000 + b"\r\n"),
            (b"AUTH PLAIN aHVz\r\n",),
            (b"EHLO x\r\nSTARTTLS\r\nAUTH PLAIN aHVzaA==\r\n",),
            (b"EHLO x\r\nAUTH NOTHING aHVzaA==\r\n",),
            (b"EHLO x\r\nAUTH PLAIN aHVzaA==\n\r\n",),
        ):
            text = self.record(*pieces)
            for secret in ("aHVz", "dGlt", "dGl"):
                self.assertNotIn(secret, text)

    def test_refused(self) -> None:
        """A client that answers challenges that there were not, and one that says something before AUTH."""
        secrets = (b"dGlt\r\n", b"aHVzaA==\r\n")
        for pieces in (
            (b"AUTH NOTHING\r\n", *secrets),
            (b"AUTH LOGIN no-base64\r\n", *secrets),
            (b"AUTH LOGIN\r\n", b"tim\r\n", b"aHVzaA==\r\n"),
            (b"AUTH LOGIN\r\n", b"*\r\n", *secrets),
            (b"AUTH PLAIN =\r\n", *secrets),
            (b"STARTTLS\r\n", b"AUTH LOGIN\r\n", *secrets),
            (b"\xff\xfb\x06AUTH PLAIN aHVzaA==\r\n",),
            (b"NOOP AUTH PLAIN aHVzaA==\r\n",),
            (b"AUTH LOGIN\r\n", b"dGlt\r\naHVzAUTH\r\n"),
            (b"AUTH LOGIN\r\n", b"dGlt\r\naHVz AUTH PLAIN x\r\n"),
            (b"AUTH NOTHING\r\n", b"aHVzAUTH\r\n", *secrets),
        ):
            said = self.record(b"EHLO x\r\n", *pieces, b"NOOP\r\n")
            for secret in ("aHVz", "dGlt", "tim"):
                self.assertNotIn(secret, said)
            self.assertTrue("STARTTLS" in said or "C: NOOP\n" in said)
        said = self.record(b"EHLO x\r\n", b"AUTH NOTHING\r\n", b"RSET\r\n", b"FOOBAR\r\n")
        self.assertIn("C: FOOBAR\n", said)  # no secret, as it is none that comes behind a command

    def test_behind_a_message(self) -> None:
        """The end of a message is known, however it comes."""
        said = self.record(b"EHLO x\r\n" + MESSAGE, b"a\r\n.\r\nAUTH PLAIN aHVzaA==\r\n")
        self.assertNotIn("aHVz", said)
        chunk = b"BDAT 3 LAST\r\na\r\n"
        said = self.record(b"EHLO x\r\n" + MESSAGE.replace(b"DATA\r\n", chunk) + b"AUTH PLAIN aHVzaA==\r\n")
        self.assertNotIn("aHVz", said)

    def test_in_a_message(self) -> None:
        """What only looks like AUTH there is the message's."""
        said = self.client_lines(b"EHLO x\r\n" + MESSAGE, b"AUTH PLAIN x\r\n.\r\n", b"NOOP\r\n")
        self.assertEqual(said[-4:], ["AUTH PLAIN x", ".", "NOOP", "(closes)"])

    def test_xclient(self) -> None:
        folder = Path(self.mktemp())
        server = MemoryServer(extensions=[xclient(["192.0.2.1"])])
        recorder = Recorder(folder)
        recorder.attach(server.factory)
        client = server.connect()
        client.hello()
        client.say("XCLIENT ADDR=192.0.2.9 LOGIN=ada NAME=x", "xclient login=ada")
        client.close()
        text = recorder.paths[0].read_text()
        self.assertIn("C: XCLIENT ADDR=192.0.2.9 LOGIN=\\* NAME=x\n", text)
        self.assertNotIn("ada", text)

    @settings(max_examples=60)
    @given(st.lists(st.integers(0, 10_000), max_size=12), st.booleans())
    def test_however_it_is_cut(self, positions: list[int], login: bool) -> None:
        """No piece of a secret is there, in whatever pieces it came."""
        password = base64.b64encode(b"open sesame, please").decode()
        exchange = f"AUTH LOGIN\r\ndGlt\r\n{password}\r\n" if login else f"AUTH PLAIN {password}\r\n"
        octets = b"EHLO x\r\n" + exchange.encode() + MESSAGE + b"AUTH PLAIN x\r\n.\r\n" + exchange.encode()
        text = self.record(*cuts(octets, positions))
        shown = "".join(re.findall(r"^\S+ C: (.*?)\\?$", text, re.MULTILINE))
        for start in range(len(password) - 4):
            self.assertNotIn(password[start : start + 4], shown)
