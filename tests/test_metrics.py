"""What is counted: all that happens, once, and nothing that a client makes up."""

import re
import threading
from collections import Counter
from dataclasses import fields, replace
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import WRONG, Passwords, TLSClient, authenticate, certificates, secured
from tests.scripted import Answer, Script
from tests.support import CONVERSATION, Client, Server, split_replies
from twistsmtp.config import Config
from twistsmtp.factory import LMTPFactory
from twistsmtp.limits import Limits
from twistsmtp.metrics import FAMILIES, LIMITS, RESULTS, Histogram, Metrics, ReplyNames
from twistsmtp.security import Security
from twistsmtp.service import SMTPService
from twistsmtp.wire.reply import Catalogue, Refusal, Reply

ROOT = Path(__file__).parent.parent


def read(text: str) -> dict[str, float]:
    """The samples of an exposition: ``replies_total{code=250}``. The protocol is left out where it is SMTP."""
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for name, labels, value, *_ in family.samples:
            shown = ",".join(f"{key}={label}" for key, label in labels.items() if (key, label) != ("protocol", "smtp"))
            key = name.removeprefix("twistsmtp_") + (f"{{{shown}}}" if shown else "")
            assert key not in samples, f"{key} is there twice"
            samples[key] = value
    return samples


class MetricsTestCase(SynchronousTestCase):
    def started(self, **servers: Server) -> Metrics:
        """Metrics of *servers*, by protocol."""
        metrics = Metrics({name: each.factory for name, each in servers.items()})
        metrics.start()
        self.addCleanup(metrics.stop)
        return metrics

    def read(self, metrics: Metrics) -> dict[str, float]:
        registry = CollectorRegistry()
        registry.register(metrics)
        return read(generate_latest(registry).decode())

    def changed(self, metrics: Metrics, name: str) -> dict[str, float]:
        """What is not 0 of one family, without its name."""
        samples = self.read(metrics)
        return {
            key.removeprefix(name): value for key, value in samples.items() if re.match(name + "({|$)", key) and value
        }


class MessageTests(MetricsTestCase):
    def test_results(self) -> None:
        """Each message is one of them; where a second one is refused, only it is."""
        answers = [
            Answer(),
            Answer(result=Refusal(Reply(552, "5.2.2", "Full"))),
            Answer(result=Refusal(Reply(452, "4.2.2", "Full"))),
        ]
        server = Server.scripted(Script(commit=answers))
        metrics = self.started(smtp=server)
        client = server.connect().hello()
        client.begin("b@mx.test", "c@mx.test").say("DATA")
        client.send(b"x" * 2998 + b"\r\n.\r\n")
        client.message()
        client.message()
        client.message(b"a\nb\r\n")
        client.begin().say("DATA")
        client.send(b"half a mess")
        client.vanish()
        self.assertEqual(
            self.changed(metrics, "messages_total"),
            {"{result=accepted}": 1, "{result=refused}": 2, "{result=deferred}": 1, "{result=aborted}": 1},
        )
        samples = self.read(metrics)
        self.assertEqual(samples["recipients_total"], 2)
        self.assertEqual(samples["message_size_bytes_count"], 5)
        self.assertEqual(samples["message_size_bytes_bucket{le=1024.0}"], 4)
        self.assertEqual(samples["message_size_bytes_bucket{le=4096.0}"], 5)

    def test_results_are_there_before_the_first(self) -> None:
        """So that the first one is a rise."""
        samples = self.read(self.started(smtp=Server()))
        self.assertEqual(
            {key: samples[key] for key in samples if key.startswith("messages_total")},
            {f"messages_total{{result={each}}}": 0 for each in RESULTS},
        )

    def test_duration(self) -> None:
        server = Server()
        metrics = self.started(smtp=server)
        client = server.connect().data()
        server.clock.advance(2)
        client.send(b".\r\n")
        samples = self.read(metrics)
        self.assertEqual(samples["message_duration_seconds_sum"], 2)
        self.assertEqual(samples["message_duration_seconds_bucket{le=1.0}"], 0)
        self.assertEqual(samples["message_duration_seconds_bucket{le=2.5}"], 1)
        self.assertEqual(samples["message_duration_seconds_bucket{le=+Inf}"], 1)

    @given(st.lists(st.floats(0, 1e6)))
    def test_histogram(self, values: list[float]) -> None:
        bounds = (0.5, 1.0, 10.0)
        histogram = Histogram(bounds)
        for each in values:
            histogram.add(each)
        counts, total = histogram.cumulative()
        self.assertEqual(total, sum(values))
        for bound, count in counts:
            self.assertEqual(count, sum(each <= float(bound) for each in values))
        self.assertEqual(counts[-1], ("+Inf", len(values)))


