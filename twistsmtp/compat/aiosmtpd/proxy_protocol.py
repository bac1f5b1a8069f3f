"""The header of the PROXY protocol, as handlers are given it: `ProxyData`, and `ProxyTLV` for the values of version 2.

What a header says is as true as who has sent it is to be trusted.
"""

import contextlib
import logging
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Protocol, TypeAlias

__all__ = [
    "AF",
    "PROTO",
    "V2_CMD",
    "V2_SIGNATURE",
    "AsyncReader",
    "EndpointAddress",
    "MalformedTLV",
    "ProxyData",
    "ProxyTLV",
    "UnknownTypeTLV",
    "get_proxy",
]

log = logging.getLogger("mail.debug")

EndpointAddress: TypeAlias = IPv4Address | IPv6Address | str | bytes

V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
#: Octets of a header of version 1.
LONGEST_LINE = 107


class V2_CMD(IntEnum):
    """Whom the connection is for: the proxy itself, or a client."""

    LOCAL = 0
    PROXY = 1


class AF(IntEnum):
    """Families of addresses."""

    UNSPEC = 0
    INET = 1
    INET6 = 2
    UNIX = 3


class PROTO(IntEnum):
    """What is spoken with the client: nothing known, TCP, UDP."""

    UNSPEC = 0
    STREAM = 1
    DGRAM = 2


class MalformedTLV(RuntimeError):
    """A value that is cut off."""


class UnknownTypeTLV(KeyError):
    """A value of a type that has no name."""


class AsyncReader(Protocol):
    """Where a header is read from; asyncio's ``StreamReader`` is one."""

    async def read(self, n: int = ...) -> bytes:
        """At most *n* octets, none at the end."""
        ...

    async def readexactly(self, n: int) -> bytes:
        """As many octets."""
        ...

    async def readuntil(self, separator: bytes = ...) -> bytes:
        """All octets up to *separator*, and it."""
        ...


_NOT_FOUND = object()


def _same(get: Callable[[str], Any], expected: dict[str, Any], raises: bool) -> bool:
    """Whether *get* finds what is *expected*.

    :raises KeyError: there is no such thing, and *raises*.
    :raises ValueError: it is another, and *raises*.
    """
    for name, value in expected.items():
        actual = get(name)
        if actual is _NOT_FOUND:
            error: Exception = KeyError(f"notfound:{name}")
        elif actual != value:
            error = ValueError(f"mismatch:{name} actual={actual!r} expect={value!r}")
        else:
            continue
        if raises:
            raise error
        return False
    return True


