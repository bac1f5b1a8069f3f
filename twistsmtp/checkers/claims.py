"""What is said of a token (RFC 7662 section 2.2, RFC 7519 section 4.1), and whose it is by that."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twistsmtp.checkers.accounts import prepared_name

__all__ = ["Claims", "Rejected", "Rules"]

Claims = Mapping[str, Any]

#: Seconds by which clocks may differ.
LEEWAY = 30.0


class Rejected(Exception):
    """The token is not accepted; the text says why, for the operator, and shows nothing of the token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What has to be said of a token.

    :param owner: claims that name the owner: the first that is there does.
    :param issuer: who has to have issued it, if that matters.
    :param audience: whom it has to be for: one of these, if any are given.
    :param scope: scopes, all of which it must have.
    :param expires: whether it has to say when it expires.
    """

    owner: tuple[str, ...] = ("email",)
    issuer: str | None = None
    audience: frozenset[str] = frozenset()
    scope: frozenset[str] = frozenset()
    expires: bool = True

    def owner_of(self, claims: Claims, now: float) -> str:
        """The owner's name, prepared by SASLprep.

        :param now: seconds since 1970.
        :raises Rejected: a rule is broken.
        """
        self._check_time(claims, now)
        if self.issuer is not None and claims.get("iss") != self.issuer:
            raise Rejected("it is of another issuer")
        if self.audience and not self.audience & _texts(claims.get("aud")):
            raise Rejected("it is for another audience")
        if not self.scope <= _scopes(claims):
            raise Rejected("it has not all scopes")
        return self._owner(claims)

    def _check_time(self, claims: Claims, now: float) -> None:
        expiry, start = (_seconds(claims, name) for name in ("exp", "nbf"))
        if expiry is None and self.expires:
            raise Rejected("it does not say when it expires")
        if expiry is not None and now >= expiry + LEEWAY:
            raise Rejected("it has expired")
        if start is not None and now < start - LEEWAY:
            raise Rejected("it is not valid yet")

    def _owner(self, claims: Claims) -> str:
        named = next((name for name in self.owner if claims.get(name) is not None), None)
        if named is None:
            raise Rejected(f"it does not name its owner ({', '.join(self.owner)})")
        # Who may choose an address without having it may not be whom it names.
        if named == "email" and claims.get("email_verified") in (False, "false"):
            raise Rejected("its owner's address is not verified")
        value = claims[named]
        name = prepared_name(value) if isinstance(value, str) else None
        if name is None:
            raise Rejected(f"its {named} is no name")
        return name


def _seconds(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise Rejected(f"its {name} is no time")
    return float(value)


def _texts(value: Any) -> frozenset[str]:
    values = value if isinstance(value, list) else [value]
    return frozenset(each for each in values if isinstance(each, str))


def _scopes(claims: Claims) -> frozenset[str]:
    """All scopes: ``scope`` (RFC 8693 section 4.2), or ``scp`` as some issuers have it."""
    each = _texts(claims.get("scope")) | _texts(claims.get("scp"))
    return frozenset(scope for text in each for scope in text.split())
