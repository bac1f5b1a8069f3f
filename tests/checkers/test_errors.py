"""Libraries that need not be installed."""

import json
import sys

from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.checkers.errors import MissingExtra, extra


class ExtraTests(SynchronousTestCase):
    def test_there(self) -> None:
        self.assertIs(json, extra("json", "any"))

    def test_missing(self) -> None:
        """The error tells what to install."""
        self.patch(sys, "modules", {**sys.modules, "argon2": None})
        error = self.assertRaises(MissingExtra, extra, "argon2", "argon2")
        self.assertEqual("argon2 is not installed (pip install 'twistsmtp[argon2]')", str(error))
        self.assertEqual("argon2", error.name)
