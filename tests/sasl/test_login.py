"""LOGIN."""

from twisted.trial.unittest import SynchronousTestCase

from tests.sasl.kit import CONTEXT, failure, talk
from twistsmtp.sasl.api import Challenge, Denied, Malformed
from twistsmtp.sasl.login import MECHANISM


class LoginTests(SynchronousTestCase):
    def test_a_login(self) -> None:
        done = talk("LOGIN", [b"tim", b"tanstaaf"])
        self.assertEqual(done.challenges, [b"Username:", b"Password:"])
        self.assertEqual((done.identity, done.error), (("tim", None), None))
        self.assertEqual((done.credentials.username, done.credentials.password), (b"tim", b"tanstaaf"))

    def test_the_username_may_come_with_the_command_and_the_password_may_not(self) -> None:
        machine = MECHANISM.start(CONTEXT)
        first, second = machine.send(None), machine.send(b"tim")
        self.assertIsInstance(first, Challenge)
        self.assertEqual([step.awaited for step in (first, second) if isinstance(step, Challenge)], [False, True])

    def test_the_password_is_wrong(self) -> None:
        self.assertIs(failure("LOGIN", b"tim", b"x", check=lambda credentials: False), Denied)

    def test_what_is_malformed(self) -> None:
        for responses in (
            [b""],
            [b"t\0m"],
            [b"\xff"],
            [b"a" * 1025],
            [b"tim", b""],
            [b"tim", b"\0"],
            [b"tim", b"\xff"],
        ):
            self.assertIs(failure("LOGIN", *responses), Malformed, responses)
