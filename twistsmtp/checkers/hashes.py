"""Hashes of passwords as other programs write them, told apart by how they begin.

============================================= =================== ==========================================
begins with                                   scheme              made by
============================================= =================== ==========================================
``$argon2id$`` ``$argon2i$`` ``$argon2d$``    ``argon2``          ours, ``doveadm pw``
``$2y$`` ``$2b$`` ``$2a$``                    ``bcrypt``          ours, ``htpasswd -B``, ``doveadm pw``
``$6$``                                       ``sha512-crypt``    ``mkpasswd``, ``htpasswd -5``, ``doveadm pw``
``$5$``                                       ``sha256-crypt``    ``mkpasswd``, ``htpasswd -2``, ``doveadm pw``
``$apr1$``                                    ``apr1``            ``htpasswd`` without options
``{SHA}``                                     ``sha1``            ``htpasswd -s``
``{SCRAM-SHA-256}`` ``{SCRAM-SHA-1}``         ``scram-sha-256``…  ours, ``doveadm pw``
``SCRAM-SHA-256$``                            ``scram-sha-256``   PostgreSQL
============================================= =================== ==========================================

Dovecot's names of schemes (``{ARGON2ID}``, ``{BLF-CRYPT}``, ``{SHA512-CRYPT}`` …) may stand in front. Passwords that
are not hashed are refused, and so are hashes that are quick to guess, but for ``{SHA}``.
"""

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from twistsmtp.checkers.errors import extra
from twistsmtp.checkers.scram import ScramVerifier
from twistsmtp.sasl.credentials import ScramKeys

__all__ = ["PasswordHash", "Verifier", "hash_argon2", "hash_bcrypt", "parse_hash", "split_hash", "written"]

#: Octets of a password that bcrypt looks at. Every program that writes its hashes leaves away the rest.
BCRYPT_LIMIT = 72


