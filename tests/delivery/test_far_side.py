"""A far side that says anything at any step, or dies there: what we call accepted was accepted, what we refuse was not,
each verdict is the one that was said, and the end of a message never goes out twice."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from tests.client.kit import ALL, GONE, Far, Net, extensions
from tests.delivery.test_relay import RelayTestCase
from tests.lmtp import LMTPServer
from tests.support import Server, split_replies
from twistsmtp.client import Destination, Timeouts
from twistsmtp.delivery.lmtp import LMTP
from twistsmtp.delivery.relay import Relay
from twistsmtp.limits import Limits

#: PIPELINING and CHUNKING, each with and without the other.
OFFERS = (ALL, extensions("PIPELINING"), extensions("CHUNKING", "BINARYMIME"), ())
#: A reply of each class that there is; and silence, the end, and what is no reply.
YES, MORE, BYE, LATER, NEVER = (
    "251 2.1.5 Yes",
    "354 Go on",
    "421 4.3.2 Bye",
    "451-4.3.0 Not\r\n451 4.3.0 now",
    "554 5.7.1 Never",
)
#: Behind these nothing more can be said on the connection.
OVER = frozenset({BYE, "", GONE, "nonsense"})
SAYS = (YES, MORE, BYE, LATER, NEVER, "", GONE, "nonsense")
#: Several chunks long.
MESSAGE = b"Subject: x\r\n\r\n" + (b"x" * 900 + b"\r\n") * 80
TO = ("b@mx.test", "c@mx.test")
TIMES = Timeouts(opening=50, command=50, data=50, end=50, block=50)
PATIENT = Limits(answer_time=3600, idle_time=3600, data_time=36_000, data_rate=1, data_window=3600)


def cases(*, lmtp: bool) -> Iterator[tuple[tuple[str, ...], str, str]]:
    for offers, says in product(OFFERS, SAYS):
        chunking = "CHUNKING" in offers
        if offers in {ALL, ()}:  # how it begins has nothing to do with these
            for step in ("greeting", "LHLO" if lmtp else "EHLO", "MAIL"):
                yield offers, step, says
        for step in ("RCPT 1", "RCPT 2", "end 1"):
            yield offers, step, says
        yield offers, "BDAT" if chunking else "DATA", says
        if lmtp:
            yield offers, "end 2", says
        if says in {BYE, LATER, NEVER, GONE}:  # there is nothing to be asked for, so that all else is no answer
            yield offers, "body", says


def word(says: str) -> str:
    """The code that our client is to hear for what the far side says."""
    return {YES: "250", NEVER: "554"}.get(says, "451")


class FarSideTests(RelayTestCase):
    lmtp = False

    def begin(self, offers: tuple[str, ...]) -> None:
        """A far side where all is well, and a server in front of it."""
        self.spoilt: dict[str, str] = {}
        self.net = Net(lambda: Far(offers, self.spoilt, lmtp=self.lmtp))
        destination = Destination(host="far.test", lmtp=self.lmtp, timeouts=TIMES)
        self.relay = (LMTP if self.lmtp else Relay)(destination, pool=self.net.pool())
        kind: Any = LMTPServer if self.lmtp else Server
        self.server = kind(self.relay, reactor=self.net.clock, limits=PATIENT)
        self.server.clock = self.net.clock
        self.client = self.connect()

    def spoil(self, replies: dict[str, str], *, new: bool = True) -> None:
        """From now on the far side says this.

        :param new: on new connections as well.
        """
        self.spoilt = replies if new else {}
        for far in self.net.fars:
            far.replies = replies
            far._counts.clear()

    def message_of(self, to: tuple[str, ...] = TO) -> tuple[list[str], list[str]]:
        """Send a message, with all the time that it takes: the codes behind RCPT, and those of the message."""
        self.assertEqual(self.hear(b"MAIL FROM:<>\r\n"), ["250"])
        taken = [code for each in to for code in self.hear(f"RCPT TO:<{each}>\r\n".encode())]
        [data] = self.hear(b"DATA\r\n")
        if data != "354":
            self.hear(b"RSET\r\n")
            return taken, [data]
        return taken, self.hear(MESSAGE + b".\r\n", taken.count("250") if self.lmtp else 1)

    def hear(self, octets: bytes, count: int = 1) -> list[str]:
        """Send *octets*: the codes of so many replies, when they have come."""
        said = split_replies(self.send(octets))
        for _ in range(20):
            if len(said) >= count:
                break
            self.net.clock.advance(10)
            said += split_replies(self.send(b""))
        self.assertEqual(len(said), count, octets[:20])
        return [each[:3] for each in said]

    def ends(self) -> int:
        """How often the end of a message went out."""
        sent = (b"".join(end.written) for end in self.net.ends)
        return sum(octets.count(b" LAST\r\n") + octets.count(b"\r\n.\r\n") for octets in sent)

    def expected(self, step: str, says: str, *, kept: bool) -> tuple[list[str], list[str]]:
        """What our client is to hear behind RCPT, and of the message."""
        fine, none = ["250", "250"] if self.lmtp else ["250"], ["503" if self.lmtp else "554"]
        code, over = word(says), says in OVER
        match step:
            case "greeting" | "EHLO" | "LHLO":
                # Where EHLO is not known there is HELO.
                well = kept or (step == "EHLO" and says in {YES, MORE, NEVER})
                return (["250", "250"], fine) if well else (["451", "451"], none)
            case "MAIL":
                return [code, code], fine if code == "250" else none
            case "RCPT 1":
                return ["451" if over else code, "451" if over else "250"], none if over else self.of(code, "250")
            case "RCPT 2":
                return ["250", code], ["451"] if over else self.of("250", code)
            case "DATA" if says != MORE:
                return ["250", "250"], ["554" if says == NEVER else "451"]
            case "BDAT" | "body":
                return ["250", "250"], ["554" if says == NEVER else "451"] * len(fine)
            case "end 1" if self.lmtp and not says:  # what it says of the other is the first that is heard
                return ["250", "250"], ["250", "451"]
            case "end 1" if self.lmtp:  # behind what is no reply, none is believed
                return ["250", "250"], ["451", "451"] if says in {*OVER, MORE} - {BYE} else [code, "250"]
            case "end 1" | "end 2":
                return ["250", "250"], [*fine[1:], code]
        return ["250", "250"], fine

    def of(self, *rcpt: str) -> list[str]:
        """What is said of a message that is taken for those that were."""
        return ["250"] * rcpt.count("250") if self.lmtp else ["250"]

    def test_whatever_it_says(self) -> None:
        for kept, (offers, step, says) in product((False, True), cases(lmtp=self.lmtp)):
            if kept and offers != ALL:
                continue
            case = f"{kept=} {offers=} {step=} {says=}"
            self.begin(offers)
            if kept:
                self.message_of()
            before, ends = len(self.taken()), self.ends()
            self.spoil({step: says})
            heard = self.message_of()
            self.assertEqual(heard, self.expected(step, says, kept=kept), case)

            # Of what was called accepted it has one, for those who were taken; of what was not it has none, but where
            # nobody can know.
            taken, sent = self.taken()[before:], self.ends() - ends
            rcpt, verdicts = heard
            accepted = "250" in verdicts
            if accepted or not (self.lmtp and step.startswith("end")):
                self.assertEqual(len(taken), accepted, case)
            if accepted:
                self.assertTrue(taken[0].endswith(MESSAGE), case)
                [(_, to, _)] = [each for far in self.net.fars for each in far.taken][before:]
                self.assertEqual(len(to), rcpt.count("250"), case)
            self.assertEqual(sent, accepted or step.startswith("end") or (sent and step == "body"), case)

            # And then, when all is well with it, all is well.
            self.spoil({})
            self.assertEqual(self.message_of(), (["250", "250"], ["250"] * (2 if self.lmtp else 1)), case)
            self.assertEqual((len(self.taken()), self.ends()), (before + len(taken) + 1, ends + sent + 1), case)
            self.relay.stop()
            self.net.turn()
            self.net.clock.advance(20)
            self.net.turn()
            self.assertTrue(all(end.lost for end in self.net.ends), case)

    def test_a_message_that_is_given_up(self) -> None:
        """Whatever it says to that, nothing of it is there, and the next message is."""
        for offers, says in product(OFFERS, SAYS):
            self.begin(offers)
            self.spoil({"RSET": says})
            for begun in range(len(TO) + 1):
                self.hear(b"MAIL FROM:<>\r\n")
                for each in TO[:begun]:
                    self.hear(f"RCPT TO:<{each}>\r\n".encode())
                self.hear(b"RSET\r\n")
            rcpt, verdicts = self.message_of()
            self.assertEqual({*rcpt, *verdicts}, {"250"}, (offers, says))
            self.assertEqual((len(self.taken()), self.ends()), (1, 1), (offers, says))

    def test_what_was_kept_is_gone(self) -> None:
        """That is seen at MAIL, and MAIL is all that is said again, once."""
        for offers, says, step in product(OFFERS, (GONE, BYE), ("MAIL", "RCPT 1", "DATA", "BDAT", "body", "end")):
            if step == ("DATA" if "CHUNKING" in offers else "BDAT"):
                continue
            self.begin(offers)
            self.message_of()
            self.spoil({step: says}, new=False)
            _, verdicts = self.message_of()
            well = step == "MAIL"
            self.assertEqual("250" in verdicts, well, (offers, step, says))
            self.assertEqual(len(self.taken()), 1 + well)
            self.assertEqual(len(self.net.fars), 1 + well, (offers, step, says))
            self.assertEqual(self.ends(), 1 + (well or step == "end" or (step == "body" and self.ends() > 1)))


class LMTPFarSideTests(FarSideTests):
    lmtp = True
