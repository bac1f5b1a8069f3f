"""Conversations, read."""

from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.testing.notation import Event
from twistsmtp.testing.transcript import Step, differences, parse


class ParseTests(SynchronousTestCase):
    def test_steps(self) -> None:
        steps = parse("""
            # what nobody reads

            S: 220 mx.test
            0.25 C: NOOP
            + C:
            T: 300
            300.5 C: (closes)
            """)
        self.assertEqual(
            steps,
            [
                Step("S", "220 mx.test"),
                Step("C", "NOOP", 0.25),
                Step("C", "", joined=True),
                Step("T", "300"),
                Step("C", "(closes)", 300.5),
            ],
        )
        self.assertEqual([step.event for step in steps], [None, None, None, None, Event.CLOSES])
        self.assertEqual(steps[2].tokens, [b"\r\n"])
        self.assertEqual(steps[4].tokens, [])
        self.assertEqual(str(steps[2]), "C:")

    def test_malformed(self) -> None:
        for line, said in (
            ("X: a", "line 2 is not of a conversation: 'X: a'"),
            ("C:a", "line 2 is not of a conversation: 'C:a'"),
            ("T: soon", "line 2: 'soon' is no time in seconds"),
            ("T: -1", "line 2: '-1' is no time in seconds"),
            ("T: nan", "line 2: 'nan' is no time in seconds"),
            ("C: \\q", "line 2: .* a backslash may stand before"),
        ):
            with self.assertRaisesRegex(ValueError, said):
                parse(f"S: 220\n{line}\n")

    def test_differences(self) -> None:
        self.assertEqual(differences(["a"], ["a"]), [])
        self.assertEqual(differences(["a", "b", "c"], ["a", "x", "c"]), ["  a", "- b", "+ x", "  c"])
