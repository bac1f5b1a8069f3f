r"""The header of the PROXY protocol, versions 1 and 2, as HAProxy's ``proxy-protocol.txt`` has it.

A proxy sends it in front of everything else, to say who the client is that it speaks for::

    PROXY TCP4 192.0.2.1 198.51.100.7 56324 25\r\n          version 1: a line of at most 107 octets
    \r\n\r\n\0\r\nQUIT\n ! \x11 \x00\x0c ...                version 2: 16 octets, addresses, then types with values

`read_header` is given what has come of a connection so far. Text in a header is made printable here, as it may be a
client's; what it says is as true as who has sent it is to be trusted.
"""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from twistsmtp.wire.text import printable

__all__ = ["Command", "Family", "Place", "ProxiedTLS", "ProxyError", "ProxyHeader", "SocketAddress", "read_header"]

#: Octets behind the first 16 of version 2 that are read, unless another limit is given.
LIMIT = 4096
#: Octets of a header of version 1, with its CRLF (section 2.1).
LINE_LIMIT = 107
#: Octets of a unique id (section 2.2.5).
UNIQUE_ID_LIMIT = 128

_LINE_BEGIN = b"PROXY "
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = 16


class ProxyError(ValueError):
    """What came is no PROXY header: the connection is to be dropped. The text is ours, and says why."""


class Command(Enum):
    """Whom the connection is for."""

    #: For the proxy itself, to see whether the server lives.
    LOCAL = 0
    #: For a client.
    PROXY = 1


class Family(Enum):
    """What kind of addresses a header has."""

    #: None, or of a kind that the proxy could not say.
    UNSPEC = 0
    INET = 1
    INET6 = 2
    UNIX = 3


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """Where one side of a TCP connection is.

    :param host: an IPv4 or IPv6 address in its usual form.
    """

    host: str
    port: int


#: Where one side of a connection is: over TCP, or at the path of a unix socket, which may be empty.
Place: TypeAlias = SocketAddress | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxiedTLS:
    """What the proxy says of the TLS that the client has spoken with it (section 2.2.6)."""

    #: Bits: 1 for TLS, 2 for a certificate in this connection, 4 for one in this TLS session.
    client: int
    #: 0 if a certificate was sent and verified.
    verify: int
    #: As ``"TLSv1.3"``, printable as all texts here; ``""`` where the proxy does not say.
    version: str = ""
    cipher: str = ""
    #: The common name in the client's certificate.
    common_name: str = ""
    #: Of the proxy's own certificate: ``"RSA-SHA256"``, ``"RSA2048"``.
    signature_algorithm: str = ""
    key_algorithm: str = ""
    #: What else there is, by its type.
    others: tuple[tuple[int, bytes], ...] = ()

    @property
    def encrypted(self) -> bool:
        """Whether the client has spoken TLS."""
        return bool(self.client & 1)

    @property
    def verified(self) -> bool:
        """Whether the client has sent a certificate that the proxy has verified."""
        return bool(self.client & 6) and not self.verify


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyHeader:
    """What a proxy says of a connection."""

    #: 1 or 2.
    version: int
    command: Command
    family: Family
    #: The client, and where it has connected to; ``None`` where the addresses of the connection itself hold.
    source: Place | None = None
    destination: Place | None = None
    #: The application protocol that was agreed on (RFC 7301), printable; ``""`` for none.
    alpn: str = ""
    #: The host that the client wants to speak to (SNI): printable, in lower case; ``None`` if it did not say.
    authority: str | None = None
    #: What the proxy knows the connection by.
    unique_id: bytes = b""
    #: The network namespace, printable.
    namespace: str = ""
    tls: ProxiedTLS | None = None
    #: What else there is, by its type.
    others: tuple[tuple[int, bytes], ...] = ()


