"""The ways in which a connection ends, at whatever moment."""

import gc
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.scripted import LATER, STEPS, Answer, How, Script, ScriptedDelivery, ScriptedPolicy, ScriptedTransaction
from tests.support import CONVERSATION, Server, logged, split_replies
from twistsmtp.envelope import ReversePath
from twistsmtp.factory import SMTPFactory
from twistsmtp.limits import Limits
from twistsmtp.session import Session


class TornDown(Exception):
    """What a step fails with when it is cancelled."""


class TearingDown(Script):
    def _forget(self, waiting: "Deferred[None]") -> None:
        super()._forget(waiting)
        waiting.errback(TornDown())


class DisconnectTests(SynchronousTestCase):
    """A disconnect is noticed while a command is pending, and cancels it."""

    def test_in_every_step(self) -> None:
        for step in STEPS:
            for how in LATER:
                for reason in (ConnectionDone(), ConnectionLost()):
                    script = Script(**{step: Answer(how)})
                    server = Server.scripted(script)
                    with logged("twistsmtp.connection") as events, logged("twistsmtp.message") as messages:
                        client = server.connect()
                        client.send(CONVERSATION)
                        writes = list(client.wire.writes)
                        self.assertEqual([name for name, _ in script.waiting], [step])
                        client.vanish(reason)
                    self.assertEqual(script.waiting, [])
                    self.assertEqual(client.wire.writes, writes)
                    begun = len(server.delivery.transactions)
                    self.assertEqual(begun, STEPS.index(step) > STEPS.index("begin"))
                    self.assertEqual(
                        [(each.commits, each.aborts) for each in server.delivery.transactions], [(0, 1)] * begun
                    )
                    self.assertEqual(len(events), 1, (step, how))
                    if STEPS.index(step) >= STEPS.index("write"):
                        self.assertEqual([each["result"] for each in messages], [f"aborted: {events[0]['reason']}"])
                    self.assertEqual((events[0]["accepted"], events[0]["refused"]), (0, 0))
                    self.assertEqual((len(server.factory.connections), server.clock.getDelayedCalls()), (0, []))
                    del client, server, script
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_at_every_octet_of_a_conversation(self) -> None:
        for hows in ((How.PLAIN,), (How.COROUTINE,), (How.DEFERRED,), (How.PLAIN, How.AWAITING, How.FIRED)):
            for end in range(len(CONVERSATION)):
                script = Script(*hows)
                server = Server.scripted(script)
                with logged("twistsmtp.connection") as events:
                    client = server.connect()
                    for octets in (CONVERSATION[: end // 2], CONVERSATION[end // 2 : end]):
                        client.send(octets)
                        for _ in range(end % 7):
                            if script.waiting:
                                script.release()
                    client.vanish()
                self.assert_clean(server, script)
                [event] = events
                accepted = sum(each.commits for each in server.delivery.transactions)
                self.assertEqual(event["accepted"], accepted)
                self.assertEqual(event["octets_in"], end)
                self.assertEqual(event["octets_out"], sum(map(len, client.wire.writes)))
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def assert_clean(self, server: Server, script: Script) -> None:
        """Every transaction is over, in one way, once."""
        self.assertEqual(script.waiting, [])
        for each in server.delivery.transactions:
            self.assertEqual(each.commits + each.aborts, 1)
        self.assertEqual(server.factory.connections, set())
        self.assertEqual(server.clock.getDelayedCalls(), [])

    def test_after_every_number_of_answers(self) -> None:
        for how in LATER:
            for count in range(40):
                script = Script(how)
                server = Server.scripted(script)
                client = server.connect()
                client.send(CONVERSATION)
                for _ in range(count):
                    if script.waiting:
                        script.release()
                client.vanish()
                self.assertTrue(client.closed)
                self.assert_clean(server, script)
            self.assertEqual([each.commits for each in server.delivery.transactions], [1, 0, 0])
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_step_that_fails_in_its_own_way_when_it_is_cancelled(self) -> None:
        # The client is gone, and the delivery had to give up: there is nothing to report.
        for step in ("begin", "rcpt", "open", "write", "commit"):
            for how in LATER:
                script = TearingDown(**{step: Answer(how)})
                client = Server.scripted(script).connect()
                client.send(CONVERSATION)
                client.vanish()
                gc.collect()
                self.assertEqual(self.flushLoggedErrors(), [], (step, how))
                aborts = [each.aborts for each in client.server.delivery.transactions]
                self.assertEqual(aborts, [1] * (step != "begin"))

    def test_a_canceller_that_raises(self) -> None:
        # Whatever a delivery does, the connection is given back, and its event logged.
        class Clumsy(ScriptedDelivery):
            def begin(self, session: Session, reverse_path: ReversePath) -> Any:
                def fail(deferred: "Deferred[None]") -> None:
                    raise ZeroDivisionError

                return Deferred(fail)

        server = Server(Clumsy())
        client = server.connect().hello()
        client.say("MAIL FROM:<>")
        with logged("twistsmtp.connection") as events:
            client.vanish()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len([event for event in events if "octets_in" in event]), 1)
        self.assertEqual(server.factory.connections, set())

    def test_a_transaction_that_begins_when_nobody_is_there_any_more(self) -> None:
        # Its delivery is told, as of any other, that nothing will come of it.
        for late in (False, True):
            finish: Deferred[None] = Deferred()

            class Stubborn(ScriptedDelivery):
                async def begin(self, session: Session, reverse_path: ReversePath) -> ScriptedTransaction:
                    try:
                        await Deferred()
                    except CancelledError:
                        if late:  # noqa: B023  # it is used in the same turn
                            await finish  # noqa: B023  # the same
                    return self._begun(reverse_path)

            client = Server(Stubborn()).connect().hello()
            client.say("MAIL FROM:<>")
            client.vanish()
            finish.callback(None)
            self.assertEqual([each.aborts for each in client.server.delivery.transactions], [1], late)

    def test_a_coroutine_that_will_not_be_cancelled(self) -> None:
        # It goes on by itself; what it answers in the end is nobody's business, and is no second ending.
        finish: Deferred[None] = Deferred()

        class Stubborn(ScriptedTransaction):
            async def commit(self) -> None:
                try:
                    await Deferred()
                except CancelledError:
                    await finish

        class ToStubborn(ScriptedDelivery):
            def _begun(self, reverse_path: ReversePath) -> ScriptedTransaction:
                self.transactions.append(Stubborn(self.script, reverse_path))
                return self.transactions[-1]

        client = Server(ToStubborn()).connect().data()
        with logged("twistsmtp.message") as events:
            client.send(b"text\r\n.\r\n")
            client.vanish()
            finish.callback(None)
        self.assertEqual([event["result"] for event in events], ["aborted: connection lost"])
        self.assertEqual(client.session.counts.accepted, 0)
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])