class ProxyTLV(dict[str, Any]):
    """The values of version 2, by the names of their types. What is not there is ``None`` as an attribute."""

    __slots__ = ("tlv_loc",)

    PP2_TYPENAME: dict[int, str] = {  # noqa: RUF012  # a name of the original's
        0x01: "ALPN",
        0x02: "AUTHORITY",
        0x03: "CRC32C",
        0x04: "NOOP",
        0x05: "UNIQUE_ID",
        0x20: "SSL",
        0x21: "SSL_VERSION",
        0x22: "SSL_CN",
        0x23: "SSL_CIPHER",
        0x24: "SSL_SIG_ALG",
        0x25: "SSL_KEY_ALG",
        0x30: "NETNS",
    }

    def __init__(self, *args: Any, _tlv_loc: dict[str, int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Where each of them begins.
        self.tlv_loc = _tlv_loc

    def __getattr__(self, item: str) -> Any:
        return self.get(item)

    def same_attribs(self, _raises: bool = False, **kwargs: Any) -> bool:
        """Whether the values are these; see `_same`."""
        return _same(lambda name: self.get(name, _NOT_FOUND), kwargs, _raises)

    @classmethod
    def parse(cls, data: bytes, partial_ok: bool = True, strict: bool = False) -> tuple[dict[str, Any], dict[str, int]]:
        """The values in *data*, and where each of them begins.

        :param partial_ok: keep those in front of a malformed one.
        :param strict: refuse types that have no name.
        :raises MalformedTLV: a value is cut off, and not *partial_ok*.
        :raises UnknownTypeTLV: *strict*, and there is one.
        """
        values: dict[str, Any] = {}
        places: dict[str, int] = {}
        try:
            for place, name, value in cls._each(data, strict):
                places[name] = place
                if name != "SSL":
                    values[name] = value
                    continue
                if len(value) < 5:
                    raise MalformedTLV("TLV 0x20 is malformed!")
                values.update(SSL_CLIENT=value[0], SSL_VERIFY=int.from_bytes(value[1:5], "big"), SSL=False)
                for inner, inner_name, inner_value in cls._each(value[5:], strict):
                    places[inner_name] = place + 8 + inner
                    values[inner_name] = inner_value
                values["SSL"] = True
        except MalformedTLV:
            if not partial_ok:
                raise
        return values, places

    @classmethod
    def _each(cls, data: bytes, strict: bool) -> Iterator[tuple[int, str, bytes]]:
        start = 0
        while start < len(data):
            kind, behind = data[start], start + 3 + int.from_bytes(data[start + 1 : start + 3], "big")
            if max(behind, start + 3) > len(data):
                raise MalformedTLV(f"TLV 0x{kind:02X} is malformed!")
            name = cls.PP2_TYPENAME.get(kind)
            if name is None and strict:
                raise UnknownTypeTLV(f"x{kind:02X}")
            yield start, name or f"x{kind:02X}", bytes(data[start + 3 : behind])
            start = behind

    @classmethod
    def from_raw(cls, raw: bytes, strict: bool = False) -> "ProxyTLV | None":
        """The values in *raw*; ``None`` where it is empty. For what is raised see `parse`."""
        if not raw:
            return None
        values, places = cls.parse(raw, partial_ok=False, strict=strict)
        return cls(values, _tlv_loc=places)

    @classmethod
    def name_to_num(cls, name: str) -> int | None:
        """The type that is called *name*."""
        return next((kind for kind, known in cls.PP2_TYPENAME.items() if known == name), None)


@dataclass(slots=True)
class ProxyData:
    """What a proxy says. It is true where it is `valid`."""

    #: 1 or 2; ``None`` where that is not known.
    version: int | None = field(kw_only=True)
    command: int | None = field(default=None, init=False)
    family: int | None = field(default=None, init=False)
    protocol: int | None = field(default=None, init=False)
    src_addr: EndpointAddress | None = field(default=None, init=False)
    dst_addr: EndpointAddress | None = field(default=None, init=False)
    src_port: int | None = field(default=None, init=False)
    dst_port: int | None = field(default=None, init=False)
    #: What stands behind UNKNOWN or the addresses: in version 2, values that `tlv` reads.
    rest: bytes = field(default=b"", init=False)
    #: The whole header.
    whole_raw: bytearray = field(default_factory=bytearray, init=False)
    #: Where in it the values begin.
    tlv_start: int | None = field(default=None, init=False)
    #: What is wrong with it.
    error: str = field(default="", init=False)
    _tlv: ProxyTLV | None = field(default=None, init=False)

    @property
    def valid(self) -> bool:
        """Whether it is a header, and nothing is wrong with it."""
        return not (self.error or self.version is None or self.protocol is None)

    @property
    def tlv(self) -> ProxyTLV | None:
        """The values of version 2; ``None`` where there are none, or where they are malformed."""
        if self._tlv is None:
            with contextlib.suppress(MalformedTLV):
                self._tlv = ProxyTLV.from_raw(self.rest)
        return self._tlv

    def with_error(self, error_msg: str, log_prefix: bool = True) -> "ProxyData":
        """Itself, when *error_msg* is written down and logged."""
        log.warning("%s%s", "PROXY error: " if log_prefix else "", error_msg)
        self.error = error_msg
        return self

    def same_attribs(self, _raises: bool = False, **kwargs: Any) -> bool:
        """Whether the attributes are these; see `_same`."""
        return _same(lambda name: getattr(self, name, _NOT_FOUND), kwargs, _raises)

    def __bool__(self) -> bool:
        return self.valid


# --- reading -------------------------------------------------------------------------------------------------


async def get_proxy(reader_func: AsyncReader) -> ProxyData:
    """Read a header. What is wrong with it is in `ProxyData.error`."""
    try:
        begin = bytes(await reader_func.readexactly(5))
        if begin == b"PROXY":
            return _read_line(begin + await reader_func.readuntil(b"\n"))
        if begin == V2_SIGNATURE[:5]:
            return await _get_v2(reader_func, begin)
    except Exception as error:
        return ProxyData(version=None).with_error(f"PROXY exception: {error}", False)
    return ProxyData(version=None).with_error("PROXY unrecognized signature")


_HOST = re.compile(r"[0-9a-fA-F.:]+")
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")


def _read_line(line: bytes) -> ProxyData:
    """A header of version 1."""
    data = ProxyData(version=1)
    data.whole_raw = bytearray(line)
    if len(line) > LONGEST_LINE:
        return data.with_error("PROXYv1 header too long")
    if not line.endswith(b"\r\n"):
        return data.with_error("PROXYv1 malformed")
    signature, *words = line[:-2].decode("latin-1").split(" ")
    if signature != "PROXY" or not words:
        return data.with_error("PROXYv1 wrong signature")
    kind, words = words[0], words[1:]
    if kind == "UNKNOWN":
        data.protocol, data.family = PROTO.UNSPEC, AF.UNSPEC
        data.rest = "".join(f" {word}" for word in words).encode("latin-1")
        return data
    data.family = {"4": AF.INET, "6": AF.INET6}.get(kind[-1:])
    if data.family is None:
        return data.with_error("PROXYv1 unrecognized family")
    if not kind.startswith("TCP"):
        return data.with_error("PROXYv1 unrecognized protocol")
    data.protocol = PROTO.STREAM
    error = _read_ends(data, words)
    return data.with_error(f"PROXYv1 {error}") if error else data


def _read_ends(data: ProxyData, words: list[str]) -> str:
    """Both ends of the connection, and what is wrong with them."""
    hosts, ports, others = words[:2], words[2:4], words[4:]
    if len(hosts) < 2 or not all(map(_HOST.fullmatch, hosts)):
        return "address malformed"
    try:
        source, destination = map(ip_address, hosts)
    except ValueError:
        return "address malformed"
    version = 4 if data.family == AF.INET else 6
    if not source.version == destination.version == version:
        return f"address not IPv{version}"
    data.src_addr, data.dst_addr = source, destination
    if len(ports) < 2 or not all(map(_PORT.fullmatch, ports)):
        return "port malformed"
    data.src_port, data.dst_port = map(int, ports)
    for side, port in (("src", data.src_port), ("dst", data.dst_port)):
        if port > 65535:
            return f"{side} port out of bounds"
    return "unrecognized extraneous data" if others else ""


async def _get_v2(reader: AsyncReader, begin: bytes) -> ProxyData:
    data = ProxyData(version=2)
    signature = await _read(reader, "signature", begin, len(V2_SIGNATURE))
    if signature != V2_SIGNATURE:
        return data.with_error("PROXYv2 wrong signature")
    header = await _read(reader, "header", b"", 4)
    version, data.command = divmod(header[0], 16)
    data.family, data.protocol = divmod(header[1], 16)
    if version != 2:
        return data.with_error("PROXYv2 illegal version")
    if data.command > max(V2_CMD):
        return data.with_error("PROXYv2 unsupported command")
    if data.family > max(AF):
        return data.with_error("PROXYv2 unsupported family")
    if data.protocol > max(PROTO):
        return data.with_error("PROXYv2 unsupported protocol")
    tail = await _read(reader, "tail part", b"", int.from_bytes(header[2:4], "big"))
    data.whole_raw = bytearray(signature + header + tail)
    return _read_addresses(data, tail)


async def _read(reader: AsyncReader, name: str, begun: bytes, size: int) -> bytes:
    """*size* octets, of which some are there.

    :raises ConnectionError: there are no more.
    """
    octets = bytes(begun)
    while len(octets) < size:
        piece = await reader.read(size - len(octets))
        if not piece:
            raise ConnectionError(f"Connection lost while waiting for {name}")
        octets += piece
    return octets


#: How both addresses stand there, with their ports, and what they are made of.
_ADDRESSES: dict[int, tuple[struct.Struct, Callable[[bytes], EndpointAddress]]] = {
    AF.INET: (struct.Struct("!4s4sHH"), IPv4Address),
    AF.INET6: (struct.Struct("!16s16sHH"), IPv6Address),
    AF.UNIX: (struct.Struct("!108s108s"), bytes),
}


def _read_addresses(data: ProxyData, tail: bytes) -> ProxyData:
    if data.family not in _ADDRESSES or data.protocol == PROTO.UNSPEC:
        data.rest = tail
        return data
    layout, make = _ADDRESSES[data.family]
    if len(tail) < layout.size:
        return data.with_error("PROXYv2 truncated address")
    source, destination, *ports = layout.unpack_from(tail)
    data.src_addr, data.dst_addr = make(source), make(destination)
    if ports:
        data.src_port, data.dst_port = ports
    data.rest = tail[layout.size :]
    if data.rest:
        data.tlv_start = 16 + layout.size
    return data
