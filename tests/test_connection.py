"""A connection's life in memory: how it begins, what is kept of it, and the time that it has."""

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from tests.scripted import LATER, STEPS, Answer, How, Script, ScriptedDelivery, ScriptedTransaction
from tests.support import CONVERSATION, Client, Server, kept_octets, logged, split_replies
from twistsmtp.delivery.api import Delivery, DeliveryTransaction
from twistsmtp.envelope import ReversePath
from twistsmtp.limits import Limits
from twistsmtp.session import Session
from twistsmtp.wire.reply import Refusal, Reply


def pass_time(client: Client, seconds: int) -> None:
    """Let *seconds* go by, one after the other."""
    client.server.clock.pump([1] * seconds)


class GreetingTests(SynchronousTestCase):
    def test_the_server_speaks_first(self) -> None:
        self.assertEqual(Server().connect().read(), b"220 mx.test ESMTP twistsmtp\r\n")

    def test_strict_it_waits_a_moment(self) -> None:
        client = Server(strict_greeting=True, limits=Limits(greeting_delay=2)).connect()
        self.assertEqual(client.read(), b"")
        client.server.clock.advance(1.9)
        self.assertEqual(client.read(), b"")
        client.server.clock.advance(0.1)
        self.assertEqual(client.codes(), ["220"])
        self.assertEqual(client.codes("NOOP"), ["250 2.0.0"])

    def test_strict_it_refuses_who_does_not_wait(self) -> None:
        with logged("twistsmtp.connection") as events:
            client = Server(strict_greeting=True).connect()
            self.assertEqual(client.say("EHLO client.test", "QUIT"), ["554 5.5.1 You talked before the greeting"])
            self.assertTrue(client.closed)
        self.assertEqual([event["early_talker"] for event in events], [True])
        self.assertEqual(client.server.clock.getDelayedCalls(), [])

    def test_strict_it_refuses_who_does_not_wait_for_a_policy(self) -> None:
        script = Script(policy_connect=Answer(How.DEFERRED))
        client = Server.scripted(script, strict_greeting=True).connect()
        client.server.clock.advance(1)
        self.assertEqual(client.codes("EHLO client.test"), ["554 5.5.1"])
        self.assertEqual((script.waiting, client.closed), ([], True))

    def test_who_talks_early_is_noted(self) -> None:
        for early in (True, False):
            script = Script(policy_connect=Answer(How.DEFERRED))
            with logged("twistsmtp.connection") as events:
                client = Server.scripted(script).connect()
                if early:
                    self.assertEqual(client.send(b"EHLO client.test\r\n"), b"")
                script.release()
                self.assertEqual(client.codes(), ["220", "250"] if early else ["220"])
                client.say("QUIT")
                self.assertTrue(client.closed)
            self.assertEqual([event["early_talker"] for event in events], [early])

    def test_gone_before_the_greeting(self) -> None:
        client = Server(strict_greeting=True).connect()
        client.vanish()
        client.server.clock.advance(10)
        self.assertEqual((client.wire.writes, client.server.clock.getDelayedCalls()), ([], []))

    def test_gone_before_a_policy_has_answered(self) -> None:
        for how in LATER:
            script = Script(policy_connect=Answer(how))
            client = Server.scripted(script).connect()
            client.vanish()
            self.assertEqual((script.waiting, client.wire.writes), ([], []))
            self.assertEqual(self.flushLoggedErrors(), [])


