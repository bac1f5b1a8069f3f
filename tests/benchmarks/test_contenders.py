"""Who is measured: a peer that cannot be had is left out, and that is said; one that fails does not end the others."""

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import contenders, idle
from benchmarks.contenders import OURS, PEERS, gather, gather_durable
from benchmarks.contest import WORKLOADS, Contest
from benchmarks.environments import ENVIRONMENTS, Environment, InstallError
from benchmarks.idle import measure_idle
from benchmarks.latency import RATES, measure_latency
from benchmarks.load import LoadError
from tests.benchmarks.kit import LINUX, NOT_LINUX, ROOT, LoadTestCase
from twistsmtp.delivery.memory import Memory
from twistsmtp.factory import SMTPFactory


class FieldTests(SynchronousTestCase):
    """Who takes part."""

    def setUp(self) -> None:
        self.said: list[str] = []
        self.cache = Path(self.mktemp())

    def test_no_node(self) -> None:
        """Without Node, what needs it is left out; the others are not."""
        self.patch(os, "environ", {**os.environ, "PATH": "/nowhere"})
        self.patch(contenders, "ENVIRONMENTS", {**ENVIRONMENTS, "pip": lambda cache, say: Environment(["python"])})
        field = gather([OURS, "aiosmtpd", "smtp-server", "Haraka"], self.cache, self.said.append)
        self.assertEqual([OURS, "aiosmtpd"], list(field.starters))
        self.assertEqual({"smtp-server": "node is not installed", "Haraka": "node is not installed"}, field.left_out)
        self.assertIn("Haraka is left out, because node is not installed", self.said)

    def test_it_is_asked_once(self) -> None:
        """What cannot be installed for one peer is not tried again for the next."""
        asked = []

        def fail(cache: Path, say: Callable[[str], object]) -> Environment:
            asked.append(cache)
            raise InstallError("pip failed: no network")

        self.patch(contenders, "ENVIRONMENTS", {"pip": fail})
        field = gather([name for name in PEERS if PEERS[name].environment == "pip"], self.cache, self.said.append)
        self.assertEqual(({}, 1, 3), (field.starters, len(asked), len(field.left_out)))

    def test_no_postfix(self) -> None:
        """Then our Maildir is alone."""

        def fail() -> Path:
            raise InstallError("it is not installed")

        self.patch(contenders, "find_postfix", fail)
        field = gather_durable(self.said.append)
        self.assertEqual(([OURS], {"postfix": "it is not installed"}), (list(field.starters), field.left_out))
        self.assertEqual(["postfix is left out, because it is not installed"], self.said)

    def test_pins(self) -> None:
        """The peers are those of one day, from wherever the user's package index is."""
        folder = ROOT / "benchmarks" / "peers"
        lock = json.loads((folder / "package-lock.json").read_text())
        wanted = json.loads((folder / "package.json").read_text())["dependencies"]
        self.assertEqual(wanted, lock["packages"][""]["dependencies"])
        for name, package in lock["packages"].items():
            if name:
                self.assertNotIn("resolved", package, name)
                self.assertTrue(package["integrity"], name)
        lines = (folder / "requirements.txt").read_text().splitlines()
        self.assertEqual([], [line for line in lines if not line.startswith("#") and "==" not in line])


class FakeServer:
    """Takes nothing itself; what `FakeLoad` says of it counts."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port

    def memory(self, which: str) -> float:
        return 50.0

    def cpu_seconds(self) -> float:
        return 1.0

    def forget_peak(self) -> None:
        pass


#: A load generator that does as the port says: all is well, the server refuses something, or it takes very long.
FAKE = """\
#!/bin/sh
for port; do :; done
say() { echo '{"messages": 100, "connections": 1, "cpu": 0.1, "latency": [1, 2, 3, 4], "seconds": '"$1}"; }
case "$port" in
    1) say 0.5 ;;
    2) echo "load: no" >&2; exit 1 ;;
    3) say 99 ;;