class HalfCloseTests(SynchronousTestCase):
    """A client that closed its sending side: done, if it said QUIT, and otherwise as good as gone."""

    def test_behind_quit_every_reply_goes_out(self) -> None:
        expected = Server().connect().send(CONVERSATION)
        codes = [reply[:9] for reply in split_replies(expected)]
        for hows in ((How.PLAIN,), (How.DEFERRED,), (How.CHAINED,), (How.AWAITING,), (How.AWAITING, How.PLAIN)):
            script = Script(*hows)
            client = Server.scripted(script).connect()
            client.send(CONVERSATION)
            client.finish_sending()
            script.release_all()
            self.assertEqual([reply[:9] for reply in split_replies(b"".join(client.wire.writes))], codes)
            self.assertTrue(client.closed)
            self.assertEqual(
                [(each.commits, each.aborts) for each in client.server.delivery.transactions], [(1, 0), (0, 1), (0, 1)]
            )

    def test_behind_quit_in_another_case_or_within_a_batch(self) -> None:
        for goodbye in (b"quit\r\n", b"QUIT \r\n", b"NOOP\r\nQUIT\r\n", b"NOOP\r\nQuit\t\r\n"):
            script = Script(policy_mail=Answer(How.DEFERRED))
            client = Server.scripted(script).connect()
            client.send(b"EHLO client.test\r\nMAIL FROM:<>\r\n" + goodbye)
            client.finish_sending()
            self.assertFalse(client.closed)
            script.release()
            self.assertEqual(client.wire.writes[-1].splitlines()[-1], b"221 2.0.0 Bye")
            self.assertTrue(client.closed)

    def test_behind_quit_something_may_follow(self) -> None:
        for rest in (b"\r\n", b"NOOP\r\n", b"RSET"):
            script = Script(commit=Answer(How.DEFERRED))
            client = Server.scripted(script).connect().data()
            client.send(b"text\r\n.\r\nQUIT\r\n" + rest)
            client.finish_sending()
            script.release_all()
            self.assertEqual(client.codes(), ["250 2.0.0", "221 2.0.0"], rest)

    def test_without_quit_what_is_pending_is_given_up(self) -> None:
        for rest in (
            b"",
            b"NOOP\r\n",
            b"QUIT",
            b"QUIT\r",
            b"QUIT\n",
            b"XQUIT\r\n",
            b"\xff\r\n",
            b"NOOP QUIT\r\n",
        ):
            script = Script(commit=Answer(How.DEFERRED))
            client = Server.scripted(script).connect().data()
            client.send(b"text\r\n.\r\n" + rest)
            writes = list(client.wire.writes)
            client.finish_sending()
            self.assertTrue(client.closed, rest)
            self.assertEqual((script.waiting, client.wire.writes), ([], writes))
            [transaction] = client.server.delivery.transactions
            self.assertEqual((transaction.commits, transaction.aborts), (0, 1))

    def test_with_nothing_pending_it_just_ends(self) -> None:
        for sent in (
            b"",
            b"EHLO client.test\r\n",
            b"NOO",
            b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nhalf",
        ):
            client = Server().connect()
            client.send(sent)
            client.finish_sending()
            self.assertTrue(client.closed)
            for transaction in client.server.delivery.transactions:
                self.assertEqual((transaction.commits, transaction.aborts), (0, 1))

    def test_within_a_message_there_is_no_goodbye(self) -> None:
        # The last line of what came is no command, whatever it says.
        script = Script(write=Answer(How.DEFERRED))
        client = Server.scripted(script).connect().data()
        client.send(b"text\r\n")
        client.send(b"QUIT\r\n")
        client.finish_sending()
        script.release_all()
        self.assertTrue(client.closed)
        [transaction] = client.server.delivery.transactions
        self.assertEqual((transaction.commits, transaction.aborts), (0, 1))

    def test_behind_quit_and_before_it_has_read_its_replies(self) -> None:
        for hows in ((How.PLAIN,), (How.DEFERRED,)):
            script = Script(*hows)
            client = Server.scripted(script).connect()
            script.release_all()
            client.wire.producer.pauseProducing()
            client.send(CONVERSATION)
            client.finish_sending()
            self.assertFalse(client.closed)
            client.wire.producer.resumeProducing()
            script.release_all()
            self.assertTrue(b"".join(client.wire.writes).endswith(b"221 2.0.0 Bye\r\n"))
            self.assertTrue(client.closed)

    def test_our_own_half_close_is_no_end(self) -> None:
        client = Server().connect().hello()
        client.say("GET /")
        client.protocol.writeConnectionLost()
        self.assertTrue(client.closed)

    def test_a_client_that_will_not_hear_is_gone(self) -> None:
        script = Script(begin=Answer(How.DEFERRED))
        client = Server.scripted(script).connect().hello()
        client.say("MAIL FROM:<>")
        client.protocol.writeConnectionLost()
        self.assertTrue(client.closed)
        self.assertEqual(script.waiting, [])