class IdleTests(SynchronousTestCase):
    """RFC 5321 section 4.5.3.2.7: five minutes at least."""

    IDLE = b"421 4.4.2 Idle for too long\r\n"

    def assert_cut_off(self, client: Client, reply: bytes) -> None:
        self.assertTrue(client.closed)
        self.assertEqual(client.wire.writes[-1], reply)

    def test_a_client_that_says_nothing(self) -> None:
        client = Server().connect()
        pass_time(client, 299)
        self.assertFalse(client.closed)
        pass_time(client, 15)
        self.assert_cut_off(client, self.IDLE)

    def test_every_command_counts(self) -> None:
        client = Server().connect()
        for _ in range(5):
            pass_time(client, 280)
            client.send(b"NOOP\r\nNOO")
            client.send(b"P\r\n")
        self.assertFalse(client.closed)
        pass_time(client, 315)
        self.assert_cut_off(client, self.IDLE)

    def test_a_command_that_never_ends_does_not_count(self) -> None:
        client = Server().connect()
        for octet in b"NO":
            pass_time(client, 140)
            client.send(bytes([octet]))
        pass_time(client, 35)
        self.assert_cut_off(client, self.IDLE)

    def test_an_answer_that_never_comes(self) -> None:
        client = Server(ScriptedDelivery(Script(rcpt=[Answer(How.DEFERRED)]))).connect().hello()
        client.say("MAIL FROM:<>")
        client.send(b"RCPT TO:<b@mx.test>\r\nNOOP\r\n")
        pass_time(client, 590)
        self.assertEqual(client.codes(), [])
        pass_time(client, 25)
        self.assertEqual(client.codes(), ["451 4.3.0", "250 2.0.0"])
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)

    def test_within_a_message(self) -> None:
        client = Server(limits=Limits(data_rate=1, data_window=10_000)).connect().data()
        client.send(b"x" * 50_000)
        pass_time(client, 315)
        self.assert_cut_off(client, self.IDLE)
        self.assertEqual(client.server.delivery.transactions[0].aborts, 1)

    def test_a_client_that_waits_for_us_is_not_idle(self) -> None:
        for step in STEPS:
            for how in LATER:
                script = Script(**{step: [Answer(how)]})
                client = Server.scripted(script).connect()
                client.send(CONVERSATION[: CONVERSATION.index(b"MAIL FROM:<>")])
                pass_time(client, 500)
                self.assertFalse(client.closed, (step, how))
                script.release()
                # It has not had a second yet to say the next thing.
                pass_time(client, 60)
                self.assertFalse(client.closed, (step, how))
                self.assertEqual(client.codes("NOOP")[-1], "250 2.0.0")

    def test_a_client_that_sends_on_while_we_work_is_not_idle(self) -> None:
        client = Server(ScriptedDelivery(Script(write=[Answer(How.DEFERRED)]))).connect().data()
        client.send(b"one")
        pass_time(client, 500)
        client.server.delivery.script.release()
        pass_time(client, 60)
        self.assertFalse(client.closed)

    def test_a_client_that_does_not_read(self) -> None:
        client = Server().connect()
        client.wire.producer.pauseProducing()
        client.say("NOOP")
        pass_time(client, 330)
        self.assertTrue(client.closed)

    def test_a_client_that_does_not_go(self) -> None:
        # It was told to go, and has a moment; then it is cut off.
        client = Server().connect()
        self.patch(client.wire, "loseConnection", lambda: None)
        client.say("GET /")
        pass_time(client, 10)
        self.assertFalse(client.closed)
        pass_time(client, 20)
        self.assertTrue(client.closed)

    def test_what_it_says_then_is_not_heard(self) -> None:
        client = Server().connect()
        self.patch(client.wire, "loseConnection", lambda: None)
        client.say("GET /")
        self.assertEqual(client.send(b"NOOP\r\n" * 1000), b"")
        self.assertLess(kept_octets(client.protocol), 5000)

    def test_no_timer_is_left(self) -> None:
        server = Server()
        clients = [server.connect().data() for _ in range(3)]
        pass_time(clients[0], 100)
        self.assertEqual(len(server.clock.getDelayedCalls()), 1)
        for client in clients:
            client.vanish()
        self.assertEqual(server.clock.getDelayedCalls(), [])


