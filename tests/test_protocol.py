"""Octets to verbs and back: command lines, batches of them, and how many there may be."""

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.scripted import LATER, Answer, How, Script, ScriptedDelivery
from tests.support import Client, Server, cuts, split_replies
from twistsmtp.extensions import load_extensions
from twistsmtp.limits import Limits
from twistsmtp.session import Session
from twistsmtp.verb import Extension
from twistsmtp.verbs import CORE
from twistsmtp.wire.address import PathLimits
from twistsmtp.wire.grammar import REMEMBERED
from twistsmtp.wire.reply import Refusal, Reply

CORE_MAIL = next(verb for verb in CORE if verb.name == "MAIL")
NO = Refusal(Reply(550, "5.7.1", "No"))


def connected(**settings: Any) -> Client:
    client = Server(**settings).connect()
    client.read()
    return client


class LineTests(SynchronousTestCase):
    """RFC 5321 section 2.3.8: only CRLF ends a line, and nothing else may look like it."""

    def test_bare_newlines_in_a_command(self) -> None:
        client = connected()
        for line in (
            b"NOOP\nNOOP",
            b"NOOP\rNOOP",
            b"NOOP\r",
            b"\nNOOP",
            b"NOOP\n",
            b"\rNOOP",
            b"NOOP x\ny",
            b"\n",
            b"\r",
        ):
            self.assertEqual(client.codes(line), ["500 5.5.2"], line)

    def test_a_bare_newline_ends_nothing(self) -> None:
        client = connected()
        self.assertEqual(client.send(b"NOOP\n"), b"")
        self.assertEqual(client.send(b"QUIT\n"), b"")
        self.assertEqual(client.send(b"NOOP\r"), b"")
        self.assertEqual(client.codes(""), ["500 5.5.2"])
        self.assertFalse(client.closed)

    def test_other_control_characters(self) -> None:
        client = connected(limits=Limits(errors=1000))
        for code in (*range(9), 11, 12, *range(14, 32), 127):
            for line in (b"NOOP%c", b"%cNOOP", b"NOOP x%cy", b"NO%cOP"):
                self.assertEqual(client.codes(line % code), ["500 5.5.2"], line % code)
        for text in ("\x80", "\x85", "\x9b", "\u2028", "\u2029", "\u202e"):
            self.assertEqual(client.codes(f"NOOP {text}"), ["500 5.5.2"])

    def test_octets_that_are_no_utf8(self) -> None:
        for line in (b"NOOP \xff", b"\x80\x81", b"MAIL FROM:<\xe4@client.test>", b"\xfe\xff\0N\0O\0O\0P"):
            self.assertEqual(connected().codes(line), ["500 5.5.2"], line)

    def test_empty_lines(self) -> None:
        for line in ("", " ", "\t", " NOOP"):
            self.assertEqual(connected().codes(line), ["500 5.5.2"], line)

    def test_what_is_no_verb(self) -> None:
        for line in ("XYZ", "NOOPS", "NOO", "MAIL:FROM", "EHLO\u00a0x", "ÄÖÜ", "MA\u0131L FROM:<>", "<>", "-"):
            self.assertEqual(connected().say(line), ["500 5.5.1 Command not recognized"], line)

    def test_no_reply_repeats_what_was_sent(self) -> None:
        client = connected(limits=Limits(unknown_commands=100))
        for line in ("XEVIL", "EHLO <evil>", "HELP XEVIL", "NOOP XEVIL", "VRFY XEVIL", "MAIL XEVIL", "RSET XEVIL"):
            self.assertNotIn("EVIL", client.say(line)[0].upper(), line)


