"""What the tests of a file of accounts share: the file, and who logs in."""

import os
from pathlib import Path
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.checkers.kit import PASSWORD, at_once
from twistsmtp.checkers.passwd_file import PasswdFile
from twistsmtp.checkers.scram import derive_keys
from twistsmtp.sasl.credentials import IScramProof, ScramKeys


def login(name: str | bytes, password: str | bytes = PASSWORD) -> UsernamePassword:
    octets = (each.encode() if isinstance(each, str) else each for each in (name, password))
    return UsernamePassword(*octets)


@implementer(IScramProof)
class Proof:
    """A proof that is made with the password itself."""

    def __init__(self, username: str, digest: str = "sha-256", password: str = PASSWORD) -> None:
        self.username = username
        self.digest = digest
        self.password = password

    def proves(self, keys: ScramKeys) -> bool:
        return derive_keys(self.password, keys.salt, keys.iterations, self.digest) == keys


class ProofOfKeys(Proof):
    """A proof by somebody who knows the keys that the server showed."""

    keys: ScramKeys
    right = False

    def proves(self, keys: ScramKeys) -> bool:
        self.right = keys == self.keys
        return self.right


class FileCase(SynchronousTestCase):
    """A file in which there may be accounts."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.clock = Clock()
        self.times = iter(range(1, 1000))

    def write(self, *lines: str) -> None:
        """Change the file, so that it shows."""
        self.path.write_text("".join(f"{line}\n" for line in lines))
        time = next(self.times) * 10**9
        os.utime(self.path, ns=(time, time))

    def checker(self, *lines: str, in_thread: Any = at_once, **options: Any) -> PasswdFile:
        self.write(*lines)
        return PasswdFile(self.path, in_thread=in_thread, now=self.clock.seconds, **options)

    def accepts(self, checker: PasswdFile, credentials: Any) -> bytes:
        result = self.successResultOf(checker.requestAvatarId(credentials))
        assert isinstance(result, bytes)
        return result

    def refuses(self, checker: PasswdFile, credentials: Any) -> None:
        failure = self.failureResultOf(checker.requestAvatarId(credentials), UnauthorizedLogin)
        self.assertEqual("", str(failure.value))
