"""Greylisting."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

import twistsmtp
from tests.authentication import plain, secured
from tests.support import Client, Server, logged
from tests.test_textfile import Threads, at_once
from twistsmtp.lifecycle import Parts
from twistsmtp.policy.find import make_policy
from twistsmtp.policy.greylist import Greylist
from twistsmtp.policy.triplets import Rule
from twistsmtp.wire.reply import Refusal

OK, WAIT, NOW = "250 2.1.5", "450 4.7.1", 1_000_000.0


class GreylistTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.options: dict[str, Any] = {}
        self.in_thread: Any = at_once
        self.now = NOW

    def server(self, make: Any = Server, on_failure: Any = "pass", **settings: Any) -> Server:
        self.policy = Greylist(
            str(self.path), Rule(passes=2), now=lambda: self.now, in_thread=self.in_thread, **self.options
        )
        self.policy.on_failure = on_failure
        self.addCleanup(self.policy._triplets.close)
        server: Server = make(policies=[self.policy], **settings)
        return server

    def rcpt(self, client: Client, *recipients: str, sender: str = "a@client.test") -> list[str]:
        client.say("RSET", f"MAIL FROM:<{sender}>")
        return client.codes(*(f"RCPT TO:<{each}>" for each in recipients or ("b@mx.test",)))

    def asked(self) -> list[object]:
        """What the file is asked from now on."""
        asked: list[object] = []
        check = self.policy._triplets.check

        def note(*question: Any) -> Any:
            asked.append(question)
            return check(*question)

        self.patch(self.policy._triplets, "check", note)
        return asked


class RecipientTests(GreylistTestCase):
    """Who is deferred at RCPT, and until when."""

    def test_comes_again(self) -> None:
        client = self.server().connect().hello()
        self.assertEqual([WAIT], self.rcpt(client))
        self.now += 299
        self.assertEqual([WAIT], self.rcpt(client))
        self.now += 1
        self.assertEqual([OK], self.rcpt(client))
        self.assertEqual([OK, WAIT], self.rcpt(client, "b@mx.test", "c@mx.test"))

    def test_what_it_says(self) -> None:
        client = self.server().connect().hello()
        client.say("MAIL FROM:<a@client.test>")
        self.now += 0.4
        self.assertEqual(["450 4.7.1 Greylisted: try again in 300 seconds"], client.say("RCPT TO:<b@mx.test>"))
        self.now += 299.5
        self.assertEqual(["450 4.7.1 Greylisted: try again in 1 seconds"], client.say("RCPT TO:<b@mx.test>"))

    def test_from_the_same_network(self) -> None:
        """Sites send from several addresses."""
        server = self.server()
        for first, second, code in (
            ("192.0.2.1", "192.0.2.200", OK),
            ("192.0.3.1", "192.0.4.1", WAIT),
            ("2001:db8::1", "2001:db8::ffff:1", OK),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", WAIT),
            ("::ffff:198.51.100.1", "::ffff:198.51.100.2", OK),
        ):
            kind = (lambda host: IPv6Address("TCP", host, 1)) if ":" in first else str
            sender = f"{first.replace(':', '-')}@client.test"
            self.assertEqual([WAIT], self.rcpt(server.connect(kind(first)).hello(), sender=sender))
            self.now += 300
            self.assertEqual([code], self.rcpt(server.connect(kind(second)).hello(), sender=sender), second)

    def test_one_address_in_other_forms(self) -> None:
        client = self.server().connect().hello()
        self.rcpt(client, sender="A@CLIENT.test")
        self.now += 300
        self.assertEqual([OK], self.rcpt(client, "B@mx.TEST", sender="a@client.test"))

    def test_postmaster(self) -> None:
        client = self.server().connect().hello()
        self.assertEqual([WAIT], self.rcpt(client, "postmaster"))
        self.now += 300
        self.assertEqual([OK], self.rcpt(client, "Postmaster"))

    def test_a_client_that_has_passed(self) -> None:
        client = self.server().connect().hello()
        for number in range(2):
            self.rcpt(client, f"{number}@mx.test")
            self.now += 300
            self.assertEqual([OK], self.rcpt(client, f"{number}@mx.test"))
        self.assertEqual([OK], self.rcpt(client, "new@mx.test", sender="new@client.test"))

    def test_a_message_counts_once(self) -> None:
        client = self.server().connect().hello()
        several = [f"{number}@mx.test" for number in range(5)]
        self.assertEqual([WAIT] * 5, self.rcpt(client, *several))
        self.now += 300
        self.assertEqual([OK] * 5, self.rcpt(client, *several))
        self.assertEqual([WAIT], self.rcpt(client, "new@mx.test"))

    def test_not_strangers(self) -> None:
        self.options = {"trusted": ["198.51.100.0/24"]}
        server = self.server()
        for peer in ("127.0.0.1", "10.0.0.1", "198.51.100.1", UNIXAddress(b"/run/x")):
            self.assertEqual([OK], self.rcpt(server.connect(peer).hello()))
        self.assertFalse(self.path.exists())

    def test_users(self) -> None:
        client = self.server(secured).connect().hello()
        self.assertEqual([WAIT], self.rcpt(client))
        client.say("RSET")
        self.assertEqual(["235 2.7.0"], client.codes(f"AUTH PLAIN {plain()}"))
        self.assertEqual([OK], self.rcpt(client))

    def test_reload(self) -> None:
        """The file may be another."""
        client = self.server().connect().hello()
        self.rcpt(client)
        self.now += 300
        self.path.rename(f"{self.path}.old")
        self.policy.reload()
        self.assertEqual([WAIT], self.rcpt(client))


class NotificationTests(GreylistTestCase):
    """The null reverse-path: asked about at DATA."""

    def data(self, client: Client, *recipients: str) -> list[str]:
        self.assertEqual([OK] * len(recipients), self.rcpt(client, *recipients, sender=""))
        codes = client.codes("DATA")
        if codes == ["354"]:
            client.send(b"text\r\n.\r\n")
        return codes

    def test_comes_again(self) -> None:
        client = self.server().connect().hello()
        self.assertEqual([WAIT], self.data(client, "b@mx.test", "c@mx.test"))
        self.now += 300
        self.assertEqual(["354"], self.data(client, "b@mx.test", "c@mx.test"))
        self.assertEqual([WAIT], self.data(client, "b@mx.test", "d@mx.test"))

    def test_others_are_not_asked_about_again(self) -> None:
        client = self.server().connect().hello()
        self.rcpt(client)
        self.now += 300
        self.assertEqual([OK], self.rcpt(client))
        self.path.unlink()
        self.policy._triplets.close()
        self.assertEqual(["354"], client.codes("DATA"))

    def test_users(self) -> None:
        client = self.server(secured).connect().hello()
        client.say(f"AUTH PLAIN {plain()}")
        self.assertEqual(["354"], self.data(client, "b@mx.test"))


class FieldTests(GreylistTestCase):
    """What it writes into a message that it has held up."""

    def message(self, client: Client, *recipients: str, sender: str = "a@client.test") -> bytes:
        """A message as it was delivered."""
        self.rcpt(client, *recipients, sender=sender)
        client.say("DATA")
        client.send(b"text\r\n.\r\n")
        octets: bytes = client.server.delivery.transactions[-1].octets
        return octets

    def test_field(self) -> None:
        client = self.server().connect().hello()
        self.rcpt(client, "b@mx.test", "c@mx.test")
        self.now += 312
        octets = self.message(client, "b@mx.test", "c@mx.test")
        field = b"X-Greylist: delayed 312 seconds by twistsmtp at mx.test; Mon, 12 Jan 1970 13:51:52 +0000\r\n"
        self.assertTrue(octets.startswith(field), octets)
        self.assertEqual(1, octets.count(b"X-Greylist"))

    def test_once(self) -> None:
        client = self.server().connect().hello()
        self.rcpt(client)
        self.now += 312
        self.message(client)
        self.assertNotIn(b"X-Greylist", self.message(client))

    def test_notification(self) -> None:
        client = self.server().connect().hello()
        self.rcpt(client, sender="")
        client.say("DATA")
        self.now += 400
        self.assertIn(b"X-Greylist: delayed 400 seconds", self.message(client, sender=""))


class FailureTests(GreylistTestCase):
    """The file fails."""

    def broken(self, **settings: Any) -> Client:
        self.path.write_text("no database" * 100)
        return self.server(**settings).connect().hello()

    def test_pass(self) -> None:
        """That is the default."""
        self.assertEqual("pass", Greylist.on_failure)
        self.assertEqual([OK], self.rcpt(self.broken()))

    def test_defer(self) -> None:
        self.assertEqual(["451 4.3.0"], self.rcpt(self.broken(on_failure="defer")))
        self.assertEqual([], self.flushLoggedErrors())

    def test_log(self) -> None:
        """Once a minute, and not for each message."""
        client = self.broken()
        with logged("twistsmtp.policy") as events:
            for _ in range(3):
                self.rcpt(client)
            client.server.clock.advance(60)
            self.rcpt(client)
        line = f"{self.path} fails, and mail passes: file is not a database"
        self.assertEqual([line] * 2, [formatEvent(event) for event in events])

    def test_mended(self) -> None:
        client = self.broken()
        self.rcpt(client)
        self.path.unlink()
        client.server.clock.advance(5)
        self.assertEqual([WAIT], self.rcpt(client))

    def test_not_asked_again_at_once(self) -> None:
        """A file that is locked would have each client wait."""
        for on_failure, code in ("pass", OK), ("defer", "451 4.3.0"):
            client = self.broken(on_failure=on_failure)
            self.assertEqual([code], self.rcpt(client))
            asked = self.asked()
            client.server.clock.advance(4.9)
            self.assertEqual([code] * 2, self.rcpt(client, "b@mx.test", "c@mx.test"))
            self.assertEqual([], asked)

    def test_locked(self) -> None:
        """By a server that does not let go of it: that takes half a second once."""
        client = self.server().connect().hello()
        self.rcpt(client)
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        self.assertEqual([OK] * 20, self.rcpt(client, *(f"{number}@mx.test" for number in range(20))))
        other.execute("ROLLBACK")
        client.server.clock.advance(5)
        self.assertEqual([WAIT], self.rcpt(client))

    def test_another_failure(self) -> None:
        """What is no trouble with the file is nobody's choice."""
        client = self.server().connect().hello()
        self.policy._triplets.check = lambda *_: 1 // 0  # type: ignore[method-assign,assignment]
        self.assertEqual([OK], self.rcpt(client))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_at_the_start(self) -> None:
        """It stops the server."""
        self.path.write_text("no database" * 100)
        error = self.assertRaises(ValueError, Greylist(str(self.path)).start)
        self.assertEqual(f"{self.path}: file is not a database", str(error))
        error = self.assertRaises(ValueError, Greylist(f"{self.path}/x").start)
        self.assertEqual(f"{self.path}/x: unable to open database file", str(error))