class RecurringLineTests(SynchronousTestCase):
    """Lines that come again are not cut up again; what they do is asked anew each time."""

    def remembered(self, server: Server) -> list[bytes]:
        lines = server.factory.registry.lines_within(Limits())
        return [line for line in lines if not line.startswith(b"EHLO")]

    def test_they_do_the_same_again(self) -> None:
        server = Server()
        first, second = server.connect().hello(), server.connect().hello()
        for client in (first, second, first, second):
            self.assertEqual(
                client.codes("mail from:<a@client.test>", "RCPT  To:<b@mx.test> "), ["250 2.1.0", "250 2.1.5"]
            )
            self.assertEqual(client.codes("data"), ["354"])
            self.assertEqual(client.codes("Subject: again", "", "."), ["250 2.0.0"])
        self.assertEqual(self.remembered(server), [b"mail from:<a@client.test>", b"RCPT  To:<b@mx.test> ", b"data"])

    def test_the_stage_and_the_parameters_are_the_sessions_own(self) -> None:
        server = Server()
        line = "MAIL FROM:<a@client.test> BODY=8BITMIME"
        self.assertEqual(server.connect().hello().codes(line, line), ["250 2.1.0", "503 5.5.1"])
        stranger = server.connect()
        stranger.read()
        self.assertEqual(stranger.codes(line, "HELO client.test", line), ["503 5.5.1", "250", "555 5.5.4"])

    def test_none_that_may_have_a_secret(self) -> None:
        server = Server()
        client = server.connect().hello()
        client.say("AUTH PLAIN AGEAcGFzc3dvcmQ=", "VRFY somebody", "NOOP text", "HELP", "XYZ")
        self.assertEqual(self.remembered(server), [])

    def test_none_that_was_refused_as_a_line(self) -> None:
        server = Server()
        client = server.connect().hello()
        self.assertEqual(client.codes(b"DATA\n", b"\xff", b"MAIL\0FROM:<>"), ["500 5.5.2"] * 3)
        self.assertEqual(self.remembered(server), [])

    def test_no_long_ones_and_not_too_many(self) -> None:
        server = Server()
        client = server.connect().hello()
        client.say(f"MAIL FROM:<{'a' * 60}@{'b' * 40}.test>")
        self.assertEqual(self.remembered(server), [])
        for number in range(1500):
            client.say(f"RCPT TO:<b{number}@mx.test>")
            self.assertLessEqual(len(self.remembered(server)), REMEMBERED)
        self.assertIn(b"RCPT TO:<b1499@mx.test>", self.remembered(server))

    def test_what_is_wrong_is_said_each_time_and_in_its_turn(self) -> None:
        client = Server().connect().hello()
        for _ in range(2):
            self.assertEqual(client.codes("RCPT TO:<b@>", "MAIL FROM:<a@>"), ["503 5.5.1", "501 5.1.7"])
        client.say("MAIL FROM:<a@client.test>")
        for _ in range(2):
            self.assertEqual(client.codes("MAIL FROM:<a@>", "RCPT TO:<b@>"), ["503 5.5.1", "501 5.1.3"])

    def test_paths_are_the_same_value_and_others_are_read_anew(self) -> None:
        """Of a client that may not say so a parameter is refused, though another's was taken."""
        server = Server()
        client = server.connect().hello()
        paths = []
        for line in (
            "<a@client.test>",
            "<a@client.test>",
            "<a@client.test> SIZE=5",
            "<a@client.test> SIZE=5",
            "<>",
            "<>",
        ):
            client.say(f"MAIL FROM:{line}")
            paths.append(client.session.current.reverse_path)
            client.say("RSET")
        self.assertIs(paths[0], paths[1])
        self.assertIsNot(paths[2], paths[3])
        self.assertEqual(
            [(str(path), dict(path.parameters)) for path in paths[1::2]],
            [
                ("a@client.test", {}),
                ("a@client.test", {"SIZE": 5}),
                ("", {}),
            ],
        )

    def test_a_verb_of_ones_own_reads_its_argument_each_time(self) -> None:
        seen = []

        def parse(session: Session, argument: str) -> Any:
            seen.append(argument)
            return CORE_MAIL.parse(session, argument)

        made = Extension(name="own", keyword="X-OWN", verbs=(replace(CORE_MAIL, parse=parse),))
        client = Server(more_extensions=(made,)).connect().hello()
        client.say("MAIL FROM:<a@client.test>", "RSET", "MAIL FROM:<a@client.test>")
        self.assertEqual(seen, ["FROM:<a@client.test>"] * 2)

    def test_not_where_they_are_to_be_shorter(self) -> None:
        line = "MAIL FROM:<abcd@client.test>"
        for limits, replies in (
            (Limits(), ["250", "250"]),
            (Limits(path=PathLimits(local_part=3)), ["250", "553"]),
            (Limits(command_line=len(line) + 1), ["250", "500"]),
        ):
            server = Server(limits=limits, extensions=())
            for _ in range(2):  # on a connection that has understood it, and one that might remember
                client = server.connect()
                client.read()
                self.assertEqual(client.codes("HELO client.test", line), replies)
                server.factory.registry.remember(line.encode(), CORE_MAIL, line.removeprefix("MAIL "), Limits())