def read_header(octets: bytes, limit: int = LIMIT) -> tuple[ProxyHeader, int] | None:
    """Read the header that a connection begins with.

    :param octets: all that has come so far.
    :param limit: octets of a header of version 2, without its first 16.
    :returns: the header, and how many of *octets* it is; or ``None`` if more must come.
    :raises ProxyError: it begins with no header, or with one that is wrong or too long.
    """
    if octets.startswith(_SIGNATURE):
        return _read_binary(octets, limit)
    if octets.startswith(_LINE_BEGIN):
        return _read_line(octets)
    if _SIGNATURE.startswith(octets) or _LINE_BEGIN.startswith(octets):
        return None
    raise ProxyError("there is no PROXY header")


# --- version 1 -----------------------------------------------------------------------------------------------

_PORT = re.compile("0|[1-9][0-9]{0,4}")


def _read_line(octets: bytes) -> tuple[ProxyHeader, int] | None:
    end = octets.find(b"\r\n", 0, LINE_LIMIT)
    if end < 0:
        if len(octets) >= LINE_LIMIT:
            raise ProxyError("the PROXY line is too long")
        return None
    line = octets[:end].decode("latin-1")
    if line == "PROXY UNKNOWN" or line.startswith("PROXY UNKNOWN "):  # and whatever follows is to be ignored
        return ProxyHeader(version=1, command=Command.PROXY, family=Family.UNSPEC), end + 2
    words = line.split(" ")
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ProxyError("the PROXY line is malformed")
    family = Family.INET if words[1] == "TCP4" else Family.INET6
    source, destination = (_place(family, *pair) for pair in ((words[2], words[4]), (words[3], words[5])))
    header = ProxyHeader(version=1, command=Command.PROXY, family=family, source=source, destination=destination)
    return header, end + 2


def _place(family: Family, host: str, port: str) -> SocketAddress:
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise ProxyError("the PROXY line has a malformed port")
    try:
        if "%" in host or not host.isascii():
            raise ValueError
        packed = (IPv4Address(host) if family is Family.INET else IPv6Address(host)).packed
    except ValueError:
        raise ProxyError("the PROXY line has a malformed address") from None
    return _socket_address(packed, int(port))


def _socket_address(packed: bytes, port: int) -> SocketAddress:
    return SocketAddress(socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed), port)


# --- version 2 -----------------------------------------------------------------------------------------------

#: Octets of the addresses of a family, both of them with their ports.
_ADDRESSES = {Family.UNSPEC: 0, Family.INET: 12, Family.INET6: 36, Family.UNIX: 216}
#: The lower half of the octet that has the family above it.
_STREAM, _LAST_TRANSPORT = 1, 2

_ALPN, _AUTHORITY, _CRC32C, _NOOP, _UNIQUE_ID, _SSL, _NETNS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30
_SSL_TEXTS = {
    0x21: "version",
    0x22: "common_name",
    0x23: "cipher",
    0x24: "signature_algorithm",
    0x25: "key_algorithm",
}


def _read_binary(octets: bytes, limit: int) -> tuple[ProxyHeader, int] | None:
    if len(octets) < _FIXED:
        return None
    version, command = divmod(octets[12], 16)
    family, transport = divmod(octets[13], 16)
    if version != 2 or command > Command.PROXY.value:
        raise ProxyError("the PROXY header is of an unknown version or command")
    if family > Family.UNIX.value or transport > _LAST_TRANSPORT:
        raise ProxyError("the PROXY header has an unknown family of addresses")
    length = int.from_bytes(octets[14:_FIXED])
    if length > limit:
        raise ProxyError("the PROXY header is too long")
    end = _FIXED + length
    if len(octets) < end:
        return None
    if command == Command.LOCAL.value:  # all the rest is to be skipped
        return ProxyHeader(version=2, command=Command.LOCAL, family=Family.UNSPEC), end
    return _proxy(octets[:end], Family(family), stream=transport == _STREAM), end


