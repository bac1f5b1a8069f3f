"""What a server has done, counted for Prometheus.

`Metrics` observes the events of `twistsmtp.events` and `twistsmtp.cred`, which are there in any case, and reads what
else it tells from the factories when it is asked. All that it adds to the way of a message is a count for each reply,
and that only while it is started: to a server without metrics they cost nothing.

An application that has a `CollectorRegistry` of its own registers them there::

    metrics = Metrics({"smtp": factory})
    metrics.start()
    registry.register(metrics)

**What a client can say is no label.** The values of labels are those of a set that is known before the first client
comes, or the server's own choice, as the cipher. What is counted for one server is never counted for another of the
same process.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from string import Formatter
from typing import Any, TypeAlias

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from twistsmtp.factory import SMTPFactory
from twistsmtp.wire.reply import Catalogue, Reply

__all__ = ["FAMILIES", "LIMITS", "RESULTS", "Family", "Histogram", "Metrics", "ReplyNames", "Tally"]

#: What may become of a message.
RESULTS = ("accepted", "refused", "deferred", "aborted")

#: Which limit, as ``[limits]`` names it, has which reply.
LIMITS = {
    "line_too_long": "command-line",
    "line_flood": "command-line",
    "message_too_big": "message-size",
    "message_line_too_long": "message-line",
    "mail_loop": "hops",
    "too_many_recipients": "recipients",
    "too_many_messages": "messages",
    "too_many_errors": "errors",
    "too_many_unknown": "unknown-commands",
    "too_many_idle": "idle-commands",
    "too_many_auth_failures": "auth-failures",
    "not_smtp": "not-smtp",
    "too_many_connections": "connections",
    "too_many_from_client": "connections-per-client",
    "idle_timeout": "idle-time",
    "data_timeout": "data-time",
    "data_too_slow": "data-rate",
}
#: The one that ends a connection without a word, and why a connection ended then.
HANDSHAKE, HANDSHAKE_TIMEOUT, HANDSHAKE_FAILED = "handshake-time", "TLS handshake took too long", "TLS handshake failed"

#: The name of a refusal that is none of the catalogue's.
OTHER = "other"

#: The upper bounds of histograms: seconds of messages and connections, octets of messages.
MESSAGE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
CONNECTION_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0)
MESSAGE_OCTETS = tuple(1024.0 * 4**each for each in range(9))  # 1 KiB to 64 MiB

#: The values of a family for one server, by those of its labels.
Values: TypeAlias = "Mapping[tuple[str, ...], float | Histogram]"


class Histogram:
    """How many values there were up to each of *bounds*, which ascend, and beyond; and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """There was *value*."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """The counts of all values up to each bound, as Prometheus has them, and the sum of all."""
        counts = accumulate(self._counts.copy())
        bounds = (*map(repr, self._bounds), "+Inf")
        return list(zip(bounds, map(float, counts), strict=True)), self._sum


class ReplyNames:
    """The names of replies in a catalogue, also of those whose places have been filled."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._exact: dict[Reply, str] = {}
        self._patterns: dict[tuple[int, str], list[tuple[re.Pattern[str], str]]] = {}
        for each in fields(catalogue):
            reply: Reply = getattr(catalogue, each.name)
            pieces = [*Formatter().parse(reply.text)]
            if all(place is None for _, place, _, _ in pieces):
                self._exact.setdefault(reply, each.name)
            else:
                text = "".join(re.escape(text) + ("" if place is None else ".*") for text, place, _, _ in pieces)
                pattern = re.compile(text, re.DOTALL)
                self._patterns.setdefault((reply.code, reply.enhanced), []).append((pattern, each.name))

    def of(self, reply: Reply) -> str:
        """The name of *reply*, or `OTHER`."""
        name = self._exact.get(reply)
        if name is None:
            for pattern, filled in self._patterns.get((reply.code, reply.enhanced), ()):
                if pattern.fullmatch(reply.text):
                    return filled
        return name or OTHER