class LengthTests(SynchronousTestCase):
    """RFC 5321 section 4.5.3.1.4: 512 octets with the CRLF, and what extensions add to a command."""

    def padded(self, start: str, octets: int) -> bytes:
        return start.encode().ljust(octets - 2)

    def test_at_the_limit_and_one_over_it(self) -> None:
        for start, code, limit in (
            ("NOOP x", "250 2.0.0", 512),
            ("VRFY x", "252 2.0.0", 512),
            ("MAIL FROM:<>", "250 2.1.0", 512 + 26 + len(" BODY=BINARYMIME") + 10 + 500),
            ("RCPT TO:<b@mx.test>", "503 5.5.1", 512),
        ):
            names = ("size", "eightbitmime", "enhancedstatuscodes", "smtputf8", "auth")
            client = connected(extensions=load_extensions(names)).hello()
            self.assertEqual(client.codes(self.padded(start, limit + 1)), ["500 5.5.2"], start)
            self.assertEqual(client.codes(self.padded(start, limit)), [code], start)

    def test_without_extensions_nothing_is_added(self) -> None:
        client = connected(extensions=()).hello()
        self.assertEqual(client.codes(self.padded("MAIL FROM:<>", 513)), ["500"])
        self.assertEqual(client.codes(self.padded("MAIL FROM:<>", 512)), ["250"])

    def test_the_limit_can_be_set(self) -> None:
        client = connected(limits=Limits(command_line=1000))
        self.assertEqual(
            client.codes(self.padded("NOOP x", 1000), self.padded("NOOP x", 1001)), ["250 2.0.0", "500 5.5.2"]
        )

    def test_octets_are_counted_and_not_characters(self) -> None:
        client = connected()
        self.assertEqual(client.codes("NOOP " + "ä" * 252 + "x", "NOOP " + "ä" * 253), ["250 2.0.0", "500 5.5.2"])

    def test_every_length_however_it_comes(self) -> None:
        for length in (509, 510, 511, 512, 513, 562, 563, 600, 5000):
            line = b"NOOP " + b"x" * (length - 5)
            expected = ["250 2.0.0" if length <= 510 else "500 5.5.2", "250 2.0.0"]
            for positions in (
                (),
                (length,),
                (length + 1,),
                (length - 1, length, length + 1),
                range(0, length, 7),
                range(500, 570),
            ):
                client = connected()
                said = b"".join(map(client.send, cuts(line + b"\r\nNOOP\r\n", list(positions))))
                self.assertEqual([reply[:9] for reply in split_replies(said)], expected, (length, positions))

    def test_a_line_that_is_too_long_is_answered_once_at_its_end(self) -> None:
        client = connected()
        for _ in range(20):
            self.assertEqual(client.send(b"x" * 1000), b"")
        self.assertEqual(client.send(b"\r"), b"")
        self.assertEqual(client.codes(""), ["500 5.5.2"])
        self.assertEqual(client.codes("NOOP"), ["250 2.0.0"])

    def test_what_is_in_a_line_that_is_too_long_is_not_run(self) -> None:
        client = connected()
        self.assertEqual(client.codes(b"x" * 600 + b"\nQUIT\n" + b"x" * 600 + b"\rQUIT\r" + b"x" * 600), ["500 5.5.2"])
        self.assertFalse(client.closed)

    def test_a_line_without_an_end_ends_the_connection(self) -> None:
        client = connected()
        for _ in range(40):
            if client.closed:
                break
            client.send(b"x" * 65536)
        self.assertEqual(client.wire.writes[-1], b"421 4.7.0 Line without end\r\n")
        self.assertTrue(client.closed)

    def test_a_line_that_is_too_long_counts_as_an_error(self) -> None:
        client = connected(limits=Limits(errors=3))
        self.assertEqual(client.codes(*["x" * 600] * 3), ["500 5.5.1"] * 3 + ["421 4.7.0"])


class BatchTests(SynchronousTestCase):
    def test_the_replies_of_one_read_leave_in_one_write(self) -> None:
        client = connected()
        writes = len(client.wire.writes)
        self.assertEqual(len(client.say(*["NOOP"] * 50)), 50)
        self.assertEqual(len(client.wire.writes), writes + 1)

    def test_those_before_a_step_that_waits_leave_at_once(self) -> None:
        client = connected(delivery=ScriptedDelivery(Script(begin=Answer(How.DEFERRED)))).hello()
        self.assertEqual(client.codes("NOOP", "MAIL FROM:<>", "NOOP", "NOOP"), ["250 2.0.0"])
        writes = len(client.wire.writes)
        client.server.delivery.script.release()
        self.assertEqual(client.codes(), ["250 2.1.0", "250 2.0.0", "250 2.0.0"])
        self.assertEqual(len(client.wire.writes), writes + 1)

    def test_the_greeting_and_what_was_sent_early(self) -> None:
        client = Server().connect()
        self.assertEqual(client.codes("NOOP"), ["220", "250 2.0.0"])

    def test_a_bad_end_takes_the_replies_before_it_along(self) -> None:
        client = connected()
        writes = len(client.wire.writes)
        self.assertEqual(
            client.codes("NOOP", "NOOP", "GET / HTTP/1.1", "NOOP"), ["250 2.0.0", "250 2.0.0", "421 4.7.0"]
        )
        self.assertEqual(len(client.wire.writes), writes + 1)

    def test_two_connections_do_not_wait_for_each_other(self) -> None:
        server = Server(ScriptedDelivery(Script(How.DEFERRED)))
        one, two = server.connect().hello(), server.connect().hello()
        self.assertEqual((one.codes("MAIL FROM:<>", "NOOP"), two.codes("MAIL FROM:<>", "NOOP")), ([], []))
        server.delivery.script.release(1)
        self.assertEqual((one.codes(), two.codes()), ([], ["250 2.1.0", "250 2.0.0"]))
        server.delivery.script.release()
        self.assertEqual(one.codes(), ["250 2.1.0", "250 2.0.0"])


