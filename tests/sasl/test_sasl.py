"""How mechanisms are found, one of one's own, and what holds for all of them."""

import subprocess
import sys
import traceback
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from types import ModuleType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.credentials import IAnonymous
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import twistsmtp
from tests.sasl.kit import Talk, talk
from tests.sasl.scram_client import scram_keys
from tests.sasl.test_external import context
from twistsmtp.sasl import DEFAULT, MECHANISMS, load_mechanisms
from twistsmtp.sasl.anonymous import TracedAnonymous
from twistsmtp.sasl.api import Challenge, Context, Denied, Exchange, Malformed, Mechanism, SASLError, ask, log_in
from twistsmtp.sasl.credentials import decoy_keys


class LoadTests(SynchronousTestCase):
    def test_ours_in_order_of_strength(self) -> None:
        self.assertEqual(
            MECHANISMS,
            (
                "EXTERNAL",
                "SCRAM-SHA-256-PLUS",
                "SCRAM-SHA-1-PLUS",
                "SCRAM-SHA-256",
                "SCRAM-SHA-1",
                "OAUTHBEARER",
                "XOAUTH2",
                "CRAM-MD5",
                "PLAIN",
                "LOGIN",
                "ANONYMOUS",
            ),
        )
        self.assertEqual(tuple(each.name for each in load_mechanisms(MECHANISMS)), MECHANISMS)
        self.assertEqual(tuple(each.name for each in load_mechanisms()), DEFAULT)
        self.assertEqual(set(MECHANISMS) - set(DEFAULT), {"ANONYMOUS"})

    def test_in_any_case_and_in_the_order_in_which_they_are_named(self) -> None:
        names = ["login", "Scram-Sha-1", "PLAIN"]
        self.assertEqual([each.name for each in load_mechanisms(names)], ["LOGIN", "SCRAM-SHA-1", "PLAIN"])

    def test_a_name_that_is_none_is_named(self) -> None:
        for name in (
            "nonsense",
            "no.such.module",
            "",
            ".plain",
            "plain.",
            "a..b",
            "os.path",
            "twistsmtp.sasl.api",
            "SCRAM-SHA-512",
        ):
            self.assertIn(repr(name)[1:-1], str(self.assertRaises(ValueError, load_mechanisms, [name])), name)

    def test_no_two_of_one_name(self) -> None:
        error = self.assertRaises(ValueError, load_mechanisms, ["plain", "LOGIN", "twistsmtp.sasl.plain"])
        self.assertIn("PLAIN", str(error))

    def test_naming_them_imports_none(self) -> None:
        heavy = "cryptography", "OpenSSL", "service_identity", "twistsmtp.sasl.scram"
        program = f"import sys, twistsmtp.sasl; print([each for each in {heavy} if each in sys.modules])"
        root = Path(twistsmtp.__file__).parents[1]
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
        self.assertEqual(done.stdout, "[]\n")


class OwnTests(SynchronousTestCase):
    """A module with a generator in it, and nothing else is touched."""

    def test_a_made_up_mechanism(self) -> None:
        def sums(context: Context) -> Exchange:
            answer = yield from ask(b"2 + 3?")
            if not answer.isdigit():
                raise Malformed("no number")
            if answer != b"5":
                raise Denied("wrong")
            yield from log_in(TracedAnonymous("can add"), "somebody")

        module: Any = ModuleType("tests.sasl.made")
        module.MECHANISM = Mechanism(name="X-SUM", start=sums, interface=IAnonymous)
        self.patch(sys, "modules", {**sys.modules, module.__name__: module})
        (mechanism,) = load_mechanisms([module.__name__])
        self.assertIs(mechanism, module.MECHANISM)
        done = talk(mechanism, [b"5"])
        self.assertEqual((done.challenges, done.identity, done.error), ([b"2 + 3?"], ("somebody", None), None))
        self.assertEqual([type(talk(mechanism, [each]).error) for each in (b"6", b"x")], [Denied, Malformed])

    def test_a_name_that_cannot_be_said(self) -> None:
        for name in ("", "x-sum", "A B", "A\r\nB", "A" * 21, "\xc4", "A\n"):
            self.assertRaises(ValueError, Mechanism, name=name, start=log_in, interface=IAnonymous)


class ChallengeTests(SynchronousTestCase):
    def test_which_one_has_to_be_awaited(self) -> None:
        self.assertEqual(
            [each.awaited for each in (Challenge(b""), Challenge(b"x"), Challenge(b"x", prompt=True))],
            [False, True, False],
        )


