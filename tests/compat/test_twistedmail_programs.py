"""Programs for twisted.mail's server: with their imports changed, and nothing else, they print the same."""

import os

from twisted.trial.unittest import SynchronousTestCase

from tests.compat.old import changes, expected, run, run_module

NAMES = ("conversation", "portal", "subclass")

#: Each place where ours says something else than the original, in the order of the program ``twistedmail_differences``,
#: and what is wrong with the original. The page *Migrating* has the same list.
DIFFERENCES = [
    (
        "the rest of a message behind a line of 16 KiB is carried out",
        (
            "M: bob@e.f [b'', b'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', b'VRFY me', b'QUIT']\n"
            "S: 250 Delivery in progress"
        ),
    ),
    ("there is no NOOP", "S: 250 OK"),
    ("replies overtake one another", "S: 250 Sender address accepted"),
    ("the same", ""),
    (
        "a bare LF goes on, for the next server to end the message at",
        "S: 550 Message holds a bare LF: lines end with CRLF (RFC 5321 section 2.3.8)",
    ),
    ("there is no NOOP", "S: 250 OK"),
    ("parameters are not looked at", "S: 555 MAIL parameter X not recognized or not implemented"),
    (
        "it closes without a word",
        "S: 451 Requested action aborted: local error in processing\nC: b'RSET'\nS: 250 I remember nothing.",
    ),
    ("the delivery's own code is not said", "S: 452 No room"),
    ("mail bounces because of a bug", "S: 451 Requested action aborted: local error in processing"),
    (
        "it closes without a word",
        "S: 501 Syntax: AUTH mechanism [initial-response]\nC: b'RSET'\nS: 250 I remember nothing.",
    ),
    (
        "it closes without a word",
        "S: 501 That is not what the mechanism has here\nC: b'RSET'\nS: 250 I remember nothing.",
    ),
    ("AUTH needs no EHLO", "S: 503 AUTH comes behind EHLO, and before MAIL"),
    ("of a malformed address it says a part", "S: 501 Syntax error"),
    ("it takes a malformed address", "S: 501 Syntax error"),
    ("a control character goes on", "S: 500 Error: bad syntax"),
    ("there is no NOOP", "S: 250 OK"),
    ("there is no VRFY", "S: 252 Cannot VRFY user, but will accept message and attempt delivery"),
]

#: Twisted's own tests, with ours in the place of theirs.
SHIM = """
import sys
import twisted.mail.smtp
from twistsmtp.compat import twistedmail
sys.modules["twisted.mail.smtp"] = twisted.mail.smtp = twistedmail
from twisted.mail.test.test_smtp import *
"""


class Programs(SynchronousTestCase):
    """With ours, and with the original."""

    def test_ours(self) -> None:
        """Each prints what it should."""
        for name in NAMES:
            self.assertEqual(expected(f"twistedmail_{name}.expected"), run(f"twistedmail_{name}", ours=True), name)

    def test_original(self) -> None:
        """What it should is what it prints with the original."""
        for name in NAMES:
            self.assertEqual(expected(f"twistedmail_{name}.expected"), run(f"twistedmail_{name}", ours=False), name)

    def test_differences(self) -> None:
        """Where ours is better, it says this; and the original that."""
        self.assertEqual(expected("twistedmail_differences.expected"), run("twistedmail_differences", ours=True))
        self.assertEqual(expected("twistedmail_differences.original"), run("twistedmail_differences", ours=False))
        self.assertEqual([ours for _, ours in DIFFERENCES], [ours for _, ours in changes("twistedmail_differences")])

    def test_suite_of_twisted(self) -> None:
        """All of Twisted's own tests pass, but for the one that wants to be dropped without a reply."""
        folder = os.path.abspath(self.mktemp())
        with open(f"{folder}.py", "w") as shim:
            shim.write(SHIM)
        done = run_module("twisted.trial", "--reporter=text", f"--temp-directory={folder}", f"{folder}.py")
        failed = {line for line in done.stdout.splitlines() if line.startswith("twisted.mail.test.")}
        self.assertEqual(
            {"twisted.mail.test.test_smtp.SMTPSenderFactoryRetryTests.test_retryAfterDisconnect"}, failed, done.stdout
        )
        self.assertIn("successes=67", done.stdout)