class LimitTests(SynchronousTestCase):
    """Limits on what a client says, each with a reply of its own."""

    def test_errors(self) -> None:
        client = connected(limits=Limits(errors=4))
        self.assertEqual(
            client.codes("DATA", "DATA", "NOOP", "DATA", "DATA", "NOOP"),
            ["503 5.5.1"] * 2 + ["250 2.0.0"] + ["503 5.5.1"] * 2 + ["421 4.7.0"],
        )
        self.assertEqual(client.wire.writes[-1].splitlines()[-1], b"421 4.7.0 Too many errors")
        self.assertTrue(client.closed)

    def test_a_message_that_is_accepted_makes_good(self) -> None:
        client = connected(limits=Limits(errors=3)).hello()
        for _ in range(5):
            client.say("DATA", "DATA")
            self.assertEqual([reply[:3] for reply in client.message()], ["250"])
        self.assertFalse(client.closed)

    def test_a_message_that_is_refused_does_not(self) -> None:
        client = connected(limits=Limits(errors=3)).hello()
        for _ in range(2):
            client.message(b"a\nb\r\n")
        self.assertEqual([reply[:9] for reply in client.message(b"a\nb\r\n")], ["550 5.6.0", "421 4.7.0"])
        self.assertTrue(client.closed)

    def test_errors_later_count_too(self) -> None:
        for how in LATER:
            script = Script(begin=Answer(how, NO))
            client = Server(ScriptedDelivery(script), limits=Limits(errors=2)).connect().hello()
            client.say("MAIL FROM:<>", "MAIL FROM:<>", "NOOP")
            script.release_all()
            self.assertEqual(client.codes(), ["550 5.7.1", "550 5.7.1", "421 4.7.0"])
            self.assertTrue(client.closed)

    def test_unknown_commands(self) -> None:
        client = connected(limits=Limits(unknown_commands=3))
        self.assertEqual(
            client.codes("A", "B", "NOOP", "C", "NOOP"),
            ["500 5.5.1", "500 5.5.1", "250 2.0.0", "500 5.5.1", "421 4.7.0"],
        )
        self.assertEqual(client.wire.writes[-1].splitlines()[-1], b"421 4.7.0 Too many unrecognized commands")
        self.assertTrue(client.closed)

    def test_commands_that_move_no_mail(self) -> None:
        for command in ("NOOP", "RSET", "VRFY x", "EXPN x", "HELP", "EHLO client.test", "HELO client.test"):
            client = connected(limits=Limits(idle_commands=5))
            codes = client.codes(*[command] * 6)
            self.assertEqual(codes[5], "421 4.7.0", command)
            self.assertEqual(client.wire.writes[-1].splitlines()[-1], b"421 4.7.0 Too many commands without mail")
            self.assertTrue(client.closed)

    def test_commands_that_move_no_mail_between_messages(self) -> None:
        client = connected(limits=Limits(idle_commands=5)).hello()
        for _ in range(4):
            client.say(*["NOOP"] * 4)
            self.assertEqual([reply[:3] for reply in client.message()], ["250"])
            client.say("RSET")
        self.assertFalse(client.closed)

    def test_methods_of_http(self) -> None:
        for line in (
            "GET / HTTP/1.1",
            "POST /cgi HTTP/1.0",
            "get /",
            "CONNECT x:25 HTTP/1.1",
            "PRI * HTTP/2.0",
            "HEAD /",
        ):
            client = connected()
            self.assertEqual(client.say(line, "Host: x", "", "QUIT"), ["421 4.7.0 This is an SMTP server"])
            self.assertTrue(client.closed)

    def test_other_names_can_be_set(self) -> None:
        client = connected(limits=Limits(not_smtp=frozenset({"XKILL"})))
        self.assertEqual(client.codes("GET /", "XKILL"), ["500 5.5.1", "421 4.7.0"])

    def test_limits_belong_to_one_connection(self) -> None:
        server = Server(limits=Limits(errors=2, unknown_commands=2, idle_commands=2))
        for _ in range(5):
            client = server.connect()
            client.say("NOOP", "XYZ")
            self.assertFalse(client.closed)