class DataTimeTests(SynchronousTestCase):
    """A message has so much time in all, and must come at so many octets a second."""

    def test_a_message_that_takes_too_long(self) -> None:
        client = Server(limits=Limits(data_time=1000)).connect().data()
        for _ in range(100):
            pass_time(client, 10)
            client.send(b"x" * 5000)
        self.assertFalse(client.closed)
        pass_time(client, 15)
        self.assertTrue(client.closed)
        self.assertEqual(client.wire.writes[-1], b"421 4.4.2 The message took too long\r\n")
        self.assertEqual(client.server.delivery.transactions[0].aborts, 1)

    def test_a_message_that_comes_too_slowly(self) -> None:
        client = Server(limits=Limits(data_rate=100, data_window=60)).connect().data()
        for _ in range(8):
            pass_time(client, 10)
            client.send(b"x" * 900)
        self.assertTrue(client.closed)
        self.assertEqual(client.wire.writes[-1], b"421 4.4.2 The message came too slowly\r\n")

    def test_a_message_that_comes_just_quickly_enough(self) -> None:
        client = Server(limits=Limits(data_rate=100, data_window=60)).connect().data()
        for _ in range(100):
            client.send(b"x" * 1010)
            pass_time(client, 10)
        self.assertFalse(client.closed)
        self.assertEqual(client.codes(b"", b"."), ["250 2.0.0"])

    def test_every_window_is_looked_at(self) -> None:
        client = Server(limits=Limits(data_rate=100, data_window=60)).connect().data()
        client.send(b"x" * 1_000_000)
        pass_time(client, 59)
        self.assertFalse(client.closed)
        client.send(b"x" * 60)
        pass_time(client, 80)
        self.assertTrue(client.closed)

    def test_pauses_within_a_window_do_not_matter(self) -> None:
        client = Server(limits=Limits(data_rate=100, data_window=60)).connect().data()
        for _ in range(10):
            client.send(b"x" * 7000)
            pass_time(client, 55)
        self.assertFalse(client.closed)

    def test_time_that_the_delivery_takes_is_its_own(self) -> None:
        limits = Limits(data_rate=100, data_window=60, idle_time=100_000, data_time=100_000)
        for how in LATER:
            client = Server(ScriptedDelivery(Script(write=Answer(how))), limits=limits).connect().data()
            for _ in range(10):
                client.send(b"x" * 2000)
                pass_time(client, 500)
                client.server.delivery.script.release()
                self.assertFalse(client.closed, how)
                pass_time(client, 15)
                self.assertFalse(client.closed, how)
            pass_time(client, 80)
            self.assertTrue(client.closed, how)

    def test_the_time_begins_when_the_client_is_told_to_go_on(self) -> None:
        limits = Limits(data_rate=100, data_window=60, data_time=200, idle_time=100_000)
        for how in LATER:
            client = Server(ScriptedDelivery(Script(open=Answer(how))), limits=limits).connect().data()
            pass_time(client, 500)
            client.server.delivery.script.release()
            self.assertEqual(client.codes(), ["354"])
            pass_time(client, 50)
            self.assertFalse(client.closed, how)

    def test_commands_have_no_such_limits(self) -> None:
        client = Server(limits=Limits(data_time=10, data_window=10)).connect().hello().begin()
        pass_time(client, 250)
        self.assertFalse(client.closed)

    def test_each_message_has_its_own_time(self) -> None:
        client = Server(limits=Limits(data_time=100)).connect().hello()
        for _ in range(10):
            client.begin().say("DATA")
            pass_time(client, 60)
            client.send(b"x" * 10_000)
            self.assertEqual(client.codes(b"", "."), ["250 2.0.0"])
        self.assertFalse(client.closed)


