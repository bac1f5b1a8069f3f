"""Each check passes a server that is right, and fails one that is not."""

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.broken import broken_for
from tests.conformance.kit import judge
from tests.conformance.server import Defects
from twistsmtp.conformance import talk, topics
from twistsmtp.conformance.check import CHECKS, Check, Severity
from twistsmtp.conformance.runner import Verdict

SOUND = Defects()
#: Checks whose server is found out by its silence.
SILENT = {"data.empty", "lmtp.chunk-replies", "lmtp.replies", "pipelining.behind-message"}


class TopicTests(SynchronousTestCase):
    """The checks, topic by topic; `_tests` makes a test for each."""

    def find_out(self, check: Check) -> None:
        if check.id != "8bitmime.not-offered":
            sound = judge(check, SOUND)
            self.assertEqual((sound.verdict, sound.reason), (Verdict.PASS, ""), "\n".join(sound.record))
        self.patch(talk, "WAIT", 0.2)
        result = judge(check, broken_for(check.id), timeout=0.5 if check.id in SILENT else 2.0)
        verdict = Verdict.WARN if check.severity is Severity.SHOULD else Verdict.FAIL
        self.assertEqual(result.verdict, verdict, f"{result.reason}\n" + "\n".join(result.record))
        self.assertTrue(result.reason)
        self.assertTrue(result.record)

    def test_all_topics(self) -> None:
        """Each module has checks."""
        modules = {check.run.__module__ for check in CHECKS.values() if hasattr(check.run, "__module__")}
        named = {f"{topics.__name__}.{name}" for name in topics.__all__}
        self.assertLessEqual(modules - {"functools"}, named)
        self.assertGreater(len(CHECKS), 300)


def _tests() -> None:
    for check in CHECKS.values():

        def test(self: TopicTests, check: Check = check) -> None:
            self.find_out(check)

        name = "".join(letter if letter.isalnum() else "_" for letter in check.id)
        test.__doc__ = check.statement
        setattr(TopicTests, f"test_{name}", test)


_tests()