class ConnectionTests(MetricsTestCase):
    def test_how_many(self) -> None:
        server = Server(limits=Limits(connections=7))
        metrics = self.started(smtp=server)
        first, second = server.connect(), server.connect()
        server.clock.advance(2)
        first.vanish()
        samples = self.read(metrics)
        names = "connections_total", "connections_open", "connections_limit", "connection_duration_seconds_count"
        self.assertEqual([samples[each] for each in names], [2, 1, 7, 1])
        self.assertEqual(samples["connection_duration_seconds_sum"], 2)
        second.vanish()
        self.assertEqual(self.read(metrics)["connections_open"], 0)

    def test_octets(self) -> None:
        """Those of connections that are there count already."""
        server = Server()
        metrics = self.started(smtp=server)
        clients = [server.connect() for _ in range(2)]
        said = sum(len(each.send(CONVERSATION[:-6])) for each in clients)
        expected = {"received_bytes_total": 2 * len(CONVERSATION[:-6]), "sent_bytes_total": said}
        self.assertLessEqual(expected.items(), self.read(metrics).items())
        clients[0].vanish()
        self.assertLessEqual(expected.items(), self.read(metrics).items())

    def test_never_less(self) -> None:
        """Where a scrape sees a connection as one that has ended and as one that is there: to Prometheus a count that
        falls is a restart."""
        server = Server()
        metrics = self.started(smtp=server)
        between: list[dict[str, float]] = []

        def look(event: Any) -> None:
            if event.get("log_namespace") == "twistsmtp.connection":
                between.append(self.read(metrics))

        observer: Any = look
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        client = server.connect().hello()
        client.vanish()
        after = self.read(metrics)
        for name in "connections_total", "received_bytes_total", "sent_bytes_total":
            self.assertGreater(between[0][name], 0)
            self.assertGreaterEqual(after[name], between[0][name])
        globalLogPublisher.removeObserver(observer)
        for _ in range(2):
            server.connect().hello().vanish()
        self.assertEqual(self.read(metrics)["connections_total"], 3)  # right again

    def test_encryption(self) -> None:
        server = Server(security=Security(tls=certificates()), limits=Limits(handshake_time=30))
        metrics = self.started(smtp=server)
        explicit, implicit = TLSClient(server), TLSClient(server, implicit=True)
        explicit.hello()
        explicit.start_tls().hello()
        implicit.shake_hands().hello()
        explicit.vanish()
        implicit.vanish()
        plain = server.connect().hello()
        plain.vanish()
        [(labels, count)] = self.changed(metrics, "tls_connections_total").items()
        self.assertRegex(labels, r"^{version=TLSv1\.3,cipher=TLS_\w+}$|^{cipher=TLS_\w+,version=TLSv1\.3}$")
        self.assertEqual(count, 2)
        self.assertEqual(self.changed(metrics, "tls_handshake_failures_total"), {})

    def test_handshakes_that_come_to_nothing(self) -> None:
        server = Server(security=Security(tls=certificates()), limits=Limits(handshake_time=30))
        metrics = self.started(smtp=server)
        slow, broken = TLSClient(server, implicit=True), TLSClient(server, implicit=True)
        broken.raw(b"EHLO this is no handshake\r\n")
        server.clock.pump([1] * 45)
        self.assertTrue(slow.wire.lost)
        self.assertTrue(broken.wire.lost)
        self.assertEqual(self.changed(metrics, "tls_handshake_failures_total"), {"": 2})
        self.assertEqual(self.changed(metrics, "limits_hit_total"), {"{limit=handshake-time}": 1})
        self.assertEqual(self.changed(metrics, "tls_connections_total"), {})