class StringTransportTests(SynchronousTestCase):
    """Twisted's own transport for tests, which is stricter than any real one, is what embedders test with."""

    def connect(self, delivery: ScriptedDelivery, **settings: Any) -> tuple[Any, StringTransport]:
        factory = SMTPFactory(delivery, hostname="mx.test", reactor=Clock(), **settings)
        transport = StringTransport()
        protocol: Any = factory.buildProtocol(transport.getPeer())
        protocol.makeConnection(transport)
        return protocol, transport

    def test_a_conversation(self) -> None:
        for how in (How.PLAIN, *LATER):
            script = Script(how)
            protocol, transport = self.connect(ScriptedDelivery(script), policies=[ScriptedPolicy(script)])
            protocol.dataReceived(CONVERSATION)
            script.release_all()
            self.assertTrue(transport.disconnecting)
            self.assertTrue(transport.value().endswith(b"221 2.0.0 Bye\r\n"))
            protocol.connectionLost(Failure(ConnectionDone()))
            gc.collect()
            self.assertEqual(self.flushLoggedErrors(), [], how)

    def test_a_connection_too_many(self) -> None:
        factory = SMTPFactory(ScriptedDelivery(), hostname="mx.test", reactor=Clock(), limits=Limits(connections=1))
        for expected in (b"220 ", b"421 "):
            transport = StringTransport()
            protocol: Any = factory.buildProtocol(transport.getPeer())
            protocol.makeConnection(transport)
            self.assertTrue(transport.value().startswith(expected))
        protocol.connectionLost(Failure(ConnectionDone()))

    def test_cut_off_while_a_step_waits(self) -> None:
        for how in LATER:
            script = Script(how)
            protocol, _ = self.connect(ScriptedDelivery(script))
            protocol.dataReceived(CONVERSATION)
            protocol.connectionLost(Failure(ConnectionLost()))
            self.assertEqual((script.waiting, self.flushLoggedErrors()), ([], []))
