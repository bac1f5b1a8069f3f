"""Metrics of several workers, as one server has them.

A worker counts what a server counts (`twistsmtp.metrics`), and listens nowhere: it tells its parent when somebody asks
that. The parent has all of it twice: ``twistsmtp_messages_total`` is the sum, under the names that one process has, and
``twistsmtp_worker_messages_total{worker="1"}`` is that of a worker, with the metrics of its process.

What a worker had counted that is gone still counts, as its place has it: no count falls when another one takes the
place. It is as the worker has told it last: when somebody asked, or when it ended in order.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred

from twistsmtp.metrics import Metrics
from twistsmtp.workers.crew import Crew

__all__ = ["Counted", "Figures", "Gathered"]

#: A sample: its name, its labels, its value.
Sample: TypeAlias = "tuple[str, tuple[tuple[str, str], ...]]"
#: The names of our own metrics, and of those of a process, begin with these.
OURS, ITS = "twistsmtp_", "twistsmtp_worker_"
#: Those that are not for each worker, but for all together.
COMMON = frozenset({"twistsmtp_connections_limit"})


class Counted:
    """What a worker has counted. It is a part of the worker, in the sense of `twistsmtp.lifecycle`.

    :param metrics: what counts.
    """

    def __init__(self, metrics: Metrics) -> None:
        import prometheus_client

        self._metrics = metrics
        self._process = prometheus_client.ProcessCollector(registry=None)

    def start(self) -> None:
        """Begin to count."""
        self._metrics.start()

    def stop(self) -> None:
        """Count no more."""
        self._metrics.stop()

    def families(self) -> list[list[Any]]:
        """All that there is, as JSON can have it: the name, the kind and the help of each family, and its samples."""
        return [
            [each.name, each.type, each.documentation, [[s.name, s.labels, s.value] for s in each.samples]]
            for each in (*self._metrics.collect(), *self._process.collect())
        ]


@dataclass(frozen=True, slots=True)
class _Family:
    """A family without its samples."""

    name: str
    kind: str
    help: str


class Figures:
    """What has been counted in one place, by one worker after the other."""

    def __init__(self) -> None:
        #: Of the workers that are gone, and of the one that is there.
        self._before: dict[_Family, dict[Sample, float]] = {}
        self._now: dict[_Family, dict[Sample, float]] = {}

    def take(self, families: list[list[Any]]) -> None:
        """The worker that is there has told what it has counted by now."""
        self._now = {
            _Family(str(name), str(kind), str(help)): {
                (str(sample), tuple((str(key), str(each)) for key, each in labels.items())): float(value)
                for sample, labels, value in samples
            }
            for name, kind, help, samples in families
        }

    def end(self) -> None:
        """It is gone. Its counts stay; how many connections it had does not."""
        self._before = {family: values for family, values in self.values().items() if family.kind != "gauge"}
        self._now = {}

    def values(self) -> dict[_Family, dict[Sample, float]]:
        """All that there is."""
        return _sum([self._before, self._now])


class Gathered:
    """What all workers have counted, for `prometheus_client`.

    :param crew: the workers.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._places = {place.number: Figures() for place in crew.places}
        self._families: list[Any] = []

    def start(self) -> None:
        """The workers count for themselves."""

    def stop(self) -> None:
        """Nothing is to be ended."""

    def told(self, number: int, answer: Mapping[str, Any]) -> None:
        """A worker has told what it has counted."""
        self._places[number].take(answer["families"])

    def left(self, number: int) -> None:
        """A worker is gone."""
        self._places[number].end()

    def gather(self) -> "Deferred[None]":
        """Have the workers tell what they have counted. Of one that does not there is what it told before."""
        return self._crew.count().addCallback(self._take)

    def collect(self) -> list[Any]:
        """What `prometheus_client` asks for, in a thread of its own: what was gathered last."""
        return self._families

    def describe(self) -> list[Any]:
        """Nothing: what workers count is not known before they have."""
        return []

    def _take(self, _: object) -> None:
        each = {number: place.values() for number, place in self._places.items()}
        self._families = [*self._own(), *_summed(each), *_by_worker(each)]

    def _own(self) -> Iterator[Any]:
        """What the parent knows by itself."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        ready = GaugeMetricFamily("twistsmtp_workers_ready", "Workers that take mail")
        ready.add_metric((), len(self._crew.ready))
        wanted = GaugeMetricFamily("twistsmtp_workers", "Workers that there are to be")
        wanted.add_metric((), len(self._crew.places))
        restarts = CounterMetricFamily("twistsmtp_worker_restarts", "Workers started anew", labels=("worker",))
        for place in self._crew.places:
            restarts.add_metric((str(place.number),), place.restarts)
        yield from (wanted, ready, restarts)


def _sum(several: list[dict[_Family, dict[Sample, float]]]) -> dict[_Family, dict[Sample, float]]:
    total: dict[_Family, dict[Sample, float]] = {}
    for each in several:
        for family, values in each.items():
            sums = total.setdefault(family, {})
            for sample, value in values.items():
                sums[sample] = sums.get(sample, 0.0) + value
    return total


def _summed(each: dict[int, dict[_Family, dict[Sample, float]]]) -> Iterator[Any]:
    """Our own, of all workers together."""
    for family, values in _sum(list(each.values())).items():
        if family.name in COMMON:
            yield _metric(
                family, family.name, {"": next(values[family] for values in each.values() if family in values)}
            )
        elif family.name.startswith(OURS):
            yield _metric(family, family.name, {"": values})


def _by_worker(each: dict[int, dict[_Family, dict[Sample, float]]]) -> Iterator[Any]:
    """All, of each worker by itself."""
    for family in dict.fromkeys(family for values in each.values() for family in values):
        name = ITS + family.name.removeprefix(OURS)
        yield _metric(
            family, name, {str(number): values[family] for number, values in each.items() if family in values}
        )


def _metric(family: _Family, name: str, values: Mapping[str, Mapping[Sample, float]]) -> Any:
    from prometheus_client.core import Metric

    metric = Metric(name, family.help, family.kind)
    for worker, samples in values.items():
        for (sample, labels), value in samples.items():
            more = {"worker": worker} if worker else {}
            metric.add_sample(name + sample.removeprefix(family.name), {**more, **dict(labels)}, value)
    return metric