class Verifier(Protocol):
    """What a file has for one user and one scheme."""

    @property
    def scheme(self) -> str:
        """As in the table above."""

    def verify(self, password: str) -> bool:
        """Whether *password*, prepared by SASLprep, is the one. It takes its time: not for the reactor's thread."""


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A hash that only the password itself can be checked against."""

    scheme: str
    text: str = field(repr=False)

    def verify(self, password: str) -> bool:
        """See `Verifier`."""
        return _SCHEMES[self.scheme].verify(self.text, password.encode())


def _argon2(text: str, password: bytes) -> bool:
    argon2 = extra("argon2", "argon2")
    try:
        return bool(argon2.PasswordHasher().verify(text, password))
    except argon2.exceptions.VerifyMismatchError:
        return False


def _bcrypt(text: str, password: bytes) -> bool:
    return bool(extra("bcrypt", "bcrypt").checkpw(password[:BCRYPT_LIMIT], text.encode()))


def _crypt(name: str) -> Callable[[str, bytes], bool]:
    def verify(text: str, password: bytes) -> bool:
        return bool(getattr(extra("passlib.hash", "crypt"), name).verify(password, text))

    return verify


def _sha1(text: str, password: bytes) -> bool:
    return hmac.compare_digest(b64decode(text.removeprefix("{SHA}")), hashlib.sha1(password).digest())


@dataclass(frozen=True, slots=True)
class _Scheme:
    pattern: re.Pattern[str]
    verify: Callable[[str, bytes], bool]
    #: The module that it needs, and the extra that has it.
    needs: tuple[str, str] | None = None


_SCHEMES = {
    "argon2": _Scheme(
        re.compile(r"\$argon2(?:id|i|d)\$v=[0-9]+\$m=[0-9]+,t=[0-9]+,p=[0-9]+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+"),
        _argon2,
        ("argon2", "argon2"),
    ),
    "bcrypt": _Scheme(
        re.compile(r"\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}"),
        _bcrypt,
        ("bcrypt", "bcrypt"),
    ),
    "sha512-crypt": _Scheme(
        re.compile(r"\$6\$(?:rounds=[1-9][0-9]{3,8}\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{86}"),
        _crypt("sha512_crypt"),
        ("passlib.hash", "crypt"),
    ),
    "sha256-crypt": _Scheme(
        re.compile(r"\$5\$(?:rounds=[1-9][0-9]{3,8}\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{43}"),
        _crypt("sha256_crypt"),
        ("passlib.hash", "crypt"),
    ),
    "apr1": _Scheme(
        re.compile(r"\$apr1\$[./A-Za-z0-9]{0,8}\$[./A-Za-z0-9]{22}"),
        _crypt("apr_md5_crypt"),
        ("passlib.hash", "crypt"),
    ),
    "sha1": _Scheme(re.compile(r"\{SHA\}[A-Za-z0-9+/]{27}="), _sha1),
}

_BASE64 = r"([A-Za-z0-9+/]+={0,2})"
_DOVECOT_SCRAM = re.compile(rf"\{{SCRAM-(SHA-256|SHA-1)\}}([0-9]{{1,10}}),{_BASE64},{_BASE64},{_BASE64}")
_POSTGRESQL_SCRAM = re.compile(rf"SCRAM-(SHA-256)\$([0-9]{{1,10}}):{_BASE64}\${_BASE64}:{_BASE64}")
#: Names that Dovecot puts in front of what says by itself what it is.
_DOVECOT = re.compile(r"\{(?:ARGON2ID?|BLF-CRYPT|SHA512-CRYPT|SHA256-CRYPT|CRYPT)\}(?=\$)")
#: What may be shown of a hash that is none that we know.
_NAME = re.compile(r"\{[A-Za-z0-9.-]{1,20}\}|\$[a-z0-9]{1,12}(?=\$)")


def split_hash(text: str) -> tuple[str, str]:
    """The hash that *text* begins with, and the fields behind it, with their ``:``."""
    match = _POSTGRESQL_SCRAM.match(text)  # has colons of its own
    end = match.end() if match else text.find(":")
    return (text, "") if end < 0 else (text[:end], text[end:])


def parse_hash(text: str) -> Verifier:
    """The verifier that *text* stands for.

    :raises ValueError: it is none that can be read; the error does not show it.
    :raises MissingExtra: it takes a library that is not installed.
    """
    scram = _DOVECOT_SCRAM.fullmatch(text) or _POSTGRESQL_SCRAM.fullmatch(text)
    if scram:
        return _scram(*scram.groups())
    bare = _DOVECOT.sub("", text, count=1)
    for name, scheme in _SCHEMES.items():
        if scheme.pattern.fullmatch(bare):
            if scheme.needs:
                extra(*scheme.needs)
            return PasswordHash(name, bare)
    named = _NAME.match(text)
    shown = f"{named[0]} is no hash of a kind that is taken here, or not whole" if named else "no hash of a known kind"
    raise ValueError(shown)


def _scram(digest: str, iterations: str, salt: str, stored: str, server: str) -> ScramVerifier:
    size = hashlib.new(digest.replace("-", "")).digest_size
    try:
        keys = ScramKeys(*(b64decode(salt), int(iterations)), *map(b64decode, (stored, server)))
    except ValueError:
        raise ValueError(f"SCRAM-{digest} keys that are not base64") from None
    if not (keys.salt and 0 < keys.iterations < 2**31 and len(keys.stored_key) == len(keys.server_key) == size):
        raise ValueError(f"SCRAM-{digest} keys of a wrong size")
    return ScramVerifier(digest.lower(), keys)


def written(verifier: ScramVerifier) -> str:
    """SCRAM keys as they stand in a file, in Dovecot's form."""
    keys = verifier.keys
    salt, stored, server = (b64encode(each).decode() for each in (keys.salt, keys.stored_key, keys.server_key))
    return f"{{SCRAM-{verifier.digest.upper()}}}{keys.iterations},{salt},{stored},{server}"


def hash_argon2(password: str) -> str:
    """A new hash: argon2id, with the parameters that argon2-cffi takes by default (RFC 9106's second choice).

    :raises MissingExtra: argon2-cffi is not installed.
    """
    return str(extra("argon2", "argon2").PasswordHasher().hash(password))


def hash_bcrypt(password: str) -> str:
    """A new hash of the cost 12.

    :raises ValueError: the password has more octets than bcrypt looks at.
    :raises MissingExtra: bcrypt is not installed.
    """
    bcrypt = extra("bcrypt", "bcrypt")
    octets = password.encode()
    if len(octets) > BCRYPT_LIMIT:
        raise ValueError(f"bcrypt takes passwords of at most {BCRYPT_LIMIT} octets")
    return str(bcrypt.hashpw(octets, bcrypt.gensalt(12)).decode())