class ReplyTests(MetricsTestCase):
    def test_each_once(self) -> None:
        """As the client sees them, however many lines one has."""
        server = Server()
        metrics = self.started(smtp=server)
        said = split_replies(server.connect().send(CONVERSATION))
        codes = Counter(f"{{code={each[:3]}}}" for each in said)
        self.assertEqual(self.changed(metrics, "replies_total"), codes)
        self.assertGreater(len(codes), 3)

    def test_lmtp(self) -> None:
        """Each recipient has a reply."""
        server = Server()
        server.factory = LMTPFactory(server.delivery, hostname="mx.test", reactor=server.clock)
        metrics = self.started(lmtp=server)
        client = server.connect()
        client.say("LHLO client.test")
        client.begin("b@mx.test", "c@mx.test").say("DATA")
        client.send(b"text\r\n.\r\n")
        self.assertEqual(
            self.changed(metrics, "replies_total"),
            {"{code=220,protocol=lmtp}": 1, "{code=250,protocol=lmtp}": 6, "{code=354,protocol=lmtp}": 1},
        )
        self.assertEqual(self.changed(metrics, "messages_total"), {"{protocol=lmtp,result=accepted}": 1})

    def test_refusals(self) -> None:
        """By name, as the operator's guide has them."""
        server = Server()
        metrics = self.started(smtp=server)
        client = server.connect()
        client.say("MAIL FROM:<>", "EHLO client.test", "RCPT TO:<b@mx.test>", "NOOP NOOP", "DATA", "QUIT now", "XYZZY")
        client.say("MAIL FROM:<>", "MAIL FROM:<>", "RCPT TO:<b@mx.test> FOO=bar", "RCPT TO:<")
        self.assertEqual(
            self.changed(metrics, "refusals_total"),
            {
                "{reply=hello_first}": 1,
                "{reply=mail_first}": 2,
                "{reply=no_argument}": 1,
                "{reply=unrecognized}": 1,
                "{reply=transaction_open}": 1,
                "{reply=unknown_parameter}": 1,
                "{reply=other}": 1,
            },
        )

    def test_those_of_a_policy(self) -> None:
        script = Script(
            policy_mail=[
                Answer(result=Refusal(Catalogue().sender_refused)),
                Answer(result=Refusal(Reply(550, "5.7.1", "No"))),
            ]
        )
        server = Server.scripted(script)
        metrics = self.started(smtp=server)
        server.connect().hello().say("MAIL FROM:<a@client.test>", "MAIL FROM:<b@client.test>")
        self.assertEqual(self.changed(metrics, "refusals_total"), {"{reply=sender_refused}": 1, "{reply=other}": 1})

    def test_names(self) -> None:
        """Every reply of a catalogue is known again, whatever its places were filled with."""
        catalogue = replace(Catalogue(), bye=Reply(221, "2.0.0", "Until (next) time"))
        names = ReplyNames(catalogue)
        for each in fields(catalogue):
            reply: Reply = getattr(catalogue, each.name)
            places = set(re.findall(r"{(\w+)}", reply.text))
            found = names.of(reply.fill(**dict.fromkeys(places, "[x]. 5 {y}\nz")))
            if found != each.name:  # another says the very same
                self.assertEqual(getattr(catalogue, found), reply)
        self.assertEqual(names.of(Reply(221, "2.0.0", "Until  next  time")), "other")

    def test_exceptions(self) -> None:
        server = Server.scripted(Script(commit=Answer(result=RuntimeError("oops"))))
        metrics = self.started(smtp=server)
        server.connect().hello().message()
        self.flushLoggedErrors(RuntimeError)
        self.assertEqual(self.read(metrics)["exceptions_total"], 1)
        self.assertEqual(self.changed(metrics, "messages_total"), {"{result=deferred}": 1})
        self.assertEqual(self.changed(metrics, "refusals_total"), {"{reply=local_error}": 1})
        self.assertEqual(self.read(metrics)["connections_total"], 1)


class LimitTests(MetricsTestCase):
    def hits(self, metrics: Metrics) -> dict[str, float]:
        return {key[7:-1]: value for key, value in self.changed(metrics, "limits_hit_total").items()}

    def test_names(self) -> None:
        """They are names of replies, and of limits."""
        self.assertLessEqual(LIMITS.keys(), {each.name for each in fields(Catalogue)})
        self.assertLessEqual(
            {each.replace("-", "_") for each in LIMITS.values()}, {each.name for each in fields(Limits)}
        )

    def test_none_is_forgotten(self) -> None:
        """Each reply that the guide says a limit of that belongs to is among them."""
        page = (ROOT / "docs" / "operating.rst").read_text()
        told = re.findall(r"^   :(\w+): ((?:.*\n)(?:      .*\n)*)", page, re.MULTILINE)
        self.assertGreater(len(told), 50)
        of_limits = {name for name, text in told if "``limits." in text and not name.startswith(("unrec", "hello"))}
        self.assertLessEqual(of_limits, LIMITS.keys())

    def test_of_connections(self) -> None:
        server = Server(limits=Limits(connections=2, connections_per_client=1))
        metrics = self.started(smtp=server)
        for peer in "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3":
            server.connect(peer)
        self.assertEqual(self.hits(metrics), {"connections-per-client": 1, "connections": 2})

    def test_of_commands(self) -> None:
        server = Server(limits=Limits(unknown_commands=2, idle_commands=1, recipients=1, message_size=10))
        metrics = self.started(smtp=server)
        server.connect().hello().say("X", "Y")
        server.connect().hello().say("NOOP", "NOOP")
        server.connect().hello().say("NOOP " + "x" * 600, "GET / HTTP/1.1")
        client = server.connect().hello().begin("b@mx.test", "c@mx.test")
        client.say("DATA")
        client.send(b"twelve octets\r\n.\r\n")
        self.assertEqual(
            self.hits(metrics),
            {
                "unknown-commands": 1,
                "idle-commands": 1,
                "command-line": 1,
                "not-smtp": 1,
                "recipients": 1,
                "message-size": 1,
            },
        )

    def test_of_time(self) -> None:
        server = Server(limits=Limits(idle_time=10))
        metrics = self.started(smtp=server)
        server.connect().hello()
        server.clock.pump([1] * 15)
        self.assertEqual(self.hits(metrics), {"idle-time": 1})


