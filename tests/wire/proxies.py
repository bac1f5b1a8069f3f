"""Headers of the PROXY protocol: a writer, as a proxy has one, and what hypothesis makes of them."""

import socket
import struct
from ipaddress import ip_address
from typing import Any

from hypothesis import strategies as st

from twistsmtp.wire.proxy import (
    Command,
    Family,
    Place,
    ProxiedTLS,
    ProxyHeader,
    SocketAddress,
)

__all__ = ["DESTINATION", "INET", "SIGNATURE", "SOURCE", "any_header", "block", "crc32c", "value", "written"]

SIGNATURE = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
SOURCE, DESTINATION = SocketAddress("192.0.2.1", 56324), SocketAddress("198.51.100.7", 25)


# --- a writer, as a proxy has one ----------------------------------------------------------------------------


def line(header: ProxyHeader) -> bytes:
    """*header* as version 1."""
    if header.family is Family.UNSPEC:
        return b"PROXY UNKNOWN\r\n"
    source, destination = header.source, header.destination
    assert isinstance(source, SocketAddress) and isinstance(destination, SocketAddress)
    kind = {Family.INET: "TCP4", Family.INET6: "TCP6"}[header.family]
    words = ("PROXY", kind, source.host, destination.host, source.port, destination.port)
    return " ".join(map(str, words)).encode() + b"\r\n"


def block(addresses: bytes = b"", values: bytes = b"", *, command: int = 0x21, family: int = 0x11) -> bytes:
    """A header of version 2."""
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(addresses + values)) + addresses + values


def value(kind: int, octets: bytes) -> bytes:
    """A type with its value."""
    return struct.pack("!BH", kind, len(octets)) + octets


INET = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.7") + struct.pack("!HH", 56324, 25)


def packed(source: Place | None, destination: Place | None) -> bytes:
    """The addresses of version 2."""
    if source is None or destination is None:
        return b""
    if isinstance(source, bytes) and isinstance(destination, bytes):
        return source.ljust(108, b"\0") + destination.ljust(108, b"\0")
    assert isinstance(source, SocketAddress) and isinstance(destination, SocketAddress)
    return (
        ip_address(source.host).packed
        + ip_address(destination.host).packed
        + struct.pack("!HH", source.port, destination.port)
    )


def binary(header: ProxyHeader) -> bytes:
    """*header* as version 2."""
    if header.command is Command.LOCAL:
        return block(command=0x20, family=0)
    values = b""
    if header.alpn:
        values += value(0x01, header.alpn.encode())
    if header.authority is not None:
        values += value(0x02, header.authority.encode())
    if header.unique_id:
        values += value(0x05, header.unique_id)
    if header.namespace:
        values += value(0x30, header.namespace.encode())
    if header.tls:
        tls = header.tls
        texts = {
            0x21: tls.version,
            0x22: tls.common_name,
            0x23: tls.cipher,
            0x24: tls.signature_algorithm,
            0x25: tls.key_algorithm,
        }
        inner = b"".join(value(kind, text.encode()) for kind, text in texts.items() if text)
        inner += b"".join(value(*each) for each in tls.others)
        values += value(0x20, struct.pack("!BI", tls.client, tls.verify) + inner)
    values += b"".join(value(*each) for each in header.others)
    family = header.family.value << 4 | (header.family is not Family.UNSPEC)
    return block(packed(header.source, header.destination), values, family=family)


# --- strategies ----------------------------------------------------------------------------------------------

ports = st.integers(0, 65535)
texts = st.text("abcXYZ019.-_ =*", min_size=1, max_size=40)
KNOWN = {0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30}
others = st.lists(
    st.tuples(st.integers(0, 255).filter(lambda kind: kind not in KNOWN), st.binary(max_size=50)), max_size=4
).map(tuple)


def hosts(version: int) -> st.SearchStrategy[SocketAddress]:
    """The usual form of an address is the C library's, which has dots in some of version 6."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    octets = st.binary(min_size=4 if version == 4 else 16, max_size=4 if version == 4 else 16)
    return st.builds(SocketAddress, octets.map(lambda each: socket.inet_ntop(family, each)), ports)


@st.composite
def headers(draw: st.DrawFn, version: int) -> ProxyHeader:
    """Any header that *version* has words for."""
    places: dict[Family, st.SearchStrategy[Place | None]] = {
        Family.UNSPEC: st.none(),
        Family.INET: hosts(4),
        Family.INET6: hosts(6),
    }
    if version == 2:
        path = st.binary(max_size=108).map(lambda each: b"/" + each[:107].replace(b"\0", b"") if each else each)
        places[Family.UNIX] = path
    family = draw(st.sampled_from([*places]))
    pair: dict[str, Any] = {"source": draw(places[family]), "destination": draw(places[family])}
    if version == 1:
        return ProxyHeader(version=1, command=Command.PROXY, family=family, **pair)
    if draw(st.integers(0, 9)) == 0:
        return ProxyHeader(version=2, command=Command.LOCAL, family=Family.UNSPEC)
    tls = st.builds(
        ProxiedTLS,
        client=st.integers(0, 7),
        verify=st.integers(0, 2**32 - 1),
        version=st.just("") | texts,
        cipher=st.just("") | texts,
        common_name=st.just("") | texts,
        signature_algorithm=st.just("") | texts,
        key_algorithm=st.just("") | texts,
        others=st.lists(st.tuples(st.integers(0x26, 0x2F), st.binary(max_size=9)), max_size=2).map(tuple),
    )
    return ProxyHeader(
        version=2,
        command=Command.PROXY,
        family=family,
        **pair,
        alpn=draw(st.just("") | texts),
        authority=draw(st.none() | texts.map(str.lower)),
        unique_id=draw(st.binary(max_size=128)),
        namespace=draw(st.just("") | texts),
        tls=draw(st.none() | tls),
        others=draw(others),
    )


def written(header: ProxyHeader) -> bytes:
    return line(header) if header.version == 1 else binary(header)


any_header = headers(1) | headers(2)


def crc32c(octets: bytes) -> int:
    """By long division, bit by bit (RFC 4960 appendix B)."""
    crc = 0xFFFFFFFF
    for octet in octets:
        for bit in range(8):
            lowest = (crc ^ octet >> bit) & 1
            crc = crc >> 1 ^ (0x82F63B78 if lowest else 0)
    return crc ^ 0xFFFFFFFF