class BackpressureTests(SynchronousTestCase):
    """Octets wait within a bound: then the client is not read any more."""

    LIMITS = Limits(buffered=1000, idle_commands=10_000)

    def test_a_slow_delivery_pauses_the_transport(self) -> None:
        for how in LATER:
            script = Script(write=[Answer(how)])
            client = Server(ScriptedDelivery(script), limits=self.LIMITS).connect().data()
            client.send(b"first")
            self.assertEqual(client.wire.producerState, "producing")
            client.send(b"x" * 1000)
            self.assertEqual(client.wire.producerState, "producing")
            client.send(b"y")
            self.assertEqual(client.wire.producerState, "paused")
            client.send(b"z" * 10_000 + b"\r\n.\r\nNOOP\r\n")
            self.assertLess(kept_octets(client.protocol, ScriptedTransaction, ScriptedDelivery), 5000)
            script.release_all()
            self.assertEqual([reply[:3] for reply in split_replies(client.read())], ["250", "250"])
            self.assertEqual(client.wire.producerState, "producing")
            self.assertEqual(client.server.delivery.bodies, [b"first" + b"x" * 1000 + b"y" + b"z" * 10_000 + b"\r\n"])

    def test_a_slow_command_pauses_it_too(self) -> None:
        script = Script(begin=Answer(How.DEFERRED))
        client = Server(ScriptedDelivery(script), limits=self.LIMITS).connect().hello()
        client.say("MAIL FROM:<>")
        for _ in range(500):
            client.say("NOOP")
        self.assertEqual(client.wire.producerState, "paused")
        self.assertLess(kept_octets(client.protocol, ScriptedDelivery), 5000)
        script.release()
        self.assertEqual(client.codes(), ["250 2.1.0"] + ["250 2.0.0"] * 500)

    def test_it_stays_paused_while_there_is_too_much(self) -> None:
        # One command is done, and the next waits too, before more than the bound.
        script = Script(begin=Answer(How.DEFERRED, Refusal(Reply(550, "5.7.1", "No"))))
        client = Server(ScriptedDelivery(script), limits=self.LIMITS).connect().hello()
        client.say(*["MAIL FROM:<>"] * 2)
        client.say(*["NOOP"] * 400)
        self.assertEqual(client.wire.producerState, "paused")
        script.release()
        self.assertEqual(client.codes(), ["550 5.7.1"])
        self.assertEqual(client.wire.producerState, "paused")
        script.release()
        self.assertEqual(client.codes(), ["550 5.7.1"] + ["250 2.0.0"] * 400)
        self.assertEqual(client.wire.producerState, "producing")

    def test_a_client_that_does_not_read_is_not_read(self) -> None:
        client = Server(limits=self.LIMITS).connect().hello()
        self.assertIs(client.wire.producer, client.protocol)
        self.assertTrue(client.wire.streaming)
        client.wire.producer.pauseProducing()
        # What it sends is kept up to the bound, and not worked on.
        sent = 0
        while client.wire.producerState == "producing":
            self.assertEqual(client.say("NOOP"), [])
            sent += 1
        self.assertLess(sent, 200)
        client.say(*["NOOP"] * 1000)
        self.assertLess(kept_octets(client.protocol, ScriptedDelivery), 5000)
        client.wire.producer.resumeProducing()
        self.assertEqual(client.codes(), ["250 2.0.0"] * (sent + 1000))
        self.assertEqual(client.wire.producerState, "producing")

    def test_a_client_that_does_not_read_while_a_step_waits(self) -> None:
        script = Script(begin=Answer(How.DEFERRED))
        client = Server(ScriptedDelivery(script), limits=self.LIMITS).connect().hello()
        client.say("MAIL FROM:<>", "NOOP")
        client.wire.producer.pauseProducing()
        script.release()
        self.assertEqual(client.codes(), ["250 2.1.0"])
        self.assertEqual(client.codes("NOOP"), [])
        client.wire.producer.resumeProducing()
        self.assertEqual(client.codes(), ["250 2.0.0"] * 2)
        self.assertEqual(client.wire.producerState, "producing")

    def test_one_that_reads_again_before_the_step_is_done(self) -> None:
        script = Script(begin=Answer(How.DEFERRED))
        client = Server(ScriptedDelivery(script), limits=self.LIMITS).connect().hello()
        client.say("MAIL FROM:<>")
        client.say(*["NOOP"] * 300)
        client.wire.producer.pauseProducing()
        client.wire.producer.resumeProducing()
        self.assertEqual(client.wire.producerState, "paused")  # too much waits for the step
        script.release()
        self.assertEqual(client.codes(), ["250 2.1.0"] + ["250 2.0.0"] * 300)
        self.assertEqual(client.wire.producerState, "producing")

    def test_a_message_that_is_large_is_not_kept(self) -> None:
        class Sink(DeliveryTransaction):
            largest = total = 0

            def write(self, octets: bytes) -> None:
                self.largest = max(self.largest, len(octets))
                self.total += len(octets)

        class ToSink(Delivery):
            def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
                return sink

        sink = Sink()
        client = Server(ToSink()).connect().data()
        before = kept_octets(client.protocol)
        for _ in range(300):
            client.send(b"x" * 65534 + b"\r\n")
            self.assertLess(kept_octets(client.protocol) - before, 100)
        self.assertEqual(client.codes("."), ["250 2.0.0"])
        self.assertGreater(sink.total, 300 * 65536)
        self.assertLess(sink.largest, 67_000)
