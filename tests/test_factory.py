"""What connections share, who may connect at all, and how all of it ends."""

from typing import Any

from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.mail.interfaces import IMessageDelivery
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.scripted import LATER, Answer, How, Script, ScriptedDelivery
from tests.support import Server, logged
from twistsmtp import factory as module
from twistsmtp.extensions import load_extensions
from twistsmtp.factory import SMTPFactory
from twistsmtp.limits import Limits
from twistsmtp.protocol import SMTPProtocol
from twistsmtp.verb import Extension


class AdmissionTests(SynchronousTestCase):
    """Connections in all and per client: 421 at once."""

    ALL = b"421 4.3.2 Too many connections; try again later\r\n"
    CLIENT = b"421 4.7.0 Too many connections from your address\r\n"

    def test_connections_in_all(self) -> None:
        server = Server(limits=Limits(connections=2))
        kept = [server.connect("192.0.2.1"), server.connect("192.0.2.2")]
        refused = server.connect("192.0.2.3")
        self.assertEqual(refused.send(b"EHLO client.test\r\n"), self.ALL)
        self.assertTrue(refused.closed)
        for client in kept:
            self.assertEqual(client.codes("NOOP")[-1], "250 2.0.0")
        kept[0].say("QUIT")
        self.assertTrue(kept[0].closed)
        self.assertEqual(server.connect("192.0.2.3").codes(), ["220"])

    def test_connections_of_one_client(self) -> None:
        server = Server(limits=Limits(connections_per_client=2))
        kept = [server.connect("192.0.2.1"), server.connect("192.0.2.1")]
        refused = server.connect("192.0.2.1")
        self.assertEqual(refused.send(b"EHLO client.test\r\n"), self.CLIENT)
        self.assertTrue(refused.closed)
        self.assertEqual(server.connect("192.0.2.2").codes(), ["220"])
        kept[0].vanish()
        self.assertEqual(server.connect("192.0.2.1").codes(), ["220"])

    def test_one_that_is_refused_counts_until_it_is_gone(self) -> None:
        server = Server(limits=Limits(connections=1))
        first, second = server.connect(), server.connect()
        first.vanish()
        self.assertEqual(len(server.factory.connections), 1)
        self.assertTrue(second.closed)
        self.assertEqual(len(server.factory.connections), 0)

    def test_many_come_and_go(self) -> None:
        server = Server(limits=Limits(connections=3, connections_per_client=2))
        for _ in range(5):
            clients = [server.connect(f"192.0.2.{n}") for n in (1, 1, 1, 2, 2)]
            self.assertEqual(
                [client.codes()[0] for client in clients], ["220", "220"] + ["421 4.7.0"] + ["421 4.3.2"] * 2
            )
            for client in clients:
                client.vanish()
        self.assertEqual((len(server.factory.connections), server.clock.getDelayedCalls()), (0, []))

    def test_clients_of_every_kind_of_address(self) -> None:
        server = Server(limits=Limits(connections_per_client=1))
        for host, code in (("2001:db8::1", "220"), ("2001:db8::2", "421 4.7.0"), ("2001:db8:0:1::1", "220")):
            self.assertEqual(server.connect(IPv6Address("TCP", host, 1)).codes(), [code])
        for _ in range(3):
            self.assertEqual(server.connect(UNIXAddress(None)).codes(), ["220"])

    def test_an_ipv4_client_of_a_dual_stack_socket_is_the_same_client(self) -> None:
        server = Server(limits=Limits(connections_per_client=1))
        server.connect("192.0.2.1")
        self.assertEqual(server.connect(IPv6Address("TCP", "::ffff:192.0.2.1", 1)).codes(), ["421 4.7.0"])

    def test_one_that_is_refused_has_an_event_as_well(self) -> None:
        server = Server(limits=Limits(connections=1))
        with logged("twistsmtp.connection") as events:
            server.connect()
            self.assertTrue(server.connect().closed)
        self.assertEqual([event["reason"] for event in events], [self.ALL.decode().strip()])