esac
"""


class FakeLoadTestCase(SynchronousTestCase):
    """The load generator is `FAKE`."""

    if not LINUX:
        skip = NOT_LINUX

    def setUp(self) -> None:
        self.said: list[str] = []
        self.program = Path(self.mktemp()).absolute()
        self.program.write_text(FAKE)
        self.program.chmod(0o755)


class ContestTests(FakeLoadTestCase):
    """Servers beside each other."""

    def runs(self, *servers: FakeServer) -> list[tuple[str, str, int]]:
        contest = Contest(self.program, cast(Any, servers), 1.0, None, self.said.append)
        workloads = [WORKLOADS["kept"], WORKLOADS["starttls"]]
        found = contest.runs(workloads[: 1 if servers[0].name == OURS else 2], 2)
        return [(run.workload, run.server, run.repetition) for run in found]

    def test_turns(self) -> None:
        """They take turns."""
        expected = [("kept", OURS, 0), ("kept", "aiosmtpd", 0), ("kept", OURS, 1), ("kept", "aiosmtpd", 1)]
        self.assertEqual(expected, self.runs(FakeServer(OURS, 1), FakeServer("aiosmtpd", 1)))

    def test_peer_that_fails(self) -> None:
        """It is left out, once."""
        self.assertEqual(
            [("kept", OURS, 0), ("kept", OURS, 1)], self.runs(FakeServer(OURS, 1), FakeServer("aiosmtpd", 2))
        )
        self.assertEqual(["aiosmtpd is left out of kept, because load: no"], self.said)

    def test_ours_fails(self) -> None:
        """That is an error."""
        self.assertRaises(LoadError, self.runs, FakeServer(OURS, 2), FakeServer("aiosmtpd", 1))

    def test_no_tls(self) -> None:
        """A peer without TLS is not sent what needs it."""
        self.assertEqual([("kept", "smtp-sink", 0), ("kept", "smtp-sink", 1)], self.runs(FakeServer("smtp-sink", 1)))


class LatencyTests(FakeLoadTestCase):
    """Fixed loads."""

    def delays(self, port: int) -> list[tuple[int, int]]:
        server = nullcontext(FakeServer(OURS, port))
        starters: Any = {OURS: lambda folder, processor: server}
        found = measure_latency(self.program, starters, Path("."), 0, self.said.append, seconds=1.0, repetitions=2)
        return [(delay.rate, len(delay.latency)) for delay in found]

    def test_it_keeps_up(self) -> None:
        """All loads are offered, and then once more."""
        self.assertEqual([(rate, 4) for rate in RATES[False]] * 2, self.delays(1))

    def test_it_does_not(self) -> None:
        """Latencies of a load that was too much are not told, and no more is offered."""
        self.assertEqual([(RATES[False][0], 0)] * 2, self.delays(3))


class IdleTests(LoadTestCase):
    """Idle connections."""

    async def measured(self, connections: int) -> tuple[list[int], list[int]]:
        """How many connections were measured, and how many the server had each time that it was looked at."""
        self.patch(idle, "CONNECTIONS", connections)
        self.patch(idle, "FIRST", 3)
        self.patch(idle, "SETTLE", 0)
        factory = SMTPFactory(Memory(), hostname="mx.test")
        counts: list[int] = []

        class Watched(FakeServer):
            def memory(self, which: str) -> float:
                counts.append(len(factory.connections))
                return 50.0

        server = Watched(OURS, await self.listen(factory))
        context: AbstractContextManager[FakeServer] = nullcontext(server)
        starters: Any = {OURS: lambda folder, processor: context}
        found = await deferToThread(lambda: list(measure_idle(starters, Path("."), 0, self.said.append)))
        return [each.connections for each in found], counts

    async def test_all_at_once(self) -> None:
        """They are there, besides the first ones, when it is measured."""
        self.said: list[str] = []
        self.assertEqual(([70], [3, 73]), await self.measured(70))

    async def test_too_many(self) -> None:
        """A server that does not hold so many is left out."""
        self.said = []
        self.assertEqual(([], [3]), await self.measured(200))
        self.assertIn("twistsmtp is left out, because it does not hold so many: ", self.said[-1])
