"""The command, under each of the reactors that it may be run with. Each of these tests starts a process."""

import os
import re
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Timer

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.delivery.kit import files
from twistsmtp.hub import Hub
from twistsmtp.tls.development import make_development_certificate

ROOT = Path(__file__).resolve().parent.parent
MAIL = b"Subject: hello\r\n\r\nhello\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"x" * 70 * 1024 + b"\r\n.x\r\n" * 50_000

#: Has the process say which connections are in a hub, or has none there, and say which could not send at once, as
#: sockets have little room.
TELL = """
import socket, sys
from twistsmtp.eager import EagerServer
from twistsmtp.hub import Hub

class Talkative(EagerServer):
    def __init__(self, connection, *args, **settings):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        EagerServer.__init__(self, connection, *args, **settings)
    def startWriting(self):
        print("waits to send:", self)
        EagerServer.startWriting(self)

def add(hub, connection, add=Hub.add):
    add(hub, connection)
    print("in a hub:", connection)

from twistsmtp import eager
from twisted.internet import tcp
eager._EAGER[tcp.Server] = Talkative
Hub.add = add
if sys.argv.pop(1) == "without":
    Hub.is_possible = lambda: False
from twisted.scripts.twistd import run; run()
"""


class Served:
    """A server in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process = process
        self.port = port

    def client(self, *, tls: bool = False) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.port, "client.test", timeout=60)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            client.starttls(context=context)
        client.ehlo("client.test")
        return client


def send(client: smtplib.SMTP, mail: bytes = MAIL) -> None:
    client.sendmail("a@example.org", ["b@example.com"], mail)


def begin(client: smtplib.SMTP) -> None:
    """Come to the middle of a message."""
    client.mail("a@example.org")
    client.rcpt("b@example.com")
    client.putcmd("data")
    assert client.getreply()[0] == 354
    client.send(b"Subject: in the middle\r\n")


def ask_much(client: smtplib.SMTP, count: int) -> int:
    """Ask for *count* long replies before the first is read: how many come."""
    client.send(b"HELP\r\n" * count)
    client.putcmd("noop", "done")
    replies = 0
    while True:
        code, _ = client.getreply()
        if code == 250:
            return replies
        replies += code == 214


class ReactorTests(SynchronousTestCase):
    """Mail that is stored, STARTTLS, replies that the client does not take, clients that are lost, and the end."""

    def deliver(self, reactor: str, *, hub: bool = True) -> None:
        with self.serve(reactor, hub=hub) as served:
            clients = [served.client() for _ in range(10)]
            for _ in range(2):
                for client in clients:
                    send(client)
            for client in clients[2:]:
                client.quit()
            secure = [served.client(tls=True) for _ in range(2)]
            for client in secure:
                send(client, LARGE)
            for client in (clients[0], secure[0]):
                self.assertEqual(ask_much(client, 1000), 1000)
            gone = [served.client(), served.client(tls=True)]
            for client in gone:
                begin(client)
                client.close()
            begin(clients[0])
            begin(secure[0])
            served.process.send_signal(signal.SIGTERM)
            for client in (clients[1], secure[1]):
                self.assertEqual(client.getreply()[0], 421)
                client.close()
            for client in (clients[0], secure[0]):
                client.send(b"\r\n.\r\n")
                self.assertEqual(client.getreply()[0], 250)
                self.assertEqual(client.getreply()[0], 421)
                client.close()
            assert served.process.stdout is not None
            said = served.process.stdout.read()
        self.assertEqual(served.process.returncode, -signal.SIGTERM, said)
        self.assertEqual(said.count("[twistsmtp.connection]"), 14, said)
        self.assertEqual(len(set(re.findall("in a hub: (.+)", said))), 14 if hub else 0, said)
        self.assertGreaterEqual(len(set(re.findall("waits to send: (.+)", said))), 2, said)
        self.assertNotIn("Traceback", said)
        self.assertNotIn("Unhandled", said)
        stored = [octets.partition(b"\r\nSubject: ")[2] for _, octets in files(self.folder / "mail")]
        whole = [mail.partition(b"Subject: ")[2] for mail in (MAIL, LARGE)]
        self.assertCountEqual(stored, [whole[0]] * 20 + [whole[1]] * 2 + [b"in the middle\r\n\r\n"] * 2)

    @contextmanager
    def serve(self, reactor: str, *, hub: bool) -> Iterator[Served]:
        """A server that ends with the context, at the latest."""
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "config.toml").write_text("[limits]\nidle-commands = 100000\n")
        options = (
            *("--config", "config.toml", "--listen", "tcp:0:interface=127.0.0.1", "--domain", "example.com"),
            *("--delivery", "maildir:mail:create=yes", "--tls-cert", str(make_development_certificate(self.folder))),
        )
        twistd = ("-n", "--pidfile=", "--reactor", reactor, "smtp", *options)
        with subprocess.Popen(
            [sys.executable, "-c", TELL, "with" if hub else "without", *twistd],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            watch = Timer(100, process.kill)
            watch.start()
            self.addCleanup(watch.cancel)
            assert process.stdout is not None
            for line in process.stdout:
                if "listens on" in line:
                    yield Served(process, int(line.split("127.0.0.1:")[1].split()[0]))
                    break
            else:
                self.fail("it does not start")

    def test_epoll(self) -> None:
        if not Hub.is_possible():
            raise SkipTest("there is no epoll")
        self.deliver("epoll")

    def test_poll(self) -> None:
        self.deliver("poll", hub=Hub.is_possible())

    def test_select(self) -> None:
        self.deliver("select", hub=Hub.is_possible())

    def test_asyncio(self) -> None:
        self.deliver("asyncio", hub=Hub.is_possible())

    def test_uvloop(self) -> None:
        if find_spec("uvloop") is None:
            raise SkipTest("uvloop is not installed")
        self.deliver("uvloop", hub=Hub.is_possible())

    def test_select_without_a_hub(self) -> None:
        """Where the system has no epoll."""
        self.deliver("select", hub=False)

    def test_asyncio_without_a_hub(self) -> None:
        self.deliver("asyncio", hub=False)


class MissingTests(SynchronousTestCase):
    def test_without_uvloop(self) -> None:
        """It stops the start with a line that says what to install."""
        command = "import sys; sys.modules['uvloop'] = None; from twisted.scripts.twistd import run; run()"
        done = subprocess.run(
            [sys.executable, "-c", command, "-n", "--reactor", "uvloop", "smtp"],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("uvloop is not installed (pip install 'twistsmtp[uvloop]')", done.stdout + done.stderr)