class AuthenticationTests(MetricsTestCase):
    def test_results(self) -> None:
        server = secured(Passwords(), limits=Limits(auth_failures=2))
        metrics = self.started(smtp=server)
        self.assertEqual(authenticate(server.connect().hello(), "PLAIN")[-1][:3], "235")
        client = server.connect().hello()
        for _ in range(2):
            authenticate(client, "LOGIN", WRONG)
        self.assertEqual(
            {
                frozenset(re.findall(r"=([\w-]+)", key)): value
                for key, value in self.changed(metrics, "auth_attempts_total").items()
            },
            {frozenset({"PLAIN", "succeeded"}): 1, frozenset({"LOGIN", "failed"}): 2},
        )
        self.assertEqual(self.changed(metrics, "limits_hit_total"), {"{limit=auth-failures}": 1})

    def test_mechanisms_that_there_are_not(self) -> None:
        server = secured(Passwords())
        metrics = self.started(smtp=server)
        client = server.connect().hello()
        for n in range(20):
            self.assertEqual(client.codes(f"AUTH X-{n} AAAA"), ["504 5.5.4"])
        self.assertEqual(self.changed(metrics, "auth_attempts_total"), {})
        self.assertEqual(self.changed(metrics, "refusals_total"), {"{reply=mechanism_unknown}": 20})


class BoundTests(MetricsTestCase):
    """No client can make a label."""

    def talk(self, client: Client, word: str) -> None:
        client.say(f"EHLO {word}", f"{word} {word}", f"MAIL FROM:<{word}@x>", f"MAIL FROM:<a@x> {word}={word}")
        client.say(
            "MAIL FROM:<a@x>", f"RCPT TO:<{word}@mx.test>", f"AUTH {word} {word}", f"VRFY {word}", f"HELP {word}"
        )
        client.say("RCPT TO:<b@mx.test>", "DATA")
        client.send(f"{word}\r\n.\r\n".encode())
        client.say(f"EXPN {word}", f"BDAT {word}", f"QUIT {word}", "QUIT")

    def labels(self, word: str) -> set[str]:
        server = secured(Passwords(), limits=Limits(unknown_commands=100, idle_commands=1000))
        metrics = self.started(smtp=server)
        self.talk(server.connect(), word)
        return {*self.read(metrics)}

    @given(st.text('abcdefghijklmnopqrstuvwxyz0123456789-.=@"{}\\', min_size=1, max_size=30))
    def test_words(self, word: str) -> None:
        known = {each.name for each in fields(Catalogue)} | {"other"}
        for key in self.labels(word):
            for label, value in re.findall(r"(\w+)=([^,}]*)", key):
                if label == "reply":
                    self.assertIn(value, known)
                elif label == "code":
                    self.assertRegex(value, r"^[2-5]\d\d$")
                else:
                    self.assertIn(label, ("le", "limit", "result"), key)

    def test_how_many(self) -> None:
        """However many connections there are, the samples are the same."""
        server = secured(Passwords(), limits=Limits(unknown_commands=100, idle_commands=1000))
        metrics = self.started(smtp=server)
        sizes = set()
        for n in range(10):
            self.talk(server.connect(f"192.0.2.{n + 1}"), f"w{n}")
            sizes.add(len(self.read(metrics)))
        self.assertEqual(len(sizes), 1)


