"""The keys that tokens are signed with, and tokens."""

import base64
import json
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.checkers.kit import Log, Threads, at_once, need
from twistsmtp.checkers.claims import Rejected
from twistsmtp.checkers.errors import Unavailable
from twistsmtp.checkers.keyset import KeySet, SignedTokens
from twistsmtp.checkers.turns import Turns

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
OTHER = ec.generate_private_key(ec.SECP256R1())
SECRET = b"a secret that everybody knows, 32 octets and more"


def entry(key: Any, **values: str) -> dict[str, Any]:
    """A key as it stands in a set."""
    from jwt import algorithms

    kinds: list[tuple[type, Any]] = [
        (rsa.RSAPrivateKey, algorithms.RSAAlgorithm),
        (ec.EllipticCurvePrivateKey, algorithms.ECAlgorithm),
        (ed25519.Ed25519PrivateKey, algorithms.OKPAlgorithm),
        (bytes, algorithms.HMACAlgorithm),
    ]
    [algorithm] = [each for kind, each in kinds if isinstance(key, kind)]
    public = key if isinstance(key, bytes) else key.public_key()
    return {**json.loads(algorithm.to_jwk(public)), **values}


def signed(key: Any, algorithm: str, kid: str | None = None, **claims: Any) -> str:
    import jwt

    headers = {} if kid is None else {"kid": kid}
    return jwt.encode({"sub": "ada", **claims}, key, algorithm=algorithm, headers=headers)


class KeysCase(SynchronousTestCase):
    """A set of keys that is fetched from here."""

    def setUp(self) -> None:
        need("jwt")
        self.log = Log(self)
        self.clock = Clock()
        self.clock.advance(100_000)
        self.fetches = 0
        self.answer: Any = None
        self.keys = KeySet(self.fetch, self.clock.seconds, at_once)
        self.tokens = SignedTokens(self.keys, Turns(1, begin=at_once))

    def fetch(self) -> Deferred[bytes]:
        self.fetches += 1
        if isinstance(self.answer, Deferred):
            return self.answer
        if isinstance(self.answer, Exception):
            return fail(self.answer)
        return succeed(self.answer if isinstance(self.answer, bytes) else json.dumps({"keys": self.answer}).encode())

    def ask(self, token: str) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.tokens.claims(token))

    def accepts(self, token: str) -> None:
        self.assertEqual("ada", self.successResultOf(self.ask(token))["sub"])

    def rejects(self, token: str) -> None:
        self.failureResultOf(self.ask(token), Rejected)


class SignatureTests(KeysCase):
    def test_algorithms(self) -> None:
        self.answer = [entry(RSA, kid="r"), entry(EC, kid="e"), entry(ED, kid="d")]
        for key, kid, algorithms in (
            (RSA, "r", ("RS256", "RS384", "RS512", "PS256", "PS512")),
            (EC, "e", ("ES256",)),
            (ED, "d", ("EdDSA",)),
        ):
            for algorithm in algorithms:
                self.accepts(signed(key, algorithm, kid))
                self.accepts(signed(key, algorithm))
        self.assertEqual(1, self.fetches)

    def test_forged(self) -> None:
        """A key of somebody else's, by the right name or by none."""
        self.answer = [entry(EC, kid="e"), entry(RSA, kid="r")]
        for kid in ("e", "r", None):
            self.rejects(signed(OTHER, "ES256", kid))

    def test_altered(self) -> None:
        self.answer = [entry(EC, kid="e")]
        header, _, signature = signed(EC, "ES256", "e").split(".")
        claims = base64.urlsafe_b64encode(b'{"sub":"eve"}').decode().rstrip("=")
        self.rejects(f"{header}.{claims}.{signature}")

    def test_not_signed(self) -> None:
        self.answer = [entry(EC, kid="e")]
        for kid in ("e", None):
            self.rejects(signed(None, "none", kid))

    def test_secrets(self) -> None:
        """A token that is made with what everybody may know: a public key as a secret, or a secret in the set."""
        self.answer = [entry(RSA, kid="r"), entry(SECRET, kid="s"), entry(SECRET, kid="t", alg="RS256")]
        number = base64.urlsafe_b64decode(entry(RSA)["n"] + "==")
        for kid in ("r", "s", "t", None):
            for secret in (number, SECRET):
                self.rejects(signed(secret, "HS256", kid))

    def test_key_says(self) -> None:
        """A key that names its algorithm or its use is for nothing else."""
        self.answer = [entry(RSA, kid="r", alg="RS512"), entry(EC, kid="e", use="enc")]
        self.accepts(signed(RSA, "RS512", "r"))
        self.rejects(signed(RSA, "RS256", "r"))
        self.rejects(signed(EC, "ES256", "e"))

    def test_no_token(self) -> None:
        self.answer = [entry(EC, kid="e")]
        nested = base64.urlsafe_b64encode(b"[" * 9000).decode()
        for token in ("", "hunter2", "a.b.c", "....", "bnVsbA.e30.e30", "e30.e30.e30", f"{nested}.e30.e30"):
            failure = self.failureResultOf(self.ask(token), UnauthorizedLogin, Rejected)
            self.assertNotIn("hunter2", str(failure.value))

    def test_nested(self) -> None:
        """What is nested deeper than Python's stack is no token, and no trouble of ours either."""

        def header(token: str) -> Any:
            raise RecursionError  # PyJWT 2.10 lets it through

        tokens = SignedTokens(self.keys, Turns(1, begin=at_once))
        self.patch(tokens, "_jwt", SimpleNamespace(get_unverified_header=header, PyJWTError=ValueError))
        self.failureResultOf(Deferred.fromCoroutine(tokens.claims("a.b.c")), UnauthorizedLogin)

    def test_in_threads(self) -> None:
        """Neither parsing keys nor checking signatures keeps the reactor from its work."""
        threads = Threads()
        self.answer = [entry(EC, kid="e")]
        tokens = SignedTokens(KeySet(self.fetch, self.clock.seconds, threads), Turns(1, begin=threads))
        claims = Deferred.fromCoroutine(tokens.claims(signed(EC, "ES256", "e")))
        for calls in (1, 2):
            self.assertNoResult(claims)
            self.assertEqual(calls, threads.calls)
            threads.run()
        self.assertEqual({"sub": "ada"}, self.successResultOf(claims))