class Tally:
    """What the connections of one factory have done.

    It is written by the thread of the reactor alone, and may be read by another.
    """

    def __init__(self, factory: SMTPFactory) -> None:
        self.factory = factory
        self._names = ReplyNames(factory.replies)
        self._replies = [0] * 600
        self._refusals: Counter[str] = Counter()
        self._limits = Counter(dict.fromkeys([*LIMITS.values(), HANDSHAKE], 0))
        self._messages = Counter(dict.fromkeys(RESULTS, 0))
        self._tls: Counter[tuple[str, str]] = Counter()
        self._auth: Counter[tuple[str, str]] = Counter()
        self._recipients = self._handshake_failures = self._exceptions = 0
        #: Of connections that have ended.
        self._ended = self._octets_in = self._octets_out = 0
        self._message_seconds, self._message_octets = Histogram(MESSAGE_SECONDS), Histogram(MESSAGE_OCTETS)
        self._connection_seconds = Histogram(CONNECTION_SECONDS)
        #: What was said last of what must never become less.
        self._highest: dict[str, int] = {}

    # --- what happens -----------------------------------------------------------------------------------------

    def counting(self, octets: Callable[[Reply], bytes]) -> Callable[[Reply], bytes]:
        """*octets*, which puts a reply on the wire, and counts it as well."""
        replies, refused = self._replies, self._refused

        def counted(reply: Reply) -> bytes:
            code = reply.code
            replies[code] += 1
            if code >= 400:
                refused(reply)
            return octets(reply)

        return counted

    def _refused(self, reply: Reply) -> None:
        name = self._names.of(reply)
        self._refusals[name] += 1
        if name in LIMITS:
            self._limits[LIMITS[name]] += 1

    def message(self, event: LogEvent) -> None:
        """A message has ended."""
        said = event["result"]
        self._messages[_result(said)] += 1
        if said == "accepted":
            self._recipients += event["recipient_count"]
        self._message_seconds.add(event["duration"])
        self._message_octets.add(event["size"])

    def connection(self, event: LogEvent) -> None:
        """A connection is gone; or something has failed that was not to."""
        if "log_failure" in event:
            self._exceptions += 1
            return
        self._ended += 1
        self._octets_in += event["octets_in"]
        self._octets_out += event["octets_out"]
        self._connection_seconds.add(event["duration"])
        if event["tls"] is not None:
            self._tls[event["tls"], event["cipher"]] += 1
        elif event["reason"] == HANDSHAKE_TIMEOUT:
            self._limits[HANDSHAKE] += 1
            self._handshake_failures += 1
        elif event["reason"].startswith(HANDSHAKE_FAILED):
            self._handshake_failures += 1

    def authentication(self, event: LogEvent) -> None:
        """Somebody has tried to authenticate. It is a mechanism that was offered, else it came to no attempt."""
        self._auth[event["mechanism"], event["result"]] += 1

    # --- what there is to tell --------------------------------------------------------------------------------

    def connections(self) -> Values:
        """How many there were, and are."""
        return {(): self._risen("connections", self._ended + len(self.factory.connections))}

    def octets(self, name: str) -> Values:
        """``octets_in`` or ``octets_out`` of the connections that there were, and are."""
        ended: int = getattr(self, f"_{name}")
        return {(): self._risen(name, ended + sum(getattr(each, name) for each in self.factory.connections.copy()))}

    def _risen(self, name: str, count: int) -> int:
        """*count*, or what was said before. Another thread may see a connection both as one that has ended and as one
        that is there, or not at all; and to Prometheus a count that falls is that of a server that was restarted."""
        self._highest[name] = count = max(count, self._highest.get(name, 0))
        return count

    def replies(self) -> Values:
        """Those that were said, by code."""
        return {(str(code),): count for code, count in enumerate(self._replies.copy()) if count}

    def by(self, name: str) -> Values:
        """A count by one label or several."""
        counts: Counter[Any] = getattr(self, f"_{name}").copy()
        return {key if isinstance(key, tuple) else (key,): count for key, count in counts.items()}

    def one(self, name: str) -> Values:
        """A number, or a histogram."""
        return {(): getattr(self, f"_{name}")}


def _result(said: str) -> str:
    """Which of `RESULTS` it is that the event of a message says."""
    if said == "accepted":
        return said
    return {"4": "deferred", "5": "refused"}.get(said[:1], "aborted")


@dataclass(frozen=True, slots=True)
class Family:
    """A metric.

    :param name: behind ``twistsmtp_``; Prometheus has ``_total`` behind that of a counter.
    :param kind: ``"counter"``, ``"gauge"`` or ``"histogram"``.
    :param labels: those that it has besides ``protocol``.
    """

    name: str
    kind: str
    help: str
    values: Callable[[Tally], Values]
    labels: tuple[str, ...] = ()