class FactoryTests(SynchronousTestCase):
    def test_the_machines_own_name_by_default(self) -> None:
        factory = SMTPFactory(ScriptedDelivery(), reactor=Clock())
        self.assertTrue(factory.hostname)
        self.assertIn(factory.hostname, factory.greeting.text)

    def test_every_session_has_an_id_of_its_own(self) -> None:
        server = Server()
        ids = [server.connect().session.id for _ in range(100)]
        self.assertEqual(len(set(ids)), 100)

    def test_also_where_factories_begin_in_the_same_moment(self) -> None:
        self.patch(module, "time", lambda: 1_700_000_000.0)
        ids = [server.connect().session.id for server in (Server(), Server()) for _ in range(2)]
        self.assertEqual(len(set(ids)), 4, ids)

    def test_what_comes_from_the_factory(self) -> None:
        limits = Limits(recipients=7)
        server = Server(limits=limits)
        session = server.connect().session
        self.assertIs(session.limits, limits)
        self.assertIs(session.delivery, server.delivery)
        self.assertEqual(session.hostname, "mx.test")
        self.assertIs(session.dialect, server.factory.registry)

    def test_nothing_is_kept_on_a_class(self) -> None:
        # One server's settings are not another's, and neither are one connection's doings.
        names = set(vars(SMTPFactory)) | set(vars(SMTPProtocol))
        before = {name: getattr(SMTPFactory, name, getattr(SMTPProtocol, name, None)) for name in names}
        one = Server(limits=Limits(recipients=1), extensions=())
        two = Server(limits=Limits(recipients=2))
        one.connect().hello().message()
        client = two.connect().hello()
        self.assertEqual(
            client.codes("MAIL FROM:<> SIZE=1", *["RCPT TO:<b@mx.test>"] * 2), ["250 2.1.0"] + ["250 2.1.5"] * 2
        )
        after = {name: getattr(SMTPFactory, name, getattr(SMTPProtocol, name, None)) for name in names}
        self.assertEqual(before, after)

    def test_a_subclass_may_name_another_protocol(self) -> None:
        class Own(SMTPProtocol):
            pass

        class OwnFactory(SMTPFactory):
            protocol = Own

        factory = OwnFactory(ScriptedDelivery(), reactor=Clock())
        self.assertIsInstance(factory.buildProtocol(StringTransport().getPeer()), Own)

    def test_a_delivery_of_twisted_mail(self) -> None:
        @implementer(IMessageDelivery)
        class Old:
            def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> None:
                return None

            def validateFrom(self, helo: Any, origin: Any) -> Any:
                self.origin = origin
                return origin

            def validateTo(self, user: Any) -> Any:
                return lambda: None

        old = Old()
        self.assertEqual(Server(old).connect().hello().codes("MAIL FROM:<a@client.test>"), ["250 2.1.0"])
        self.assertEqual(str(old.origin), "a@client.test")

    def test_one_more_extension(self) -> None:
        """It is offered behind the others, and may have no document."""
        own = Extension(name="own", keyword="XOWN")
        by_default, chosen = Server(more_extensions=[own]), Server(extensions=[], more_extensions=[own])
        self.assertEqual(by_default.factory.registry.extensions[-1], own)
        self.assertEqual(len(by_default.factory.registry.extensions), len(load_extensions()) + 1)
        self.assertEqual(chosen.factory.registry.extensions, (own,))
        self.assertIn("250-XOWN", by_default.connect().hello().say("EHLO client.test")[0])
        self.assertRegex(chosen.factory.registry.table(), r"\nown +- +- +-")

    def test_extensions_by_default_and_by_choice(self) -> None:
        self.assertEqual(len(Server().factory.registry.extensions), len(load_extensions()))
        self.assertEqual(Server(extensions=()).factory.registry.extensions, ())


