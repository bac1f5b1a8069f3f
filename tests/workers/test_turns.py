"""Who accepts: ports that only say what they were asked, and a clock."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.workers.turns import MOMENT, PATIENCE, Turns


class Port:
    """A port of Twisted's, as far as turns go."""

    connected, disconnecting = True, False

    def __init__(self) -> None:
        self.reads = True
        self.numberAccepts = 100
        #: How many clients it was ready to accept each time.
        self.accepted: list[int] = []

    def doRead(self) -> None:
        self.accepted.append(self.numberAccepts)

    def startReading(self) -> None:
        self.reads = True

    def stopReading(self) -> None:
        self.reads = False


class TurnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.loads = [0, 0, 0]
        self.turns = Turns(lambda: self.loads, 1, self.clock)
        self.port = Port()
        self.turns.take(self.port)

    def taken(self) -> list[int]:
        """What it was ready to accept since this was asked last."""
        accepted, self.port.accepted = self.port.accepted, []
        return accepted

    def test_its_share(self) -> None:
        for loads, share in ([0, 0, 0], 1), ([1, 0, 1], 1), ([9, 0, 9], 7), ([3, 3, 3], 1), ([90, 0, 900], 64):
            self.loads = loads
            self.port.doRead()
            self.assertEqual((self.taken(), self.port.reads), ([share], True), loads)

    def test_it_has_more(self) -> None:
        """The client is left to others, and when it is still there then, taken."""
        self.loads = [0, 1, 0]
        self.port.doRead()
        self.assertEqual((self.taken(), self.port.reads), ([], False))
        self.clock.advance(MOMENT)
        self.assertTrue(self.port.reads)
        self.port.doRead()
        self.assertEqual(self.taken(), [2])

    def test_others_do_not_move(self) -> None:
        """It takes more each time, and in the end leaves none to them, until they do."""
        self.loads = [0, 8, 0]
        for each in range(PATIENCE):
            self.port.doRead()
            self.assertEqual((self.taken(), self.port.reads), ([], False))
            self.clock.advance(MOMENT)
            self.port.doRead()
            self.assertEqual(self.taken(), [2 << each])
        self.port.doRead()
        self.assertEqual((self.taken(), self.port.reads), ([32], True))
        self.loads[0] = 9
        self.port.doRead()
        self.assertEqual((self.taken(), self.port.reads), ([32], True))
        self.loads[2] = 1
        self.port.doRead()
        self.assertEqual((self.taken(), self.port.reads), ([], False))

    def test_one_of_its_own_goes(self) -> None:
        """It need not wait any longer."""
        self.loads = [1, 3, 1]
        self.port.doRead()
        self.assertFalse(self.port.reads)
        self.turns.look()
        self.assertFalse(self.port.reads)
        self.loads[1] = 1
        self.turns.look()
        self.assertTrue(self.port.reads)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.port.doRead()
        self.assertEqual(self.taken(), [1])

    def test_it_listens_no_more(self) -> None:
        """A port that was closed meanwhile stays closed."""
        self.loads = [0, 1, 0]
        self.port.doRead()
        self.port.disconnecting = True
        self.clock.advance(MOMENT)
        self.assertFalse(self.port.reads)