#: All that is told, in the order of the operator's guide.
FAMILIES = (
    Family("connections", "counter", "Connections so far", Tally.connections),
    Family("connections_open", "gauge", "Connections now", lambda tally: {(): len(tally.factory.connections)}),
    Family("connections_limit", "gauge", "The most connections", lambda tally: {(): tally.factory.limits.connections}),
    Family(
        "connection_duration_seconds",
        "histogram",
        "How long connections were there",
        lambda tally: tally.one("connection_seconds"),
    ),
    Family("received_bytes", "counter", "Octets received", lambda tally: tally.octets("octets_in")),
    Family("sent_bytes", "counter", "Octets sent", lambda tally: tally.octets("octets_out")),
    Family("messages", "counter", "Messages that have ended", lambda tally: tally.by("messages"), ("result",)),
    Family("recipients", "counter", "Recipients of accepted messages", lambda tally: tally.one("recipients")),
    Family(
        "message_duration_seconds",
        "histogram",
        "From DATA or the first BDAT to the end of the message",
        lambda tally: tally.one("message_seconds"),
    ),
    Family("message_size_bytes", "histogram", "How large messages were", lambda tally: tally.one("message_octets")),
    Family("replies", "counter", "Replies by code", Tally.replies, ("code",)),
    Family("refusals", "counter", "Replies 4xx and 5xx by name", lambda tally: tally.by("refusals"), ("reply",)),
    Family("limits_hit", "counter", "Limits that clients have hit", lambda tally: tally.by("limits"), ("limit",)),
    Family(
        "auth_attempts",
        "counter",
        "Attempts to authenticate",
        lambda tally: tally.by("auth"),
        ("mechanism", "result"),
    ),
    Family(
        "tls_connections",
        "counter",
        "Connections with TLS that have ended",
        lambda tally: tally.by("tls"),
        ("version", "cipher"),
    ),
    Family(
        "tls_handshake_failures",
        "counter",
        "TLS handshakes that came to nothing",
        lambda tally: tally.one("handshake_failures"),
    ),
    Family(
        "exceptions", "counter", "Failures of deliveries, policies and checkers", lambda tally: tally.one("exceptions")
    ),
)


@implementer(ILogObserver)
class Metrics:
    """Counts what the connections of factories do, for as long as it is started. It is a collector of
    `prometheus_client`, and may be asked by any thread.

    :param factories: by what is the value of the label ``protocol`` for each: ``"smtp"``, for instance.
    """

    def __init__(self, factories: Mapping[str, SMTPFactory]) -> None:
        self._by_protocol = {name: Tally(factory) for name, factory in factories.items()}
        self._tallies: dict[Any, Tally] = {each.factory.registry: each for each in self._by_protocol.values()}
        #: What takes an event, by its namespace and its server.
        self._takers: dict[str, dict[Any, Callable[[LogEvent], None]]] = {
            "twistsmtp.message": {registry: each.message for registry, each in self._tallies.items()},
            "twistsmtp.connection": {registry: each.connection for registry, each in self._tallies.items()},
            "twistsmtp.auth": {registry: each.authentication for registry, each in self._tallies.items()},
        }
        #: How replies were put on the wire before they were counted, and are since.
        self._before: dict[Any, tuple[Callable[[Reply], bytes], Callable[[Reply], bytes]]] = {}

    def start(self) -> None:
        """Begin to count. Replies are counted on the connections that come from now on."""
        for registry, tally in self._tallies.items():
            octets = registry.reply_octets
            counted = tally.counting(octets)
            registry.reply_octets = counted
            self._before[registry] = octets, counted
        globalLogPublisher.addObserver(self)

    def stop(self) -> None:
        """Count no more. What was counted stays."""
        globalLogPublisher.removeObserver(self)
        for registry, (octets, counted) in self._before.items():
            if registry.reply_octets is counted:
                registry.reply_octets = octets
        self._before.clear()

    def __call__(self, event: LogEvent) -> None:
        """Twisted's word that something was logged."""
        takers = self._takers.get(event.get("log_namespace", ""))
        if takers is not None:
            take = takers.get(event.get("log_dialect"))
            if take is not None:
                take(event)

    def collect(self) -> Iterator[Any]:
        """What `prometheus_client` asks for: each family, with its values as they are now."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        kinds: dict[str, Any] = {
            "counter": CounterMetricFamily,
            "gauge": GaugeMetricFamily,
            "histogram": HistogramMetricFamily,
        }
        for family in FAMILIES:
            metric = kinds[family.kind](f"twistsmtp_{family.name}", family.help, labels=("protocol", *family.labels))
            for protocol, tally in self._by_protocol.items():
                for labels, value in family.values(tally).items():
                    said = value.cumulative() if isinstance(value, Histogram) else (value,)
                    metric.add_metric((protocol, *labels), *said)
            yield metric

    def describe(self) -> Iterator[Any]:
        """The families: what they are called is what `prometheus_client` looks at."""
        return self.collect()
