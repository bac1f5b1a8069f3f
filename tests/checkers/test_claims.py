"""What is said of a token."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.checkers.claims import Rejected, Rules

NOW = 1_000_000.0
GOOD = {
    "email": "ada@example.org",
    "exp": NOW + 1,
    "iss": "https://id.example.org",
    "aud": "smtp",
    "scope": "mail send",
}
STRICT = Rules(issuer="https://id.example.org", audience=frozenset({"smtp", "mail"}), scope=frozenset({"send"}))


class RulesTests(SynchronousTestCase):
    def accepts(self, rules: Rules, **claims: Any) -> str:
        return rules.owner_of({**GOOD, **claims}, NOW)

    def rejects(self, rules: Rules, **claims: Any) -> str:
        """Why the token is rejected that has *claims*, those that are ``None`` left out."""
        left = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
        return str(self.assertRaises(Rejected, rules.owner_of, left, NOW))

    def test_good(self) -> None:
        self.assertEqual("ada@example.org", self.accepts(STRICT))

    def test_expiry(self) -> None:
        """Within the leeway clocks may differ."""
        self.accepts(STRICT, exp=NOW - 29, nbf=NOW + 30)
        self.assertEqual("it has expired", self.rejects(STRICT, exp=NOW - 30))
        self.assertEqual("it is not valid yet", self.rejects(STRICT, nbf=NOW + 31))
        self.assertEqual("it does not say when it expires", self.rejects(STRICT, exp=None))
        times: tuple[Any, ...] = ("never", True, float("inf"), float("nan"), [NOW], {})
        for time in times:
            self.assertEqual("its exp is no time", self.rejects(STRICT, exp=time))
            self.assertEqual("its nbf is no time", self.rejects(STRICT, nbf=time))

    def test_no_expiry(self) -> None:
        """Where the issuer itself is asked it need not say; if it does, that counts."""
        rules = Rules(expires=False)
        self.assertEqual("ada@example.org", self.accepts(rules, exp=None))
        self.assertEqual("it has expired", self.rejects(rules, exp=1))

    def test_issuer(self) -> None:
        for issuer in (None, "https://id.example.org/", ["https://id.example.org"]):
            self.assertEqual("it is of another issuer", self.rejects(STRICT, iss=issuer))
        self.accepts(Rules(), iss="https://other.example")

    def test_audience(self) -> None:
        audience: Any
        for audience in ("mail", ["other", "smtp"]):
            self.accepts(STRICT, aud=audience)
        for audience in (None, "other", "smtp mail", [], [["smtp"]], {"smtp": 1}):
            self.assertEqual("it is for another audience", self.rejects(STRICT, aud=audience))

    def test_scope(self) -> None:
        """All of them, as whole words."""
        rules = Rules(scope=frozenset({"mail", "send"}))
        scope: Any
        for scope in ("send mail", ["mail", "send"], "a  mail b send"):
            self.accepts(rules, scope=scope)
            self.accepts(rules, scope=None, scp=scope)
        for scope in (None, "", "send", "sendmail", "MAIL SEND", 5, {"mail": "send"}):
            self.assertEqual("it has not all scopes", self.rejects(rules, scope=scope))

    def test_owner(self) -> None:
        """The first claim that is there; none other by default."""
        both = Rules(owner=("email", "sub"))
        self.assertEqual("ada@example.org", self.accepts(both, sub="1234"))
        self.assertEqual("1234", self.accepts(both, email=None, sub="1234"))
        self.assertEqual("it does not name its owner (email)", self.rejects(STRICT, email=None, sub="1234"))
        for name in ("", "a\0b", 5, ["ada"], "\u202e", "x" * 1025):
            self.assertEqual("its email is no name", self.rejects(STRICT, email=name))
            self.assertEqual("its email is no name", self.rejects(both, email=name, sub="1234"))

    def test_prepared(self) -> None:
        self.assertEqual("Am\u00e9lie", self.accepts(STRICT, email="Ame\u0301lie"))

    def test_not_verified(self) -> None:
        """An address that its owner has only claimed is not the owner's."""
        verified: Any
        for verified in (False, "false"):
            self.assertIn("not verified", self.rejects(STRICT, email_verified=verified))
        for verified in (True, "true", None):
            self.accepts(STRICT, email_verified=verified)
        self.assertEqual("1234", self.accepts(Rules(owner=("sub",)), sub="1234", email_verified=False))

    @given(
        st.dictionaries(
            st.sampled_from(["exp", "nbf", "iss", "aud", "scope", "scp", "email", "email_verified"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
                max_leaves=4,
            ),
        )
    )
    def test_anything(self, claims: dict[str, Any]) -> None:
        """Nothing that an issuer may say does worse than be rejected."""
        try:
            owner = STRICT.owner_of({**GOOD, **claims}, NOW)
        except Rejected:
            return
        self.assertTrue(owner)