class SeveralTests(MetricsTestCase):
    """Each counts for itself."""

    def test_two_of_one_process(self) -> None:
        servers = [secured(Passwords()) for _ in range(2)]
        metrics = [self.started(smtp=each) for each in servers]
        client = servers[0].connect().hello()
        client.message()
        authenticate(client, "PLAIN")
        client.vanish()
        servers[1].connect().hello()
        for name in "messages_total", "auth_attempts_total", "connection_duration_seconds_count", "recipients_total":
            self.assertTrue(self.changed(metrics[0], name), name)
            self.assertEqual(self.changed(metrics[1], name), {}, name)
        self.assertEqual(self.changed(metrics[1], "replies_total"), {"{code=220}": 1, "{code=250}": 1})

    def test_two_protocols(self) -> None:
        smtp, lmtp = Server(), Server()
        metrics = self.started(smtp=smtp, lmtp=lmtp)
        smtp.connect().hello().message()
        for _ in range(2):
            lmtp.connect().hello().message()
        self.assertEqual(
            self.changed(metrics, "messages_total"), {"{result=accepted}": 1, "{protocol=lmtp,result=accepted}": 2}
        )

    def test_twice_of_one(self) -> None:
        """As an application may, whatever the service does."""
        server = Server()
        first, second = self.started(smtp=server), self.started(smtp=server)
        server.connect().hello()
        for each in first, second:
            self.assertEqual(self.changed(each, "replies_total"), {"{code=220}": 1, "{code=250}": 1})


class LifeTests(MetricsTestCase):
    def test_stopped(self) -> None:
        """Nothing is left, and what was counted stays."""
        server = Server()
        octets = server.factory.registry.reply_octets
        metrics = Metrics({"smtp": server.factory})
        metrics.start()
        self.assertIsNot(server.factory.registry.reply_octets, octets)
        server.connect().hello().message()
        metrics.stop()
        self.assertIs(server.factory.registry.reply_octets, octets)
        self.assertNotIn(metrics, globalLogPublisher._observers)
        server.connect().hello().message()
        self.assertEqual(self.changed(metrics, "messages_total"), {"{result=accepted}": 1})
        metrics.start()
        server.connect().hello().message()
        metrics.stop()
        self.assertEqual(self.changed(metrics, "messages_total"), {"{result=accepted}": 2})

    def test_off(self) -> None:
        """Nothing is in the way of a reply or an event where nobody has asked for metrics."""
        observers = [*globalLogPublisher._observers]
        service = SMTPService(Config(listen=("tcp:25",), hostname="mx.test", delivery="discard:"), MemoryReactorClock())
        service.startService()
        self.assertIsNone(service.monitor)
        self.assertIsInstance(service.factory.registry.reply_octets, attrgetter)
        self.assertEqual(globalLogPublisher._observers, observers)
        self.successResultOf(service.stopService())

    def test_by_another_thread(self) -> None:
        """Scrapes do not come in the thread of the reactor."""
        server = Server()
        metrics = self.started(smtp=server)
        stop, errors, scrapes = threading.Event(), [], []

        def scrape() -> None:
            try:
                while not stop.is_set():
                    scrapes.append(self.read(metrics))
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=scrape)
        thread.start()
        for n in range(300):
            client = server.connect(f"192.0.2.{n % 250 + 1}").hello()
            client.message()
            if n % 2:
                client.vanish()
        stop.set()
        thread.join()
        scrapes.append(self.read(metrics))
        self.assertEqual(errors, [])
        self.assertEqual(scrapes[-1]["messages_total{result=accepted}"], 300)
        rising = [name for name in scrapes[-1] if name.endswith("_total") or "_total{" in name]
        for earlier, later in pairwise(scrapes):
            for name in rising:
                self.assertLessEqual(earlier.get(name, 0), later.get(name, 0), name)


class DocumentationTests(SynchronousTestCase):
    def test_all_are_told_of(self) -> None:
        """The operator's guide has each metric with its labels, and none that there is not."""
        page = (ROOT / "docs" / "operating.rst").read_text()
        section = page.partition("\n.. _metrics:\n")[2].partition("\n.. _")[0]
        rows = re.findall(r"^   \* - ``(twistsmtp_\w+)``\n     - (.*)\n     - \S", section, re.MULTILINE)
        told = {name: tuple(re.findall(r"``(\w+)``", labels)) for name, labels in rows}
        self.assertEqual(
            told,
            {f"twistsmtp_{each.name}" + "_total" * (each.kind == "counter"): each.labels for each in FAMILIES},
        )

    def test_values(self) -> None:
        """So it has the values of labels that do not speak for themselves."""
        page = (ROOT / "docs" / "operating.rst").read_text()
        for each in (*RESULTS, "succeeded", "failed", "abandoned", "other"):
            self.assertIn(f"``{each}``", page)
