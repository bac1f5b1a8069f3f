"""What a running service reads again, and what it takes up of that."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.testing import StringTransport

from tests.test_service import Port, ServiceTestCase
from tests.tls.support import issue, write
from twistsmtp import config as configuration
from twistsmtp.config import load
from twistsmtp.delivery.discard import Discard
from twistsmtp.policy.relay import RelayRule
from twistsmtp.service import SMTPService
from twistsmtp.session import Phase, Session


class Reading(Discard):
    """A delivery that reads something."""

    read = 0

    def reload(self) -> None:
        self.read += 1


class ReloadTestCase(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp())
        #: What is read in a thread, which there is none of here.
        self.in_thread: Callable[..., Deferred[Any]] = execute

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def start(self, text: str, **options: object) -> SMTPService:
        """A service that runs by a file with *text*, and by *options*, which win."""
        self.write(text)
        given = {"listen": "tcp:25", "delivery": "discard:", **options}

        def read(hostname: str) -> configuration.Config:
            return load(given, str(self.path), hostname)

        def in_thread(*arguments: Any) -> Deferred[Any]:
            return self.in_thread(*arguments)

        service = SMTPService(read(""), self.reactor, read=read, in_thread=in_thread)
        service.startService()
        self.events.clear()
        return service

    def reload(self, service: SMTPService) -> list[str]:
        """What is logged when it reads again."""
        self.events.clear()
        self.successResultOf(service.reload())
        return self.logged()

    def session(self, service: SMTPService) -> Session:
        return service.factory.new_session(StringTransport())


class TakeUpTests(ReloadTestCase):
    START = 'hostname = "mx.test"\ndomain = "a.test"\nmax-size = "1M"\n'

    def test_limits_and_domains(self) -> None:
        """They hold for those who come from now on; who is there keeps what was promised."""
        service = self.start(self.START)
        before = self.session(service)
        self.write('hostname = "mx.test"\ndomain = "b.test"\nmax-size = "2M"\nstrict-greeting = true\ndrain-time = 5\n')
        self.assertEqual(
            self.reload(service),
            ["] the configuration was read again: domain, strict-greeting, drain-time, max-size changed"],
        )
        after = self.session(service)
        self.assertEqual([each.limits.message_size for each in (before, after)], [1 << 20, 2 << 20])
        rules: list[Any] = [each.checks[Phase.RCPT][0] for each in (before, after)]
        self.assertEqual([rule.__self__.hosts for rule in rules], [{"a.test"}, {"b.test"}])
        self.assertTrue(service.factory.strict_greeting)
        self.assertFalse(service.lmtp_factory.strict_greeting)
        self.assertEqual(service.lmtp_factory.limits.message_size, 2 << 20)
        self.assertEqual((service.config.drain_time, service.config.domains), (5.0, ("b.test",)))

    def test_policies_stay(self) -> None:
        """But for the relay rule, which is made of the domains: the others may know something of clients."""
        service = self.start(self.START)

        class Own(RelayRule):
            """Not ours to make anew."""

        own = Own(["c.test"])
        service.factory.renew(service.factory.limits, [*service.factory.policies, own])
        self.write(self.START.replace("a.test", "b.test"))
        self.reload(service)
        rule, kept = service.factory.policies
        self.assertIs(kept, own)
        self.assertIsInstance(rule, RelayRule)

    def test_nothing_has_changed(self) -> None:
        service = self.start(self.START)
        said = "] the configuration was read again: nothing that a running server takes up has changed"
        self.assertEqual(self.reload(service), [said])

    def test_what_takes_a_restart(self) -> None:
        """It is said by name, each time."""
        service = self.start(self.START)
        self.write(self.START.replace("mx.test", "mx2.test") + 'listen-lmtp = "tcp:24"\nextension = "size"\n')
        for _ in range(2):
            _, line = self.reload(service)
            self.assertEqual(
                line, "#warn] these have changed as well, and take a restart: listen-lmtp, hostname, extension"
            )
        self.assertEqual(service.config.hostname, "mx.test")

    def test_the_command_line_still_wins(self) -> None:
        service = self.start(self.START, **{"max-size": "3M"})
        self.write(self.START.replace("1M", "2M"))
        self.reload(service)
        self.assertEqual(service.factory.limits.message_size, 3 << 20)

    def test_the_machine_is_not_asked_again(self) -> None:
        """Its name server might say something else, or nothing: then mail for its own name would be refused."""
        service = self.start('max-size = "1M"\n')
        self.patch(configuration, "machine_name", lambda: "elsewhere.test")
        before = service.config
        said = "] the configuration was read again: nothing that a running server takes up has changed"
        self.assertEqual(self.reload(service), [said])
        self.assertEqual(service.config, before)


class BrokenTests(ReloadTestCase):
    def test_broken(self) -> None:
        service = self.start('domain = "a.test"\n')
        factory, before = service.factory, service.config
        for text, expected in (
            ('domain = "b.test"\nmax-size = "huge"\n', "max-size: 'huge' is not a size, such as 500K, 32M or 1G"),
            ("domain =\n", "Invalid value (at line 1, column 9)"),
        ):
            self.write(text)
            said = f"#error] the configuration stays as it is: {self.path}: {expected}"
            self.assertEqual(self.reload(service), [said])
            self.assertIs(service.config, before)
        self.path.unlink()
        [line] = self.reload(service)
        self.assertRegex(line, r"#error\] the configuration stays as it is: [^\n]+: No such file or directory")
        [rule] = factory.policies
        self.assertIsInstance(rule, RelayRule)

    def test_one_thing_broken_does_not_keep_the_others(self) -> None:
        certificate = write(self.path.with_suffix(".pem"), issue("a.test"))
        service = self.start("", **{"tls-cert": str(certificate)})
        delivery = service.factory.delivery = Reading()
        write(certificate, issue("b.test"))
        self.write("domain =\n")
        self.reload(service)
        assert service.certificates is not None
        self.assertEqual((service.certificates.names, delivery.read), (("b.test",), 1))

    def test_something_else_goes_wrong(self) -> None:
        service = self.start("")
        self.in_thread = lambda *_: execute(lambda: 1 / 0)
        self.assertIn("stays as it is", self.reload(service)[0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class TurnTests(ReloadTestCase):
    def test_one_after_the_other(self) -> None:
        """A second signal comes while the file is being read: what was changed meanwhile is taken up, too."""
        service = self.start('max-size = "1M"\n')
        begun: list[tuple[Deferred[Any], Any]] = []

        def in_thread(function: Any, *arguments: Any) -> Deferred[Any]:
            begun.append((Deferred(), function(*arguments)))
            return begun[-1][0]

        self.in_thread = in_thread
        self.write('max-size = "2M"\n')
        first = service.reload()
        self.write('max-size = "3M"\n')
        second = service.reload()
        self.assertEqual(len(begun), 1)
        begun[0][0].callback(begun[0][1])
        self.successResultOf(first)
        self.assertNoResult(second)
        begun[1][0].callback(begun[1][1])
        self.successResultOf(second)
        self.assertEqual(service.factory.limits.message_size, 3 << 20)


class StopTests(ServiceTestCase):
    def test_parts_stop_when_the_last_connection_has_ended(self) -> None:
        story: list[str] = []

        class Stopping(Discard):
            def stop(self) -> None:
                story.append(f"stopped with {len(service.factory.connections)} connections")

        service = self.service(here=lambda: Port("here"))
        service.factory.delivery = Stopping()
        service.startService()
        protocol = service.factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(b"EHLO client.test\r\nMAIL FROM:<>\r\n")
        stopped = service.stopService()
        self.assertNoResult(stopped)
        self.assertEqual(story, [])
        protocol.dataReceived(b"RSET\r\n")
        self.assertIn(b"\r\n421 4.3.2", transport.value())
        protocol.connectionLost()
        self.successResultOf(stopped)
        self.assertEqual(story, ["stopped with 0 connections"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_in_the_time_that_is_set(self) -> None:
        service = self.service(here=lambda: Port("here"))
        service.config = load({"drain-time": "7s", "delivery": "discard:"})
        service.startService()
        protocol = service.factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(b"EHLO client.test\r\nMAIL FROM:<>\r\n")
        service.stopService()
        self.reactor.advance(6.9)
        self.assertNotIn(b"421 4.3.2", transport.value())
        self.reactor.advance(0.1)
        self.assertIn(b"421 4.3.2", transport.value())
        protocol.connectionLost()
