"""Limits: their defaults, and that none can be left out."""

from dataclasses import fields
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.limits import Limits
from twistsmtp.wire.dotstream import BareNewline


class LimitsTests(SynchronousTestCase):
    def test_the_defaults_are_those_of_rfc_5321(self) -> None:
        limits = Limits()
        self.assertEqual(limits.command_line, 512)  # section 4.5.3.1.4
        self.assertEqual((limits.path.local_part, limits.path.domain, limits.path.path), (64, 255, 256))
        self.assertGreaterEqual(limits.recipients, 100)  # section 4.5.3.1.8
        self.assertGreaterEqual(limits.idle_time, 300)  # section 4.5.3.2.7
        self.assertGreaterEqual(limits.message_size, 64 * 1024)  # section 4.5.3.1.7
        self.assertGreaterEqual(limits.message_line, 998)  # section 4.5.3.1.6
        self.assertEqual(limits.hops, 100)  # section 6.3
        self.assertIs(limits.bare_newline, BareNewline.REFUSE)

    def test_no_limit_is_optional(self) -> None:
        for each in fields(Limits):
            if isinstance(getattr(Limits(), each.name), (int, float)):
                # Tests need not pay for a wrong password.
                for value in (-1,) if each.name == "auth_delay" else (0, -1):
                    error = self.assertRaises(ValueError, Limits, **{each.name: value})
                    self.assertIn(each.name, str(error))

    def test_each_can_be_set(self) -> None:
        for each in fields(Limits):
            if isinstance(getattr(Limits(), each.name), (int, float)):
                value: dict[str, Any] = {each.name: 7}
                self.assertEqual(getattr(Limits(**value), each.name), 7)