class ShutdownTests(SynchronousTestCase):
    """RFC 5321 section 3.8: 421, and nothing that was begun is lost if it can be helped."""

    DOWN = "421 4.3.2 mx.test is shutting down; try again later"

    def test_with_nobody_there(self) -> None:
        server = Server()
        self.successResultOf(server.factory.shutdown())
        self.assertEqual(server.clock.getDelayedCalls(), [])

    def test_who_is_between_two_transactions_is_told_at_once(self) -> None:
        server = Server()
        clients = [server.connect(), server.connect().hello(), server.connect().hello()]
        clients[2].message()
        for client in clients:
            client.read()
        done = server.factory.shutdown()
        for client in clients:
            self.assertEqual(client.say(), [self.DOWN])
            self.assertTrue(client.closed)
        self.successResultOf(done)
        self.assertEqual(server.clock.getDelayedCalls(), [])

    def test_a_transaction_may_end(self) -> None:
        for ending, codes in (
            (["DATA", "text", "."], ["354", "250 2.0.0", "421 4.3.2"]),
            (["RSET"], ["250 2.0.0", "421 4.3.2"]),
            (["QUIT"], ["221 2.0.0"]),
            (["EHLO client.test"], ["250", "421 4.3.2"]),
        ):
            server = Server()
            client = server.connect().hello().begin()
            done = server.factory.shutdown()
            self.assertEqual(client.say(), [])
            self.assertNoResult(done)
            self.assertEqual(client.codes(*ending), codes)
            self.assertTrue(client.closed)
            self.successResultOf(done)
            self.assertEqual(server.clock.getDelayedCalls(), [])

    def test_a_message_that_is_being_committed(self) -> None:
        for how in LATER:
            delivery = ScriptedDelivery(Script(commit=Answer(how)))
            server = Server(delivery)
            client = server.connect().data()
            client.send(b"text\r\n.\r\n")
            done = server.factory.shutdown()
            self.assertNoResult(done)
            delivery.script.release()
            self.assertEqual(client.codes(), ["250 2.0.0", "421 4.3.2"])
            self.assertTrue(client.closed)
            self.successResultOf(done)
            self.assertEqual([(each.commits, each.aborts) for each in delivery.transactions], [(1, 0)])

    def test_a_command_that_waits_is_answered(self) -> None:
        delivery = ScriptedDelivery(Script(begin=[Answer(How.DEFERRED, ZeroDivisionError())]))
        server = Server(delivery)
        client = server.connect().hello()
        client.say("MAIL FROM:<>")
        done = server.factory.shutdown()
        delivery.script.release()
        self.assertEqual(client.codes(), ["451 4.3.0", "421 4.3.2"])
        self.assertTrue(client.closed)
        self.successResultOf(done)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_who_takes_too_long_is_cut_off(self) -> None:
        server = Server(ScriptedDelivery(Script(begin=Answer(How.DEFERRED))))
        for client in (waiting := server.connect().hello(), server.connect().hello()):
            client.say("MAIL FROM:<>")
        done = server.factory.shutdown(grace=5)
        server.clock.advance(4.9)
        self.assertNoResult(done)
        server.clock.advance(0.1)
        server.clock.advance(0)
        self.successResultOf(done)
        self.assertTrue(waiting.closed)
        self.assertEqual(waiting.say(), [self.DOWN])
        self.assertEqual(server.delivery.script.waiting, [])
        self.assertEqual(server.clock.getDelayedCalls(), [])

    def test_who_comes_meanwhile_is_told(self) -> None:
        server = Server()
        server.connect().hello().begin()
        server.factory.shutdown()
        late = server.connect("192.0.2.9")
        self.assertEqual(late.say("EHLO client.test"), [self.DOWN])
        self.assertTrue(late.closed)

    def test_asked_twice(self) -> None:
        server = Server()
        client = server.connect().hello().begin()
        first, second = server.factory.shutdown(), server.factory.shutdown()
        client.say("QUIT")
        self.assertTrue(client.closed)
        self.successResultOf(first)
        self.successResultOf(second)

    def test_it_can_serve_again(self) -> None:
        server = Server()
        server.connect()
        server.factory.shutdown()
        server.clock.advance(0)
        self.assertEqual(server.connect().codes(), ["220"])
