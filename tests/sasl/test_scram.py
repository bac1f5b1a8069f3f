"""SCRAM: the examples of the RFCs, and clients of two other makes."""

from base64 import b64decode
from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient as ScrampClient  # type: ignore[import-untyped]  # it has no types
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.sasl.kit import CONTEXT, Talk, failure, talk
from tests.sasl.scram_client import ScramClient, scram_keys
from twistsmtp.sasl import load_mechanisms, scram
from twistsmtp.sasl.api import Context, Denied, Lookup, Malformed
from twistsmtp.sasl.credentials import IScramProof, ScramKeys, decoy_keys
from twistsmtp.sasl.scram import ScramProof

SALT = b"sixteen octets.."
DIGESTS = ("sha-1", "sha-256")
KEYS = {digest: scram_keys("pencil", SALT, 4096, digest) for digest in DIGESTS}
BINDINGS = {"tls-exporter": b"\x01" * 32, "tls-server-end-point": b"\x02" * 32}
#: The channel of a connection with TLS.
BOUND = Context(hostname="mx.test", binding=BINDINGS.get)


def log_in(name: str, client: Callable[[bytes], bytes], context: Context = CONTEXT, keys: Any = None) -> Talk:
    """The checker knows of one password."""
    keys = keys or KEYS["sha-256" if "256" in name else "sha-1"]
    return talk(name, client, check=lambda credentials: credentials.proves(keys), keys=keys, context=context)


def scramps_answer(client: Any, challenge: bytes) -> bytes:
    """What scramp's *client* answers; it raises if the server's signature is not right."""
    if challenge.startswith(b"r="):
        client.set_server_first(challenge.decode())
    elif challenge:
        client.set_server_final(challenge.decode())
        return b""
    answer: str = client.get_client_final() if challenge else client.get_client_first()
    return answer.encode()


class ExampleTests(SynchronousTestCase):
    """Octet by octet."""

    def play(self, name: str, nonce: str, keys: ScramKeys, lines: list[bytes]) -> Talk:
        self.patch(scram, "_nonce", lambda: nonce)
        first, server_first, final, server_final = lines
        done = talk(name, [first, final, b""], keys=keys, check=lambda credentials: credentials.proves(keys))
        self.assertEqual((done.challenges, done.error), ([b"", server_first, server_final], None))
        self.assertEqual(done.identity, ("user", None))
        return done

    def test_rfc_5802_section_5(self) -> None:
        keys = scram_keys("pencil", b64decode("QSXCR+Q6sek8bf92"), 4096, "sha-1")
        done = self.play(
            "SCRAM-SHA-1",
            "3rfcNHYJY1ZVvWVs7j",
            keys,
            [
                b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
                b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
                b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ],
        )
        self.assertEqual(done.lookups, [Lookup("user", "sha-1")])

    def test_rfc_7677_section_3(self) -> None:
        keys = scram_keys("pencil", b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096, "sha-256")
        done = self.play(
            "SCRAM-SHA-256",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            keys,
            [
                b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
                b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ],
        )
        self.assertEqual(done.lookups, [Lookup("user", "sha-256")])
        verifyObject(IScramProof, done.credentials)
        self.assertEqual((done.credentials.username, done.credentials.digest), ("user", "sha-256"))