class FetchTests(KeysCase):
    def test_kept(self) -> None:
        """Keys are fetched once, as long as they are not old."""
        self.answer = [entry(EC, kid="e")]
        token = signed(EC, "ES256", "e")
        for _ in range(3):
            self.accepts(token)
        self.clock.advance(3599)
        self.accepts(token)
        self.assertEqual(1, self.fetches)
        self.answer = [entry(OTHER, kid="o")]
        self.clock.advance(1)
        self.rejects(token)
        self.assertEqual(2, self.fetches)

    def test_new_key(self) -> None:
        """A token with a new name has the keys fetched, but no more than once a minute."""
        self.answer = [entry(EC, kid="e")]
        self.accepts(signed(EC, "ES256", "e"))
        self.answer = [entry(EC, kid="e"), entry(OTHER, kid="o")]
        token = signed(OTHER, "ES256", "o")
        self.rejects(token)
        self.assertEqual(1, self.fetches)
        self.clock.advance(60)
        self.accepts(token)
        for number in range(5):
            self.rejects(signed(OTHER, "ES256", f"made up {number}"))
        self.assertEqual(2, self.fetches)

    def test_together(self) -> None:
        """Tokens that come while keys are fetched wait for them; a client that goes away ends nothing."""
        pending: Deferred[bytes] = Deferred()
        self.answer = pending
        first, *others = (self.ask(signed(EC, "ES256", "e")) for _ in range(3))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        pending.callback(json.dumps({"keys": [entry(EC, kid="e")]}).encode())
        for other in others:
            self.assertEqual({"sub": "ada"}, self.successResultOf(other))
        self.assertEqual(1, self.fetches)

    def test_known_do_not_wait(self) -> None:
        """A token whose key is known does not wait for those of others."""
        self.answer = [entry(EC, kid="e")]
        self.accepts(signed(EC, "ES256", "e"))
        self.clock.advance(60)
        self.answer = Deferred()
        unknown = self.ask(signed(OTHER, "ES256", "o"))
        self.accepts(signed(EC, "ES256", "e"))
        self.assertNoResult(unknown)
        self.answer.errback(Unavailable("x"))
        self.failureResultOf(unknown, Rejected)

    def test_unavailable(self) -> None:
        """Without keys nobody knows; it is tried again soon, but not at once."""
        token = signed(EC, "ES256", "e")
        for answer in (Unavailable("no answer"), b"hunter2", b"[]", b'{"keys": []}', b'{"keys": [{"kty": "oct"}, 5]}'):
            self.answer = answer
            self.failureResultOf(self.ask(token), Unavailable)
            fetches = self.fetches
            self.failureResultOf(self.ask(token), Unavailable)
            self.assertEqual(fetches, self.fetches)
            self.clock.advance(5)
        self.assertIn("keys of tokens cannot be fetched: no answer", str(self.log))
        self.assertNotIn("hunter2", str(self.log))
        self.answer = [entry(EC, kid="e")]
        self.accepts(token)

    def test_old_keys(self) -> None:
        """Keys that cannot be fetched again are used on."""
        self.answer = [entry(EC, kid="e")]
        token = signed(EC, "ES256", "e")
        self.accepts(token)
        self.answer = Unavailable("no answer")
        for _ in range(3):
            self.clock.advance(3600)
            self.accepts(token)
        self.assertEqual(4, self.fetches)
        self.assertIn("no answer", str(self.log))

    def test_unusable(self) -> None:
        """Keys that cannot be used are left out."""
        self.answer = [
            {"kty": "RSA", "kid": "r", "n": "", "e": "AQAB"},
            {"kty": "EC", "kid": 5, "crv": "P-256"},
            {"kty": "EC", "kid": "x", "crv": "P-256", "x": "hunter2"},
            {"kty": ["EC"]},
            {},
            5,
            entry(EC, kid="e"),
        ]
        self.accepts(signed(EC, "ES256"))
