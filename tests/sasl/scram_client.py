"""The client's side of SCRAM, from the text of RFC 5802 section 3 and 5 alone."""

import hashlib
import hmac
from base64 import b64decode, b64encode

from twistsmtp.sasl.credentials import ScramKeys

__all__ = ["ScramClient", "scram_keys"]


def scram_keys(password: str, salt: bytes, iterations: int, digest: str) -> ScramKeys:
    """What a server keeps of *password*."""
    name = digest.replace("-", "")
    salted = hashlib.pbkdf2_hmac(name, password.encode(), salt, iterations)
    client_key = hmac.new(salted, b"Client Key", name).digest()
    server_key = hmac.new(salted, b"Server Key", name).digest()
    return ScramKeys(salt, iterations, hashlib.new(name, client_key).digest(), server_key)


class ScramClient:
    """Answers three challenges. Its fields may be changed to what no good client would say.

    :param header: the gs2-header.
    :param binding: the octets of the channel binding.
    """

    def __init__(
        self,
        username: str,
        password: str,
        digest: str,
        *,
        header: str = "n,,",
        binding: bytes = b"",
        nonce: str = "fyko+d2lbbFgONRv9qkxdawL",
    ) -> None:
        self._name = digest.replace("-", "")
        self._password = password
        self.first_bare = f"n={username.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        self.header = header
        self.binding = header.encode() + binding
        self.nonce = ""
        self._answers = iter([self._first, self._final, self._done])
        self._signature = b""
        #: Whether the server has shown that it knows the keys.
        self.satisfied = False

    def __call__(self, challenge: bytes) -> bytes:
        return next(self._answers)(challenge.decode()).encode()

    def _hmac(self, key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text, self._name).digest()

    def _first(self, challenge: str) -> str:
        assert challenge == ""
        return self.header + self.first_bare

    def _final(self, server_first: str) -> str:
        nonce, salt, iterations = (each[2:] for each in server_first.split(","))
        assert nonce.startswith(self.first_bare.split("r=")[1].split(",")[0])
        salted = hashlib.pbkdf2_hmac(self._name, self._password.encode(), b64decode(salt), int(iterations))
        without_proof = f"c={b64encode(self.binding).decode()},r={self.nonce or nonce}"
        message = ",".join((self.first_bare, server_first, without_proof)).encode()
        client_key = self._hmac(salted, b"Client Key")
        signature = self._hmac(hashlib.new(self._name, client_key).digest(), message)
        self._signature = self._hmac(self._hmac(salted, b"Server Key"), message)
        proof = (int.from_bytes(client_key) ^ int.from_bytes(signature)).to_bytes(len(signature))
        return f"{without_proof},p={b64encode(proof).decode()}"

    def _done(self, server_final: str) -> str:
        self.satisfied = server_final == f"v={b64encode(self._signature).decode()}"
        return ""
