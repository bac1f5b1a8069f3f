"""How checks are made, and what becomes of them."""

from collections.abc import Iterator
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.kit import context, judge, target
from tests.conformance.server import Defects, Server
from tests.docs.pages import all_blocks
from twistsmtp.conformance import check as check_module
from twistsmtp.conformance import topics  # noqa: F401  # which adds the checks
from twistsmtp.conformance.check import CHECKS, MUST, Check, check
from twistsmtp.conformance.link import Link, Unreachable
from twistsmtp.conformance.runner import SILENT, Verdict, make
from twistsmtp.conformance.talk import Skipped, Start, Talk


def noop() -> Check:
    return CHECKS["session.noop-argument"]


class MakeTests(SynchronousTestCase):
    """`make`."""

    def test_time_is_over(self) -> None:
        """When its seconds are gone, what is left is skipped, and that is no success."""
        seconds = iter(range(100))
        with Server(context(), Defects()) as running:
            results = list(make(target(running.port), [noop()] * 4, 6, clock=lambda: float(next(seconds))))
        self.assertEqual([each.verdict for each in results], [Verdict.PASS] * 3 + [Verdict.SKIP])
        self.assertEqual(results[-1].reason, "6 seconds were over")
        self.assertTrue(results[-1].wanted)

    def test_gone(self) -> None:
        """Where there are no connections any more, none are tried."""
        with Server(context(), Defects()) as running:
            port = running.port
        results = list(make(target(port), [noop()] * 3, 60))
        self.assertEqual({each.verdict for each in results}, {Verdict.SKIP})
        self.assertEqual(len({each.reason for each in results}), 1)
        self.assertTrue(all(each.wanted for each in results))

    def test_silent(self) -> None:
        """A server that answers nothing any more is given up on."""
        hangs = Defects(greeting="220-mx.test")
        with Server(context(), hangs) as running:
            results = list(make(target(running.port, timeout=0.02), [noop()] * (SILENT + 2), 60))
        self.assertEqual(results[0].reason, "on the way there: no reply in time")
        self.assertEqual({each.reason for each in results[SILENT:]}, {"the server answers nothing any more"})

    def test_not_for_this_server(self) -> None:
        """What does not concern a server is skipped, and that is as it should be."""
        with Server(context(), Defects(flags=frozenset({"no-DSN"}))) as running:
            wanted = [CHECKS[id] for id in ("dsn.ret", "lmtp.helo", "login.twice")]
            results = list(make(target(running.port), wanted, 60))
        self.assertEqual(
            [each.reason for each in results], ["DSN not offered", "only for LMTP", "there is no account (--user?)"]
        )
        self.assertFalse(any(each.wanted for each in results))

    def test_patience(self) -> None:
        """A check cannot take longer than it may, whatever the server sends."""
        with Server(context(), Defects()) as running:
            [result] = make(target(running.port, patience=0.0), [noop()], 60)
        self.assertIn("has taken more than 0 seconds", result.reason)


class CheckTests(SynchronousTestCase):
    """`check`."""

    def test_mistakes(self) -> None:
        """A check that is there already, that says nothing, or needs what it cannot know, is a mistake."""

        def quiet(talk: Talk) -> None:
            pass

        for id, more in (
            ("session.noop", {"says": "x"}),
            ("new.one", {}),
            ("new.two", {"says": "x", "needs": ["DSN"]}),
        ):
            with self.assertRaises(ValueError):
                check(id, 5321, "4", MUST, start=Start.GREETED, **more)(quiet)


class PageTests(SynchronousTestCase):
    """docs/conformance.rst."""

    def test_check_of_ones_own(self) -> None:
        """The check that it shows is one, and finds what it is about."""
        self.patch(check_module, "CHECKS", {})
        [page] = [each for each in all_blocks("python") if each.page == "conformance.rst"]
        exec(compile(page.text, str(page), "exec"), {})
        [made] = check_module.CHECKS.values()
        for defects, verdict in (
            (Defects(), Verdict.PASS),
            (Defects(flags=frozenset({"keeps-transaction"})), Verdict.FAIL),
        ):
            self.assertEqual(judge(made, defects).verdict, verdict)


class LinkTests(SynchronousTestCase):
    """`Link`."""

    def test_record_is_bounded(self) -> None:
        """The record keeps its ends."""
        with Server(context(), Defects()) as running:
            link = Link(target(running.port))
            self.addCleanup(link.close)
            for place in range(100):
                link.note(f"{place}")
        record = link.record
        self.assertLess(len(record), 40)
        self.assertEqual((record[0], record[-1]), ("0", "99"))
        self.assertTrue([line for line in record if "more" in line])

    def test_password_only_under_tls(self) -> None:
        """A password goes to a server elsewhere under TLS alone."""
        with Server(context(), Defects()) as running:
            settings = target(running.port, user="ann", password="secret")
            link = Link(settings)
            self.addCleanup(link.close)
            self.patch(Link, "is_local", False)
            with self.assertRaises(Skipped) as raised:
                Talk(settings, link).log_in()
        self.assertIn("without TLS", str(raised.exception))
        self.assertNotIn("secret", repr(settings))

    def test_no_tls(self) -> None:
        """A server that speaks plain text where TLS is to be has no connection."""
        with Server(context(), Defects()) as running, self.assertRaises(Unreachable):
            from twistsmtp.conformance.target import Security

            Link(replace(target(running.port), security=Security.IMPLICIT))


class RepliesTests(SynchronousTestCase):
    """Replies, however they come and whatever is wrong with them."""

    def read(self, *pieces: bytes) -> Iterator[tuple[int, tuple[str, ...], tuple[str, ...]]]:
        from twistsmtp.conformance.replies import ReplyReader

        reader = ReplyReader()
        for piece in pieces:
            reader.feed(piece)
            while (reply := reader.next()) is not None:
                yield reply.code, reply.lines, reply.problems

    def test_pieces(self) -> None:
        """A reply is one wherever it is cut."""
        octets = b"250-mx.test\r\n250-SIZE 10\r\n250 HELP\r\n221 Bye\r\n"
        whole = [(250, ("mx.test", "SIZE 10", "HELP"), ()), (221, ("Bye",), ())]
        for place in range(len(octets)):
            self.assertEqual(list(self.read(octets[:place], octets[place:])), whole)

    def test_problems(self) -> None:
        """What is wrong is noted, and the reply is read all the same."""
        for octets, said in (
            (b"250 OK\n", "does not end with CRLF"),
            (b"250-a\r\n251 b\r\n", "different codes"),
            (b"250\r\n", "without a space"),
            (b"hello\r\n", "does not begin with a code"),
            (b"650 OK\r\n", "no place for"),
            (b"250 \x1b[2J\r\n", "neither printable"),
            (b"250 a\rb\r\n", "neither printable"),
            (b"250 " + b"x" * 507 + b"\r\n", "a line of 513 octets"),
        ):
            [(_, _, problems)] = self.read(octets)
            self.assertTrue([each for each in problems if said in each], f"{octets!r}: {problems}")
        for octets in (b"250 \r\n", b"250 " + b"x" * 506 + b"\r\n", b"334 " + b"x" * 600 + b"\r\n", b"250 a\tb\r\n"):
            [(_, _, problems)] = self.read(octets)
            self.assertEqual(problems, (), octets)

    def test_endless(self) -> None:
        """A reply has an end."""
        [(code, _, problems)] = self.read(b"220-x\r\n" * 40000)
        self.assertEqual(code, 220)
        self.assertIn("a reply without end", problems)
