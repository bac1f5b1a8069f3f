"""LMTP: a reply for each recipient."""

from typing import Any

from tests.compat.aiosmtpd.kit import Keeper, MemoryTestCase
from twistsmtp.compat.aiosmtpd.lmtp import LMTP

THREE = ["a@b.test", "b@b.test", "c@b.test"]


class Replies(MemoryTestCase):
    def answers(self, handler: Any, recipients: list[str] = THREE, message: bytes = b"x\r\n") -> list[str]:
        memory = self.connect(handler, LMTP)
        memory.say("LHLO x")
        answers = memory.mail(message, recipients).split(" / ")
        self.assertEqual(memory.say("NOOP"), ["250 OK"])
        return answers

    def test_one_for_each_recipient(self) -> None:
        """RFC 2033 section 4.2. The original has one, and a client that keeps to it waits for the others."""
        for count in (1, 2, 3):
            self.assertEqual(self.answers(Keeper(), THREE[:count]), ["250 OK"] * count)

    def test_a_refusal_is_one_for_each_as_well(self) -> None:
        self.assertEqual(
            self.answers(Keeper(), message=b"x" * 2000 + b"\r\n"), ["500 Line too long (see RFC5321 4.5.3.1.6)"] * 3
        )

    def test_programs_that_help_themselves(self) -> None:
        class Joined:
            async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
                return "\r\n".join(f"250 for {each[0]}" for each in envelope.rcpt_tos)

        class Pushed:
            async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
                *others, last = (f"250 for {each[0]}" for each in envelope.rcpt_tos)
                for each in others:
                    await server.push(each)
                return last

        class Mixed:
            async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
                return "250-first\r\n250 of two lines\r\n450 for the others"

        class Octets:
            async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> bytes:
                return b"\r\n".join(b"250 for %c" % each[0].encode() for each in envelope.rcpt_tos)

        for handler in (Joined(), Pushed(), Octets()):
            self.assertEqual(self.answers(handler), ["250 for a", "250 for b", "250 for c"])
        self.assertEqual(
            self.answers(Mixed()), ["250-first|250 of two lines", "450 for the others", "450 for the others"]
        )
