"""Metrics of two workers, as Prometheus reads them."""

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support import Server
from twistsmtp.metrics import Metrics
from twistsmtp.workers.crew import Crew
from twistsmtp.workers.figures import Counted, Gathered


class FigureTests(SynchronousTestCase):
    def setUp(self) -> None:
        nothing: Any = lambda *_: None  # noqa: E731
        self.crew = Crew(
            2, nothing, Clock(), logged=nothing, ready=nothing, failed=nothing, counted=nothing, left=nothing
        )
        self.gathered = Gathered(self.crew)
        self.patch(self.crew, "count", lambda: succeed(None))
        self.servers = [Server(), Server()]
        self.counted = [Counted(Metrics({"smtp": each.factory})) for each in self.servers]
        for each in self.counted:
            each.start()
            self.addCleanup(each.stop)

    def send(self, worker: int, messages: int) -> None:
        """*worker* takes so many on a connection that stays."""
        client = self.servers[worker].connect().hello()
        for _ in range(messages):
            client.begin().data().message()

    def scrape(self, *workers: int) -> dict[str, float]:
        """What there is when *workers* answer."""
        for each in workers:
            self.gathered.told(each + 1, {"families": self.counted[each].families()})
        self.successResultOf(self.gathered.gather())
        registry = CollectorRegistry()
        registry.register(self.gathered)
        text = generate_latest(registry).decode()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for name, labels, value, *_ in family.samples:
                said = ",".join(f"{key}={each}" for key, each in sorted(labels.items()) if key != "protocol")
                self.assertNotIn((name, said), found, "it is there twice")
                found[f"{name}{{{said}}}" if said else name] = value
        return found

    def test_summed_and_of_each(self) -> None:
        self.send(0, 2)
        self.send(1, 3)
        found = self.scrape(0, 1)
        expected = {
            "twistsmtp_messages_total{result=accepted}": 5,
            "twistsmtp_worker_messages_total{result=accepted,worker=1}": 2,
            "twistsmtp_worker_messages_total{result=accepted,worker=2}": 3,
            "twistsmtp_connections_open": 2,
            "twistsmtp_worker_connections_open{worker=2}": 1,
            "twistsmtp_message_size_bytes_count": 5,
            "twistsmtp_message_size_bytes_bucket{le=+Inf}": 5,
            "twistsmtp_connections_limit": 5000,
            "twistsmtp_workers": 2,
            "twistsmtp_workers_ready": 0,
            "twistsmtp_worker_restarts_total{worker=1}": 0,
        }
        self.assertEqual({name: found.get(name) for name in expected}, expected)
        self.assertGreater(found["twistsmtp_worker_process_resident_memory_bytes{worker=1}"], 0)
        self.assertNotIn("process_resident_memory_bytes", found)

    def test_as_one_process_has_it(self) -> None:
        """Each family of one process is there, under its name."""
        registry = CollectorRegistry()
        registry.register(Metrics({"smtp": self.servers[0].factory}))
        ours = {each.name for each in registry.collect()}
        self.scrape(0, 1)
        names = {each.name for each in self.gathered.collect()}
        self.assertEqual(ours - names, set())
        self.assertEqual({f"twistsmtp_worker_{each.removeprefix('twistsmtp_')}" for each in ours} - names, set())

    def test_one_after_the_other(self) -> None:
        """What one had counted is not forgotten; how many connections it had is."""
        self.send(0, 2)
        self.scrape(0, 1)
        self.gathered.left(1)
        found = self.scrape(1)
        self.assertEqual(found["twistsmtp_messages_total{result=accepted}"], 2)
        self.assertEqual(found["twistsmtp_worker_messages_total{result=accepted,worker=1}"], 2)
        self.assertEqual(found["twistsmtp_connections_open"], 0)
        self.assertNotIn("twistsmtp_worker_connections_open{worker=1}", found)
        found = self.scrape(0, 1)  # another one, which has happened to count the same
        self.assertEqual(found["twistsmtp_worker_messages_total{result=accepted,worker=1}"], 4)
        self.assertEqual(found["twistsmtp_message_size_bytes_count"], 4)

    def test_one_that_does_not_answer(self) -> None:
        self.send(0, 2)
        self.scrape(0, 1)
        self.send(1, 1)
        self.assertEqual(self.scrape(1)["twistsmtp_messages_total{result=accepted}"], 3)