class ClientTests(SynchronousTestCase):
    def test_without_a_binding(self) -> None:
        for digest in DIGESTS:
            client = ScramClient("user", "pencil", digest)
            done = log_in(f"SCRAM-{digest.upper()}", client)
            self.assertEqual((done.error, done.identity, client.satisfied), (None, ("user", None), True))

    def test_bound_to_the_channel(self) -> None:
        for digest in DIGESTS:
            for name, octets in BINDINGS.items():
                client = ScramClient("user", "pencil", digest, header=f"p={name},,", binding=octets)
                done = log_in(f"SCRAM-{digest.upper()}-PLUS", client, BOUND)
                self.assertEqual((done.error, done.identity, client.satisfied), (None, ("user", None), True))

    def test_scramps_client(self) -> None:
        for digest in DIGESTS:
            for plus in ("", "-PLUS"):
                name = f"SCRAM-{digest.upper()}{plus}"
                binding = ("tls-server-end-point", BINDINGS["tls-server-end-point"]) if plus else None
                client = ScrampClient([name], "user", "pencil", channel_binding=binding)
                done = log_in(name, partial(scramps_answer, client), BOUND)
                self.assertEqual((done.error, done.identity, len(done.challenges)), (None, ("user", None), 3))

    def test_a_wrong_password_shows_no_signature(self) -> None:
        done = log_in("SCRAM-SHA-256", ScramClient("user", "Pencil", "sha-256"))
        self.assertIsInstance(done.error, Denied)
        self.assertEqual((len(done.challenges), done.sent_before), (2, [2]))

    def test_a_user_that_there_is_not_looks_like_a_wrong_password(self) -> None:
        wrong = log_in("SCRAM-SHA-256", ScramClient("user", "Pencil", "sha-256"))
        nobody = log_in("SCRAM-SHA-256", ScramClient("no", "pencil", "sha-256"), keys=decoy_keys("no", "sha-256", 4096))
        self.assertIsInstance(nobody.error, Denied)
        self.assertEqual([len(each) for each in nobody.challenges], [len(each) for each in wrong.challenges])

    def test_the_signature_comes_when_the_login_has_succeeded(self) -> None:
        done = log_in("SCRAM-SHA-256", ScramClient("user", "pencil", "sha-256"))
        self.assertEqual((done.sent_before, len(done.challenges)), ([2], 3))

    def test_a_response_to_the_signature_that_is_not_empty(self) -> None:
        client = ScramClient("user", "pencil", "sha-256")
        done = log_in("SCRAM-SHA-256", lambda challenge: client(challenge) or b"x")
        self.assertIsInstance(done.error, Malformed)

    def test_names(self) -> None:
        for name, sent in (
            ("a,b=c", "a=2Cb=3Dc"),
            ("=2C", "=3D2C"),
            ("tim the boss", "tim the boss"),
            ("IX", "\u2168"),
            ("\u20ac", "\u20ac"),
        ):
            client = ScramClient("x", "pencil", "sha-256", header=f"n,a={sent},")
            client.first_bare = f"n={sent},r=nonce"
            done = log_in("SCRAM-SHA-256", client)
            self.assertEqual((done.error, done.identity, client.satisfied), (None, (name, None), True))
            self.assertEqual(done.lookups[0].username, name)

    def test_acting_as_somebody_else(self) -> None:
        done = log_in("SCRAM-SHA-256", ScramClient("user", "pencil", "sha-256", header="n,a=bo=2Css,"))
        self.assertEqual((done.error, done.identity), (None, ("bo,ss", "user")))

    def test_extensions_are_ignored(self) -> None:
        client = ScramClient("user", "pencil", "sha-256")
        client.first_bare += ",x=y=z,Q=\u20ac"
        self.assertIsNone(log_in("SCRAM-SHA-256", client).error)

    def test_no_two_nonces_are_the_same(self) -> None:
        firsts = {log_in("SCRAM-SHA-1", ScramClient("user", "x", "sha-1")).challenges[1] for _ in range(100)}
        self.assertEqual(len(firsts), 100)