#: What each mechanism has in it, so that octets come somewhere.
PARTS = (
    b"n,,n=user,r=x",
    b"p=tls-exporter,,n=user,r=x",
    b"c=biws,r=",
    b",p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    b"n,a=user,\x01",
    b"auth=Bearer ",
    b"user=tim",
    b"\x01",
    b"\0",
    b",",
    b"=",
    b"tim",
    b"tim b913a602c7eda7a495b4e6e7334d3890",
    b"a@x.test",
    b"x.test",
    b"\xff",
    b"\xc2\xad",
    b"\xef\xb7\xba",
    b"\xd7\x90",
)
SECRET = b"hunter2hunter2"
MESSAGES = st.binary(max_size=40) | st.lists(st.sampled_from(PARTS) | st.binary(max_size=4)).map(b"".join)
KEYS = {digest: scram_keys("pencil", b"sixteen octets..", 4096, digest) for digest in ("sha-1", "sha-256")}
CONTEXTS = (
    Context(hostname="mx.test"),
    Context(hostname="mx.test", binding={"tls-exporter": b"octets"}.get),
    context(mails=["a@x.test"], hosts=["*.x.test"]),
)


def play(mechanism: Mechanism, context: Context, client: Callable[[bytes], bytes], right: bool) -> Talk:
    """An exchange; anything but a `SASLError` comes out of it."""
    keys = KEYS["sha-256" if "256" in mechanism.name else "sha-1"]
    return talk(mechanism, client, check=lambda credentials: right, keys=keys, context=context)


class HostileTests(SynchronousTestCase):
    @given(
        st.sampled_from(load_mechanisms(MECHANISMS)),
        st.sampled_from(CONTEXTS),
        st.lists(MESSAGES, min_size=3, max_size=3),
        st.booleans(),
    )
    def test_any_octets_at_any_step(
        self, mechanism: Mechanism, context: Context, messages: list[bytes], right: bool
    ) -> None:
        responses = iter(messages)
        done = play(mechanism, context, lambda challenge: next(responses), right)
        if not (right and done.logins):
            self.assertIsNotNone(done.error)
        self.assertLessEqual(len(done.challenges), 3)
        for identity in [login.identity for login in done.logins if login.identity is not None]:
            self.assertTrue(0 < len(identity.encode()) <= 1024)
            self.assertFalse(any(ord(each) < 32 or ord(each) == 127 for each in identity), identity)

    @given(st.sampled_from(load_mechanisms(MECHANISMS)), st.sampled_from(PARTS), st.sampled_from(PARTS))
    def test_no_secret_in_an_error(self, mechanism: Mechanism, before: bytes, behind: bytes) -> None:
        done = play(mechanism, CONTEXTS[1], lambda challenge: before + SECRET + behind, False)
        self.assertIsInstance(done.error, SASLError)
        shown = "".join(traceback.format_exception(done.error)) + Failure(done.error).getTraceback()
        self.assertNotIn(SECRET.decode(), shown)

    def test_no_secret_in_a_repr(self) -> None:
        secret = SECRET.decode()
        for name, messages in (
            ("PLAIN", [b"\0tim\0" + SECRET]),
            ("LOGIN", [b"tim", SECRET]),
            ("OAUTHBEARER", [b"n,,\x01auth=Bearer " + SECRET + b"\x01\x01"]),
            ("XOAUTH2", [b"user=tim\x01auth=Bearer " + SECRET + b"\x01\x01"]),
        ):
            done = talk(name, messages)
            self.assertNotIn(secret, repr(done.logins) + str(done.credentials), name)
            kept = done.credentials.token if "OAUTH" in name else done.credentials.password.decode()
            self.assertEqual(kept, secret, name)

    def test_a_mebioctet_is_read_no_further_than_its_length(self) -> None:
        """The protocol has shorter lines; a mechanism has to hold out without it."""
        for mechanism in load_mechanisms(MECHANISMS):
            for octets in (
                b"\0" * 2**20,
                b"a," * 2**19,
                b"=2C" * 2**18,
                "\ufdfa".encode() * 2**18,
                b"n,,\x01" + b"a=b\x01" * 2**18,
            ):
                responses = repeat(octets)
                done = play(mechanism, CONTEXTS[2], lambda challenge: next(responses), True)  # noqa: B023  # at once
                self.assertIsInstance(done.error, Malformed, mechanism.name)


class DecoyTests(SynchronousTestCase):
    def test_a_decoy_is_always_the_same_and_fits_its_digest(self) -> None:
        for digest, size in (("sha-1", 20), ("sha-256", 32)):
            keys = decoy_keys("nobody", digest, 15000)
            self.assertEqual(keys, decoy_keys("nobody", digest, 15000))
            self.assertEqual([len(keys.salt), len(keys.stored_key), len(keys.server_key)], [16, size, size])
            self.assertEqual(keys.iterations, 15000)
            self.assertNotEqual(keys.salt, decoy_keys("nobody2", digest, 15000).salt)
            self.assertNotEqual(keys.stored_key, keys.server_key)
