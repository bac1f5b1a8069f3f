"""What workers count together: two `Memory` of one file are as two processes have it."""

import fcntl
import os
import subprocess
import sys
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.workers.memory import ROOM, WAYS, Memory, SharedClients

NETWORKS = [f"192.0.2.{each}" for each in range(5)]


class MemoryTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.parent = Memory(3)
        self.addCleanup(os.close, self.parent.descriptor)

    def worker(self) -> Memory:
        """As a worker has it."""
        return Memory(3, self.parent.descriptor)


class ClientTests(MemoryTestCase):
    def clients(self, kind: int = 0) -> list[SharedClients]:
        return [self.worker().clients(each, kind) for each in range(3)]

    @given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(NETWORKS), st.booleans())))
    def test_they_count_as_one(self, steps: list[tuple[int, str, bool]]) -> None:
        self.setUp()
        clients = self.clients()
        there: Counter[tuple[int, str]] = Counter()
        for worker, network, comes in steps:
            if comes:
                clients[worker].enter(network)
                there[worker, network] += 1
            elif there[worker, network]:
                clients[worker].leave(network)
                there[worker, network] -= 1
        for each in clients:
            self.assertEqual(each.total, there.total())
            for network in NETWORKS:
                self.assertEqual(each.count(network), sum(there[worker, network] for worker in range(3)))
        loads = [sum(there[worker, network] for network in NETWORKS) for worker in range(3)]
        self.assertEqual(self.parent.loads(), loads)

    def test_one_is_gone(self) -> None:
        first, second, _ = self.clients()
        for each in first, second, second:
            each.enter("192.0.2.1")
        self.parent.forget(1)
        self.assertEqual((first.count("192.0.2.1"), first.total), (1, 1))

    def test_kinds(self) -> None:
        """SMTP and LMTP count by themselves, and are one load."""
        smtp, lmtp = self.clients(0)[0], self.clients(1)[0]
        smtp.enter("192.0.2.1")
        lmtp.enter("192.0.2.1")
        self.assertEqual((smtp.count("192.0.2.1"), lmtp.total), (1, 1))
        self.assertEqual(self.parent.loads(), [2, 0, 0])

    def test_many(self) -> None:
        """Of ten thousand clients none is taken for more than it is, though they share cells."""
        first, second, _ = self.clients()
        networks = [f"2001:db8:{each:x}::/64" for each in range(10_000)]
        for number, network in enumerate(networks):
            (first, second)[number % 2].enter(network)
        counts = [first.count(network) for network in networks]
        self.assertEqual(min(counts), 1)
        self.assertLessEqual(max(counts), 3)

    def test_who_is_told_that_one_has_left(self) -> None:
        told: list[None] = []
        clients = self.worker().clients(0, 0, lambda: told.append(None))
        clients.enter("192.0.2.1")
        self.assertEqual(told, [])
        clients.leave("192.0.2.1")
        self.assertEqual(told, [None])


class ScoreTests(MemoryTestCase):
    @given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(NETWORKS), st.floats(0.5, 9.5))))
    def test_they_are_the_same_to_all(self, steps: list[tuple[int, str, float]]) -> None:
        self.setUp()
        scores = [self.worker().scores(0) for _ in range(3)]
        expected: dict[str, float] = {}
        for worker, name, more in steps:
            scores[worker].change(name, lambda score, more=more: score + more)  # type: ignore[misc]  # its default
            expected[name] = expected.get(name, 0.0) + more
        for each in scores:
            self.assertEqual({name: each[name] for name in expected}, expected)
        self.assertEqual(scores[0]["another"], 0.0)

    def test_the_smallest_goes(self) -> None:
        """There is room for so many; the greatest are there at last."""
        scores = self.worker().scores(0)
        for number in range(1, ROOM):
            scores.change(f"{number}", lambda _, number=number: float(number))  # type: ignore[misc]  # its default
        kept = [number for number in range(1, ROOM) if scores[f"{number}"] == number]
        self.assertGreater(len(kept), ROOM * 0.8)
        self.assertTrue(set(range(ROOM - WAYS, ROOM)) <= set(kept))

    def test_a_lock_that_nobody_gives_back(self) -> None:
        """Another process holds it, and has been stopped: nobody waits for that."""
        scores = self.worker().scores(0)
        scores.change("ada", lambda _: 1.0)
        file = self.parent.descriptor
        program = f"import fcntl, sys; fcntl.lockf({file}, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, pass_fds=[file]) as process:
            assert process.stdout and process.stdin
            self.assertEqual(process.stdout.readline(), b"held\n")
            self.assertRaises(OSError, fcntl.lockf, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            scores.change("ada", lambda score: score + 1)
            process.stdin.close()
        self.assertEqual(scores["ada"], 2.0)