class BindingTests(SynchronousTestCase):
    """RFC 5802 section 6."""

    def refused(self, name: str, header: str, binding: bytes = b"", context: Context = BOUND) -> Talk:
        done = log_in(name, ScramClient("user", "pencil", "sha-256", header=header, binding=binding), context)
        self.assertEqual(done.logins, [])
        self.assertIsNotNone(done.error)
        return done

    def test_a_downgrade(self) -> None:
        done = self.refused("SCRAM-SHA-256", "y,,")
        self.assertIsInstance(done.error, Denied)
        self.assertEqual(done.lookups, [])

    def test_no_downgrade_where_there_is_nothing_to_bind_to(self) -> None:
        done = log_in("SCRAM-SHA-256", ScramClient("user", "pencil", "sha-256", header="y,,"))
        self.assertIsNone(done.error)

    def test_a_client_that_cannot_bind(self) -> None:
        done = log_in("SCRAM-SHA-256", ScramClient("user", "pencil", "sha-256", header="n,,"), BOUND)
        self.assertIsNone(done.error)

    def test_a_flag_that_the_mechanism_does_not_have(self) -> None:
        for flag in ("n", "y"):
            self.assertIsInstance(self.refused("SCRAM-SHA-256-PLUS", f"{flag},,").error, Malformed)
        octets = BINDINGS["tls-exporter"]
        self.assertIsInstance(self.refused("SCRAM-SHA-256", "p=tls-exporter,,", octets).error, Malformed)

    def test_a_binding_that_there_is_not(self) -> None:
        anything = Context(hostname="mx.test", binding=lambda name: b"octets")
        for name in ("tls-unique", "TLS-EXPORTER", "tls-exporter2"):
            done = self.refused("SCRAM-SHA-256-PLUS", f"p={name},,", b"octets", anything)
            self.assertIsInstance(done.error, Denied)
        self.refused("SCRAM-SHA-256-PLUS", "p=tls-exporter,,", b"", CONTEXT)

    def test_another_channel(self) -> None:
        for octets in (b"", b"\x01" * 31, b"\x01" * 31 + b"\x00", BINDINGS["tls-server-end-point"]):
            self.assertIsInstance(self.refused("SCRAM-SHA-256-PLUS", "p=tls-exporter,,", octets).error, Denied)

    def test_another_header_than_at_first(self) -> None:
        for binding in (b"y,,", b"n,,x", b"n,a=boss,", b""):
            client = ScramClient("user", "pencil", "sha-256")
            client.binding = binding
            done = log_in("SCRAM-SHA-256", client)
            self.assertIsInstance(done.error, Denied)
            self.assertEqual(done.logins, [])

    def test_another_nonce(self) -> None:
        client = ScramClient("user", "pencil", "sha-256")
        client.nonce = "fyko+d2lbbFgONRv9qkxdawL"
        done = log_in("SCRAM-SHA-256", client)
        self.assertIsInstance(done.error, Denied)
        self.assertEqual(done.logins, [])

    def test_where_it_can_be_used(self) -> None:
        plain, plus = load_mechanisms(["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"])
        self.assertEqual([plain.usable(CONTEXT), plain.usable(BOUND)], [True, True])
        self.assertEqual([plus.usable(CONTEXT), plus.usable(BOUND)], [False, True])
        old = Context(hostname="mx.test", binding={"tls-server-end-point": b"x"}.get)
        self.assertTrue(plus.usable(old))


