"""Connections that are kept."""

from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.trial.unittest import SynchronousTestCase

from tests.client.kit import ALL, GONE, Far, Net, result_of
from twistsmtp.client import (
    ConnectError,
    ConnectionLost,
    OutcomeUnknown,
    Pool,
    Refused,
    Result,
    TimedOut,
    Timeouts,
    send_to,
)

MESSAGE = b"Subject: x\r\n\r\ntext\r\n"


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        #: What the far sides to come say; the last of all that come.
        self.plans: list[dict[str, str]] = [{}]
        self.net = Net(lambda: Far(ALL, self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]))

    def tearDown(self) -> None:
        """Nothing is left."""
        self.net.turn()
        self.net.clock.advance(100)
        self.net.turn()
        self.assertEqual(self.net.clock.getDelayedCalls(), [])

    def pool(self, **settings: Any) -> Pool:
        pool = self.net.pool(**settings)
        self.addCleanup(pool.close)
        return pool

    def send(self, pool: Pool, message: Any = MESSAGE, **settings: Any) -> "Deferred[Result]":
        destination = self.net.destination(**settings)
        return self.net.run(send_to(pool, destination, "a@client.test", "b@far.test", message))

    def test_used_again(self) -> None:
        pool = self.pool()
        for _ in range(5):
            result_of(self.send(pool))
        self.assertEqual(len(self.net.fars), 1)
        self.assertEqual(len(self.net.far.taken), 5)
        self.assertEqual(self.net.far.heard.count("EHLO client.test"), 1)
        self.assertNotIn("RSET", self.net.far.heard)

    def test_another_destination(self) -> None:
        pool = self.pool()
        for hostname in ("one.test", "two.test", "one.test"):
            result_of(self.send(pool, hostname=hostname))
        self.assertEqual([len(far.taken) for far in self.net.fars], [2, 1])

    def test_not_for_ever(self) -> None:
        pool = self.pool(idle=20)
        result_of(self.send(pool))
        self.net.clock.advance(19)
        self.assertFalse(self.net.ends[0].lost)
        self.net.clock.advance(1)
        self.net.turn()
        self.assertTrue(self.net.ends[0].lost)
        self.assertEqual(self.net.far.heard[-1], "QUIT")
        self.assertEqual(pool._shelves, {})

    def test_not_for_more_messages(self) -> None:
        pool = self.pool(messages=2)
        for _ in range(3):
            result_of(self.send(pool))
        self.assertEqual([len(far.taken) for far in self.net.fars], [2, 1])

    def test_not_for_more_messages_than_the_server_has(self) -> None:
        """RFC 9422."""
        self.net._far = lambda: Far([*ALL, "LIMITS MAILMAX=3 RCPTMAX=100"])
        pool = self.pool()
        for _ in range(4):
            result_of(self.send(pool))
        self.assertEqual([len(far.taken) for far in self.net.fars], [3, 1])

    def test_closed_meanwhile(self) -> None:
        pool = self.pool()
        result_of(self.send(pool))
        self.net.far.transport.loseConnection()
        self.net.turn()
        self.assertEqual(pool._shelves, {})
        result_of(self.send(pool))
        self.assertEqual([len(far.taken) for far in self.net.fars], [1, 1])

    def test_found_closed(self) -> None:
        """What is known only when it is used: no reply to MAIL, or a last one. The message goes by another."""
        for reply in (GONE, "421 4.4.2 Idle for too long"):
            self.plans = [{"MAIL 2": reply}, {}]
            pool = self.pool()
            result_of(self.send(pool))
            result_of(self.send(pool))
            self.assertEqual([len(far.taken) for far in self.net.fars[-2:]], [1, 1], reply)

    def test_silent(self) -> None:
        """A far side that says nothing has its time once: the client waits no second time for another connection."""
        self.plans = [{"MAIL 2": ""}, {}]
        pool = self.pool()
        result_of(self.send(pool, timeouts=Timeouts(command=20)))
        second = self.send(pool, timeouts=Timeouts(command=20))
        self.net.clock.advance(20)
        self.net.turn()
        with self.assertRaises(TimedOut):
            result_of(second)
        self.assertEqual(len(self.net.fars), 1)

    def test_all_found_closed(self) -> None:
        """One after the other, and then a new one; whose word counts."""
        self.plans = [{"MAIL 2": GONE}, {"MAIL 2": GONE}, {"MAIL": "451 4.3.0 Not now"}]
        pool = self.pool()
        first = [self.send(pool, self.slow()) for _ in range(2)]
        for each in self.turns:
            each.callback(None)
        self.net.turn()
        for done in first:
            result_of(done)
        with self.assertRaises(Refused):
            result_of(self.send(pool))
        self.assertEqual(len(self.net.fars), 3)

    def test_a_new_one_is_not_tried_twice(self) -> None:
        self.plans = [{"MAIL": GONE}]
        with self.assertRaises(ConnectionLost):
            result_of(self.send(self.pool()))
        self.assertEqual(len(self.net.fars), 1)

    def test_nothing_is_sent_twice(self) -> None:
        """Lost behind the message's end: another might double it."""
        self.plans = [{"end 2": GONE}, {}]
        pool = self.pool()
        result_of(self.send(pool))
        with self.assertRaises(OutcomeUnknown):
            result_of(self.send(pool))
        self.assertEqual(len(self.net.fars), 1)

    #: What slow messages wait for.
    turns: list["Deferred[None]"]

    def slow(self) -> Any:
        """A message that takes its time."""
        if not hasattr(self, "turns"):
            self.turns = []
        turn: Deferred[None] = Deferred()
        self.turns.append(turn)

        async def pieces() -> Any:
            await turn
            yield MESSAGE

        return pieces()

    @staticmethod
    def note(numbers: list[int], number: int, _: object) -> None:
        numbers.append(number)

    def test_bounded(self) -> None:
        """Who comes when all are in use waits, and comes in order."""
        pool = self.pool(connections=2)
        ended: list[int] = []
        for number in range(5):
            self.send(pool, self.slow()).addCallback(partial(self.note, ended, number))
        self.assertEqual(len(self.net.fars), 2)
        for turn in self.turns:
            turn.callback(None)
            self.net.turn()
        self.assertEqual((ended, len(self.net.fars)), ([0, 1, 2, 3, 4], 2))

    def test_nobody_waits_for_ever(self) -> None:
        pool = self.pool(connections=1, patience=30)
        first, second = self.send(pool, self.slow()), self.send(pool)
        self.net.clock.advance(30)
        with self.assertRaises(ConnectError):
            result_of(second)
        self.turns[0].callback(None)
        self.net.turn()
        result_of(first)

    def test_not_too_many_wait(self) -> None:
        pool = self.pool(connections=1, waiting=1)
        sent = [self.send(pool, self.slow()) for _ in range(3)]
        with self.assertRaises(ConnectError):
            result_of(sent[2])
        for turn in self.turns:
            turn.callback(None)
            self.net.turn()
        for each in sent[:2]:
            result_of(each)

    def test_who_gives_up_waiting(self) -> None:
        pool = self.pool(connections=1)
        first, second, third = self.send(pool, self.slow()), self.send(pool), self.send(pool)
        second.addErrback(lambda failure: None).cancel()
        self.turns[0].callback(None)
        self.net.turn()
        result_of(first)
        result_of(third)
        self.assertEqual(len(self.net.far.taken), 2)

    def test_who_gives_up_sending(self) -> None:
        """The message is ended by RSET; whoever waits gets the connection."""
        pool = self.pool(connections=1)
        first, second = self.send(pool, self.slow()), self.send(pool)
        first.addErrback(lambda failure: None).cancel()
        self.net.turn()
        result_of(second)
        self.assertEqual([len(far.taken) for far in self.net.fars], [1])
        self.assertEqual(self.net.far.heard.count("RSET"), 1)

    def test_who_gives_up_sending_by_data(self) -> None:
        """Only the connection's end ends the message; whoever waits gets another."""
        make = self.net._far
        self.net._far = lambda: Far(["PIPELINING"])
        pool = self.pool(connections=1)
        first, second = self.send(pool, self.slow()), self.send(pool)
        self.net._far = make
        first.addErrback(lambda failure: None).cancel()
        self.net.turn()
        result_of(second)
        self.assertEqual([len(far.taken) for far in self.net.fars], [0, 1])

    def test_a_connection_that_fails_is_not_counted(self) -> None:
        def refuse() -> Any:
            raise ConnectionRefusedError

        make, self.net._far = self.net._far, refuse
        pool = self.pool(connections=1)
        for _ in range(3):
            with self.assertRaises(ConnectError):
                result_of(self.send(pool))
        self.assertEqual(pool._shelves, {})
        self.net._far = make
        result_of(self.send(pool))

    def test_given_back_behind_a_refusal(self) -> None:
        """The transaction is reset before the connection is used again."""
        self.plans = [{"RCPT 1": "550 5.1.1 No", "end 2": "554 5.6.0 No"}]
        pool = self.pool()
        with self.assertRaises(Refused):
            result_of(self.send(pool))
        result_of(self.send(pool))
        with self.assertRaises(Refused):
            result_of(self.send(pool))
        result_of(self.send(pool))
        self.assertEqual(len(self.net.fars), 1)
        heard = " ".join(each.split()[0] for each in self.net.far.heard)
        self.assertEqual(heard, "EHLO MAIL RCPT RSET MAIL RCPT BDAT MAIL RCPT BDAT RSET MAIL RCPT BDAT")

    def test_reset_fails(self) -> None:
        for reply in ("500 5.5.1 What", GONE, "421 4.3.2 Bye"):
            self.plans = [{"RCPT": "550 5.1.1 No", "RSET": reply}, {}]
            pool = self.pool()
            with self.assertRaises(Refused):
                result_of(self.send(pool))
            result_of(self.send(pool))
            self.assertEqual([len(far.taken) for far in self.net.fars[-2:]], [0, 1], reply)

    def test_close(self) -> None:
        pool = self.pool(connections=2)
        kept = [self.send(pool, self.slow()), self.send(pool, self.slow())]
        self.turns[0].callback(None)
        self.net.turn()
        result_of(kept[0])
        waiting = [self.send(pool), self.send(pool, self.slow()), self.send(pool, self.slow())]
        closed = pool.close()
        self.net.turn()
        result_of(closed)
        self.assertTrue(all(end.lost for end in self.net.ends))
        for each in (kept[1], *waiting[1:]):
            each.addErrback(lambda failure: failure.trap(ConnectError, ConnectionLost))
        self.turns[1].callback(None)
        self.net.turn()
        result_of(self.send(pool))  # it begins anew

    def test_bounds_are_positive(self) -> None:
        for name in ("connections", "idle", "messages", "waiting", "patience"):
            self.assertRaises(ValueError, Pool, **{name: 0})