def _proxy(octets: bytes, family: Family, *, stream: bool) -> ProxyHeader:
    """The header of command PROXY that *octets* are, all of them."""
    behind = _FIXED + _ADDRESSES[family]
    if len(octets) < behind:
        raise ProxyError("the PROXY header has no room for its addresses")
    source, destination = _addresses(octets[_FIXED:behind], family)
    if not stream:  # it is none of a kind that there is here, and then the addresses are not to be used
        family, source, destination = Family.UNSPEC, None, None
    texts: dict[int, str] = {}
    unique_id, tls, others = b"", None, []
    for kind, start, value in _values(octets, behind):
        if kind in (_ALPN, _AUTHORITY, _NETNS):
            texts[kind] = _text(value)
        elif kind == _UNIQUE_ID:
            unique_id = value
        elif kind == _SSL:
            tls = _tls(value)
        elif kind == _CRC32C:
            _check(octets, start, value)
        elif kind != _NOOP:
            others.append((kind, value))
    if len(unique_id) > UNIQUE_ID_LIMIT:
        raise ProxyError("the PROXY header has a unique id that is too long")
    return ProxyHeader(
        version=2,
        command=Command.PROXY,
        family=family,
        source=source,
        destination=destination,
        alpn=texts.get(_ALPN, ""),
        authority=texts[_AUTHORITY].lower() if _AUTHORITY in texts else None,
        unique_id=unique_id,
        namespace=texts.get(_NETNS, ""),
        tls=tls,
        others=tuple(others),
    )


def _addresses(octets: bytes, family: Family) -> tuple[Place | None, Place | None]:
    if family is Family.UNSPEC:
        return None, None
    if family is Family.UNIX:
        return _path(octets[:108]), _path(octets[108:])
    size = (len(octets) - 4) // 2
    ports = int.from_bytes(octets[-4:-2]), int.from_bytes(octets[-2:])
    return _socket_address(octets[:size], ports[0]), _socket_address(octets[size : 2 * size], ports[1])


def _path(octets: bytes) -> bytes:
    """What stands before the first NUL; an abstract name begins with one, and is what stands before the last ones."""
    return octets.rstrip(b"\0") if octets.startswith(b"\0") else octets.partition(b"\0")[0]


def _values(octets: bytes, start: int) -> Iterator[tuple[int, int, bytes]]:
    """From *start* on: each type, where its value begins, and the value."""
    while start < len(octets):
        begin = start + 3
        end = begin + int.from_bytes(octets[start + 1 : begin])
        if max(begin, end) > len(octets):
            raise ProxyError("the PROXY header has a value that is cut off")
        yield octets[start], begin, octets[begin:end]
        start = end


def _tls(octets: bytes) -> ProxiedTLS:
    if len(octets) < 5:
        raise ProxyError("the PROXY header has a value that is cut off")
    texts: dict[str, str] = {}
    others = []
    for kind, _, value in _values(octets, 5):
        if kind in _SSL_TEXTS:
            texts[_SSL_TEXTS[kind]] = _text(value)
        else:
            others.append((kind, value))
    return ProxiedTLS(client=octets[0], verify=int.from_bytes(octets[1:5]), others=tuple(others), **texts)


def _text(octets: bytes) -> str:
    return printable(octets.decode("utf-8", "backslashreplace"))


# --- CRC32c (RFC 4960 appendix B) ----------------------------------------------------------------------------


def _row(octet: int) -> int:
    for _ in range(8):
        octet = octet >> 1 ^ (0x82F63B78 if octet & 1 else 0)
    return octet


_TABLE = tuple(map(_row, range(256)))


def _crc32c(octets: bytes) -> int:
    crc, table = 0xFFFFFFFF, _TABLE
    for octet in octets:
        crc = crc >> 8 ^ table[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _check(octets: bytes, start: int, value: bytes) -> None:
    """The checksum *value*, at *start*, is that of *octets* with zeros in its place (section 2.2.3)."""
    if len(value) != 4 or _crc32c(octets[:start] + bytes(4) + octets[start + 4 :]) != int.from_bytes(value):
        raise ProxyError("the PROXY header has a checksum that is wrong")