class WaitingTests(GreylistTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.in_thread = self.threads = Threads()

    def test_a_client_that_does_not_wait(self) -> None:
        client = self.server().connect().hello()
        client.say("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>")
        client.vanish()
        self.threads.finish()
        self.assertEqual([], self.flushLoggedErrors())

    def test_many(self) -> None:
        """No more wait than a hundred; the next is answered as where the file fails."""
        server = self.server(on_failure="defer")
        clients = [server.connect(f"192.0.2.{number}").hello() for number in range(101)]
        with logged("twistsmtp.policy") as events:
            said = [client.codes("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>")[1:] for client in clients]
        self.assertEqual([[]] * 100 + [["451 4.3.0"]], said)
        line = f"{self.path} fails, and mail is deferred: 100 questions wait for it"
        self.assertEqual([line], [formatEvent(event) for event in events])
        self.threads.finish()
        self.assertEqual([[WAIT]] * 100, [client.codes() for client in clients[:-1]])
        clients[-1].say("RCPT TO:<b@mx.test>")
        self.threads.finish()
        self.assertEqual([WAIT], clients[-1].codes())

    def test_those_that_wait_when_it_fails(self) -> None:
        """They do not ask it as well."""
        self.path.write_text("no database" * 100)
        server = self.server(on_failure="defer")
        clients = [server.connect().hello() for _ in range(3)]
        asked = self.asked()
        for client in clients:
            client.say("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>")
        self.threads.finish()
        self.assertEqual([["451 4.3.0"]] * 3, [client.codes() for client in clients])
        self.assertEqual(1, len(asked))

    def test_others_go_on(self) -> None:
        server = self.server()
        client = server.connect().hello()
        client.say("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>")
        self.assertEqual(["250 2.0.0"], server.connect().hello().codes("NOOP"))
        self.threads.finish()
        self.assertEqual([WAIT], client.codes())


class OptionsTests(SynchronousTestCase):
    """As the command line has it."""

    def test_options(self) -> None:
        policy = make_policy("greylist:x.db:delay=90:window=5h:lifetime=10d:passes=3:most=1000:trusted=192.0.2.0/24")
        assert isinstance(policy, Greylist)
        self.assertEqual(Rule(90, 5 * 3600, 10 * 86400, 3, 1000), policy._triplets._rule)
        self.assertEqual(str(Path("x.db").absolute()), policy._triplets.path)
        self.assertEqual("pass", policy.on_failure)
        self.assertFalse(Path("x.db").exists())

    def test_defaults(self) -> None:
        policy = make_policy("greylist:x.db:on_failure=defer")
        assert isinstance(policy, Greylist)
        self.assertEqual((Rule(), "defer"), (policy._triplets._rule, policy.on_failure))

    def test_wrong(self) -> None:
        for text in ("", ":delay=0", ":delay=x", ":delay=2d", ":passes=0", ":most=x", ":trusted=x", ":deley=5m"):
            self.assertRaises(ValueError, make_policy, f"greylist{':x.db' if text else ''}{text}")


class ThreadTests(TestCase):
    """With a thread, and a clock, as they are."""

    timeout = 30

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()

    async def test_life(self) -> None:
        """Started and stopped more than once, and nothing is left: no thread, no open file."""
        from twisted.internet import reactor

        policy = Greylist(str(self.path), Rule(delay=0.001))
        session = Server().connect().hello().begin().session
        [recipient] = session.current.recipients
        parts = Parts(lambda: [("policy", policy)], reactor)
        before = set(threading.enumerate())
        codes = []
        for _ in range(3):
            parts.start()
            try:
                asked: Any = policy.rcpt(session, recipient)
                self.assertIsInstance(asked, Deferred)
                await asked
                codes.append("250")
            except Refusal as refusal:
                codes.append(str(refusal.reply.code))
            [thread] = set(threading.enumerate()) - before
            self.assertIn("greylist", thread.name)
            policy.reload()
            await parts.stop()
            self.assertEqual(before, set(threading.enumerate()))
            self.assertEqual([self.path], list(self.path.parent.glob(f"{self.path.name}*")))
        self.assertEqual(["450", "250", "250"], codes)

    def test_the_process_does_not_wait(self) -> None:
        """It ends, also where nobody stops the policy."""
        script = (
            "import sys; from twisted.internet import reactor; from twistsmtp.policy.greylist import Worker\n"
            "reactor.callWhenRunning(lambda: Worker()(print, 'worked').addCallback(lambda _: reactor.stop()))\n"
            "reactor.run()"
        )
        root = Path(twistsmtp.__file__).parents[1]
        done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, timeout=20, check=False)
        self.assertEqual((0, b"worked\n"), (done.returncode, done.stdout), done.stderr)

    async def test_the_reactor_does_not_wait(self) -> None:
        """Another server has the file, and takes its time."""
        from twisted.internet import reactor

        policy = Greylist(str(self.path))
        policy.start()
        session = Server().connect().hello().begin().session
        [recipient] = session.current.recipients
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        asked: Any = policy.rcpt(session, recipient)
        turns: Deferred[None] = Deferred()
        reactor.callLater(0.02, turns.callback, None)
        await turns
        self.assertNoResult(asked)
        other.execute("COMMIT")
        other.close()
        with self.assertRaises(Refusal):
            await asked
        await policy.stop()
