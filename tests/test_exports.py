"""The public names: few, typed, documented, and imported when they are asked for."""

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twistsmtp

APPLICATION = Path(__file__).parent / "typing_app" / "application.py"


def python(program: str) -> str:
    """What *program* writes, in a process that has not imported anything yet."""
    root = str(Path(twistsmtp.__file__).parent.parent)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{program}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class ExportTests(SynchronousTestCase):
    def test_names(self) -> None:
        """A name that comes or goes is seen here first: it is a promise."""
        self.assertEqual(
            " ".join(sorted(twistsmtp.__all__)),
            "Callback Catalogue Certificates Config Delivery DeliveryTransaction Discard Envelope Extension "
            "IDelivery LMTPFactory Limits Mail MailStream Mailbox Maildir Mechanism Memory Parameter PasswdFile Policy "
            "Recipient Refusal Relay RelayRule Reply ReversePath SMTPFactory SMTPService Security Session Stage "
            "StreamCallback Verb parse_mailbox portal_for send serve",
        )

    def test_each_is_there_and_documented(self) -> None:
        for name in twistsmtp.__all__:
            value = getattr(twistsmtp, name)
            self.assertIs(value, getattr(sys.modules[value.__module__], name))
            self.assertTrue(value.__doc__, name)
        self.assertLessEqual({*twistsmtp.__all__}, {*dir(twistsmtp)})

    def test_types(self) -> None:
        """Type checkers look at ours."""
        self.assertTrue((Path(twistsmtp.__file__).parent / "py.typed").exists())

    def test_others(self) -> None:
        with self.assertRaisesRegex(AttributeError, r"module 'twistsmtp' has no attribute 'SMTPProtokoll'"):
            _ = twistsmtp.SMTPProtokoll  # type: ignore[attr-defined]  # that is the point

    def test_what_is_not_asked_for_is_not_imported(self) -> None:
        """Nor is a reactor installed by what is."""
        self.assertEqual(
            python("import twistsmtp; print([m for m in sys.modules if m.startswith('twist')])"), "['twistsmtp']\n"
        )
        asked = "import twistsmtp; [getattr(twistsmtp, each) for each in twistsmtp.__all__]"
        self.assertEqual(python(f"{asked}; print('twisted.internet.reactor' in sys.modules)"), "False\n")

    def test_the_application_uses_nearly_all(self) -> None:
        """The one that mypy checks as a user's."""
        imported = re.search(r"from twistsmtp import \((.*?)\)", APPLICATION.read_text(), re.DOTALL)
        names = set(re.findall(r"\w+", imported[1] if imported else ""))
        self.assertEqual(
            {*twistsmtp.__all__} - names,
            {
                "Catalogue",
                "Discard",
                "Mailbox",
                "Maildir",
                "Mechanism",
                "Memory",
                "send",
                "IDelivery",
                "PasswdFile",
                "Relay",
                "portal_for",
            },
        )
