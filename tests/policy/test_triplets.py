"""What greylisting remembers."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import twistsmtp
from twistsmtp.policy.triplets import Rule, Triplet, Triplets, Verdict

RULE = Rule(delay=300, window=3600, lifetime=86400, passes=3)
NETWORK = "192.0.2.0/24"


class TripletsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()
        self.triplets = self.opened()
        self.now = 1_000_000.0

    def opened(self, rule: Rule = RULE) -> Triplets:
        triplets = Triplets(self.path, rule)
        self.addCleanup(triplets.close)
        return triplets

    def come(
        self, *recipients: str, network: str = NETWORK, sender: str = "a@client.test", counts: bool = True
    ) -> Verdict:
        asked = [Triplet(network, sender, each) for each in recipients or ("b@mx.test",)]
        return self.triplets.check(asked, self.now, counts)

    def rows(self) -> int:
        """How many there are, as the file says and as they are."""
        with closing(sqlite3.connect(self.path)) as connection:
            [[kept]] = connection.execute("SELECT triplets FROM size")
            [[rows]] = connection.execute("SELECT count(*) FROM triplets")
        self.assertEqual(rows, kept)
        return int(rows)

    def test_first_time(self) -> None:
        self.assertEqual(Verdict(300), self.come())

    def test_too_early(self) -> None:
        self.come()
        self.now += 299
        self.assertEqual(Verdict(1), self.come())

    def test_in_time(self) -> None:
        self.come()
        self.now += 300
        self.assertEqual(Verdict(0, 300), self.come())
        self.now += 1
        self.assertEqual(Verdict(0), self.come())

    def test_too_late(self) -> None:
        """It begins anew."""
        self.come()
        self.now += 3600
        self.assertEqual(Verdict(300), self.come())
        self.assertEqual(1, self.rows())

    def test_each_by_itself(self) -> None:
        self.come()
        self.now += 300
        for other in ({"network": "198.51.100.0/24"}, {"sender": "x@client.test"}, {"sender": ""}):
            self.assertEqual(Verdict(300), self.come(**other))  # type: ignore[arg-type]  # text
        self.assertEqual(Verdict(300), self.come("c@mx.test"))
        self.assertEqual(Verdict(0, 300), self.come())

    def test_several_together(self) -> None:
        """They wait for the last."""
        self.come("b@mx.test")
        self.now += 200
        self.assertEqual(Verdict(300), self.come("b@mx.test", "c@mx.test"))
        self.now += 100
        self.assertEqual(Verdict(200, 300), self.come("b@mx.test", "c@mx.test"))
        self.now += 200
        self.assertEqual(Verdict(0, 300), self.come("b@mx.test", "c@mx.test"))

    def test_known_for_a_lifetime(self) -> None:
        """From the last time on."""
        self.come()
        self.now += 300
        self.come()
        for _ in range(5):
            self.now += 86000
            self.assertEqual(Verdict(0), self.come())
        self.now += 86400
        self.assertEqual(Verdict(300), self.come())

    def passed(self, messages: int, **options: Any) -> None:
        for number in range(messages):
            self.come(f"{number}@mx.test", **options)
            self.now += 300
            self.assertEqual(Verdict(0, 300), self.come(f"{number}@mx.test", **options))

    def test_a_network_that_has_passed(self) -> None:
        """All of it does, for its lifetime."""
        self.passed(3)
        self.assertEqual(Verdict(0), self.come("new@mx.test", sender="new@client.test"))
        self.assertEqual(Verdict(300), self.come("new@mx.test", network="198.51.100.0/24"))
        for _ in range(3):
            self.now += 86000
            self.assertEqual(Verdict(0), self.come("newer@mx.test"))
        self.now += 86400
        self.assertEqual(Verdict(300), self.come("newest@mx.test"))

    def test_a_network_that_has_passed_too_little(self) -> None:
        self.passed(2)
        self.assertEqual(Verdict(300), self.come("new@mx.test"))

    def test_what_does_not_count(self) -> None:
        """Other recipients of a message that has counted, and what has passed before."""
        self.passed(5, counts=False)
        for _ in range(5):
            self.assertEqual(Verdict(0), self.come("0@mx.test"))
        self.assertEqual(Verdict(300), self.come("new@mx.test"))

    def test_forgotten(self) -> None:
        """What nobody comes for goes when others come."""
        for number in range(10):
            self.come(f"{number}@mx.test")
        self.now += 3600
        for number in range(5):
            self.come(f"new{number}@mx.test")
        self.assertEqual(5, self.rows())

    def test_no_more_than_so_many(self) -> None:
        """Those that have not passed go before those that have."""
        self.triplets = self.opened(Rule(delay=300, window=3600, lifetime=86400, passes=3, most=10))
        self.passed(2)
        for number in range(50):
            self.now += 1
            self.come(f"flood{number}@mx.test")
            self.assertLessEqual(self.rows(), 10)
        self.assertEqual(Verdict(0), self.come("0@mx.test"))
        self.assertEqual(Verdict(0), self.come("1@mx.test"))
        self.assertEqual(Verdict(300), self.come("flood0@mx.test"))
        self.now += 1
        self.assertEqual(Verdict(299), self.come("flood49@mx.test"))

    def test_kept(self) -> None:
        """It outlives the server."""
        self.come()
        self.triplets.close()
        self.now += 300
        self.triplets = self.opened()
        self.assertEqual(Verdict(0, 300), self.come())

    def test_clock_set_back(self) -> None:
        self.come()
        self.now -= 1000
        self.assertEqual(Verdict(300), self.come())

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4000)), max_size=30))
    def test_anything(self, steps: list[tuple[int, int]]) -> None:
        """Whenever they come: nobody passes before the delay is over, and nobody waits longer than that."""
        self.path = self.mktemp()
        self.triplets = self.opened(Rule(delay=300, window=3600, lifetime=86400, passes=1000))
        first: dict[int, float] = {}
        for who, later in steps:
            self.now += later
            wait, _ = self.come(f"{who}@mx.test")
            self.assertLessEqual(wait, 300)
            if wait == 300:
                first[who] = self.now
            else:
                self.assertEqual(max(0, first[who] + 300 - self.now), wait)
        self.triplets.close()


class FileTests(SynchronousTestCase):
    """The file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.triplets = Triplets(self.path, RULE)
        self.addCleanup(self.triplets.close)

    def test_made(self) -> None:
        self.triplets.open()
        self.assertTrue(self.path.exists())

    def test_nothing_is_left_open(self) -> None:
        self.triplets.check([Triplet(NETWORK, "", "b@mx.test")], 1.0, True)
        self.triplets.close()
        self.assertEqual([self.path], list(self.path.parent.glob(f"{self.path.name}*")))

    def test_others(self) -> None:
        """The database of something else is left as it is."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("CREATE TABLE x (y)")
        before = self.path.read_bytes()
        self.assertRaises(ValueError, self.triplets.open)
        self.assertEqual(before, self.path.read_bytes())

    def test_look(self) -> None:
        """It says what opening the file would, and leaves everything as it is."""
        self.triplets.look()
        self.assertEqual([], list(self.path.parent.glob(f"{self.path.name}*")))
        connection = self.triplets.open()
        self.triplets.check([Triplet(NETWORK, "", "b@mx.test")], 1.0, True)
        self.triplets.look()  # also while it is open, and has another one's writes beside it
        connection.execute("PRAGMA user_version = 2")
        self.triplets.close()
        self.assertRaises(ValueError, self.triplets.look)
        self.assertEqual([self.path], list(self.path.parent.glob(f"{self.path.name}*")))
        self.path.write_text("[smtp]\n" * 100)
        self.assertRaises(sqlite3.DatabaseError, self.triplets.look)
        for path in (self.path / "x", self.path.parent, Path("/nonexistent/x/db")):
            self.assertRaises(sqlite3.Error, Triplets(path, RULE).look)

    def test_no_database(self) -> None:
        self.path.write_text("[smtp]\n" * 100)
        self.assertRaises(sqlite3.DatabaseError, self.triplets.open)
        self.assertEqual("[smtp]\n" * 100, self.path.read_text())

    def test_another_version(self) -> None:
        self.triplets.open().execute("PRAGMA user_version = 2")
        self.triplets.close()
        self.assertRaises(ValueError, self.triplets.open)

    def test_no_folder(self) -> None:
        self.assertRaises(sqlite3.OperationalError, Triplets(self.path / "x", RULE).open)

    def test_it_fails_and_is_mended(self) -> None:
        asked = [Triplet(NETWORK, "", "b@mx.test")]
        self.triplets.check(asked, 1.0, True)
        self.triplets.open().execute("DROP TABLE triplets")
        self.assertRaises(sqlite3.Error, self.triplets.check, asked, 2.0, True)
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink()
        self.assertEqual(Verdict(300), self.triplets.check(asked, 3.0, True))

    def test_several_servers(self) -> None:
        """Each process adds its own to one file, which is not there before: nothing is lost, and none fails."""
        script = (
            "import sys; from twistsmtp.policy.triplets import *\n"
            "triplets = Triplets(sys.argv[1], Rule())\n"
            "for number in range(100):\n"
            "    triplets.check([Triplet(sys.argv[2], '', f'{number}@mx.test')], 1.0, True)\n"
        )
        command = [sys.executable, "-c", script, str(self.path.absolute())]
        root = Path(twistsmtp.__file__).parents[1]
        running = [subprocess.Popen([*command, str(number)], cwd=root) for number in range(3)]
        self.assertEqual([0] * 3, [each.wait(60) for each in running])
        [[rows]] = self.triplets.open().execute("SELECT count(*) FROM triplets")
        self.assertEqual(300, rows)


class RuleTests(SynchronousTestCase):
    def test_window(self) -> None:
        self.assertRaises(ValueError, Rule, delay=300, window=300)