class MalformedTests(SynchronousTestCase):
    def test_the_first_message(self) -> None:
        for first in (
            b"",
            b"n",
            b"n,",
            b"n,,",
            b"n,,n=user",
            b"n,,n=user,r=",
            b"n,,n=,r=x",
            b"n,,r=x,n=user",
            b"n,n=user,r=x",
            b"x,,n=user,r=x",
            b"N,,n=user,r=x",
            b"F,n,,n=user,r=x",
            b"p,,n=user,r=x",
            b"p=,,n=user,r=x",
            b"p=a b,,n=user,r=x",
            b"n,a=,n=user,r=x",
            b"n,boss,n=user,r=x",
            b"n,a=b=oss,n=user,r=x",
            b"n,,m=x,n=user,r=x",
            b"n,,n=user,r=x,m=x",
            b"n,,n=user,r=x,",
            b"n,,n=user,r=x,y",
            b"n,,n=user,r=x,yy=z",
            b"n,,n=user,r=x y",
            b"n,,n=user,r=\x7f",
            b"n,,n=user,r=\xc3\xa9",
            b"n,,n=us=er,r=x",
            b"n,,n=us=2cer,r=x",
            b"n,,n=us\0er,r=x",
            b"n,,n=us\ner,r=x",
            b"n,,n=us\xff,r=x",
            b"n,,n=\xc2\xad,r=x",
            b"n,,n=" + b"x" * 1025 + b",r=x",
            b"n,,n=user,r=" + b"x" * 8192,
            b"n,,n=user,r=x\n",
        ):
            self.assertIs(failure("SCRAM-SHA-1", first), Malformed, first[:40])

    def test_the_last_message(self) -> None:
        self.patch(scram, "_nonce", lambda: "y")
        proof = b"v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        for final in (
            b"",
            b"c=biws",
            b"c=biws,r=xy",
            b"c=biws,r=xy,p=",
            b"c=biws,r=xy,p=AAAA",
            b"c=biws,r=xy,p=" + proof + b"\n",
            b"c=biws,r=xy,p=" + proof + b",x=y",
            b"c=biws,r=xy,p=" + proof + b"AAAA",
            b"c=biw,r=xy,p=" + proof,
            b"c=bi ws,r=xy,p=" + proof,
            b"c=biws,r=xy,m=x,p=" + proof,
            b"c=biws,r=xy,p=AAAA,p=" + proof,
            b"r=xy,c=biws,p=" + proof,
            b"c=biws,r=xy,x=\xff,p=" + proof,
            b"c=biws,r=xy,x=" + b"y" * 8192 + b",p=" + proof,
        ):
            got = failure("SCRAM-SHA-1", b"n,,n=user,r=x", final, keys=KEYS["sha-1"])
            self.assertIs(got, Malformed, final[:40])


class ProofTests(SynchronousTestCase):
    @given(st.binary(min_size=32, max_size=32))
    def test_no_other_proof_will_do(self, proof: bytes) -> None:
        self.assertFalse(ScramProof("user", "sha-256", b"message", proof).proves(KEYS["sha-256"]))

    @given(st.integers(0, 255))
    def test_not_a_bit_of_it_may_be_another(self, bit: int) -> None:
        credentials = log_in("SCRAM-SHA-256", ScramClient("user", "pencil", "sha-256")).credentials
        self.assertTrue(credentials.proves(KEYS["sha-256"]))
        proof = (int.from_bytes(credentials.proof) ^ (1 << bit)).to_bytes(32)
        other = ScramProof("user", "sha-256", credentials.message, proof)
        self.assertFalse(other.proves(KEYS["sha-256"]))

    @given(st.integers(0, 1), st.integers(0), st.integers(1, 255))
    def test_not_an_octet_of_what_was_said_may_be_another(self, message: int, place: int, change: int) -> None:
        client = ScramClient("user", "pencil", "sha-256")
        said: list[bytes] = []

        def altered(challenge: bytes) -> bytes:
            octets = bytearray(client(challenge))
            if len(said) == message:
                # The last two characters of Base64 have bits that mean nothing.
                octets[place % (len(octets) - 2)] ^= change
            said.append(bytes(octets))
            return said[-1]

        try:
            done = log_in("SCRAM-SHA-256", altered)
        except AssertionError:
            self.assertEqual(message, 0)  # it is the client that sees a nonce that is not its own
        else:
            self.assertIsNotNone(done.error)

    def test_keys_of_another_length_prove_nothing(self) -> None:
        credentials = log_in("SCRAM-SHA-256", ScramClient("user", "pencil", "sha-256")).credentials
        self.assertFalse(credentials.proves(KEYS["sha-1"]))

    def test_nothing_that_helps_to_guess_is_shown(self) -> None:
        credentials = ScramProof("user", "sha-256", b"message", b"proof")
        self.assertEqual(repr(credentials), "ScramProof(username='user', digest='sha-256')")
        self.assertNotIn(KEYS["sha-256"].stored_key.hex()[:8], repr(KEYS["sha-256"]))
        self.assertNotIn("_key", repr(KEYS["sha-256"]))
