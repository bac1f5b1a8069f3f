"""The header of the PROXY protocol."""

import asyncio
import struct
from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.compat.aiosmtpd.kit import Keeper, Memory, MemoryTestCase
from twistsmtp.compat.aiosmtpd.header import ROOM, Header
from twistsmtp.compat.aiosmtpd.proxy_protocol import (
    V2_SIGNATURE,
    MalformedTLV,
    ProxyData,
    ProxyTLV,
    UnknownTypeTLV,
    get_proxy,
)
from twistsmtp.wire.proxy import ProxyError, SocketAddress, read_header

LINE = b"PROXY TCP4 192.0.2.9 198.51.100.7 56324 25\r\n"


class Fronted(Keeper):
    def __init__(self, answer: bool = True) -> None:
        super().__init__()
        self.answer = answer

    async def handle_PROXY(self, server: Any, session: Any, envelope: Any, proxy_data: ProxyData) -> bool:
        self.data = proxy_data
        return self.answer


def read(octets: bytes) -> ProxyData:
    async def main() -> ProxyData:
        header = Header()
        task = asyncio.ensure_future(get_proxy(header))
        for position in range(0, len(octets), 7):
            await asyncio.sleep(0)
            header.feed(octets[position : position + 7])
        await asyncio.sleep(0)
        return await asyncio.wait_for(task, 1)

    return asyncio.run(main())


class Connections(MemoryTestCase):
    def connect(self, *arguments: Any, **parameters: Any) -> Memory:
        return super().connect(*arguments, proxy_protocol_timeout=3.0, **parameters)

    def test_nothing_is_said_before_it(self) -> None:
        handler = Fronted()
        memory = self.connect(handler)
        self.assertEqual(memory.replies(), [])
        for position in range(len(LINE)):
            self.assertEqual(memory.replies(), [])
            memory.send(LINE[position : position + 1])
        self.assertEqual([each[:3] for each in memory.replies()], ["220"])
        self.assertEqual(str(handler.data.src_addr), "192.0.2.9")
        self.assertIs(memory.server.session.proxy_data, handler.data)
        memory.say("HELO x")
        self.assertEqual(memory.mail(), "250 OK")

    def test_commands_in_the_same_segment(self) -> None:
        memory = self.connect(Fronted())
        memory.send(LINE + b"HELO x\r\nQUIT\r\n")
        self.assertEqual([each[:3] for each in memory.replies()], ["220", "250", "221"])

    def test_who_is_refused_hears_nothing(self) -> None:
        for handler, octets in (
            (Fronted(False), LINE),
            (Keeper(), LINE),  # without the hook, nobody is let in
            (Fronted(), b"EHLO x\r\n"),
            (Fronted(), b"PROXY " + b"x" * 200),
            (Fronted(), b"PROXY \xff" + b"x" * (ROOM + 1)),
        ):
            memory = self.connect(handler)
            memory.send(octets)
            memory.advance(0.1)
            self.assertTrue(memory.wire.closing, octets[:20])
            self.assertEqual(memory.replies(), [])

    def test_it_has_its_time(self) -> None:
        memory = self.connect(Fronted())
        memory.send(LINE[:-1])
        memory.advance(2.5)
        self.assertFalse(memory.wire.closing)
        memory.advance(1)
        self.assertTrue(memory.wire.closing)

    def test_a_client_that_goes(self) -> None:
        memory = self.connect(Fronted())
        memory.send(LINE[:-1])
        self.assertFalse(memory.server.eof_received())
        memory.wire.close()
        memory.settle()
        self.assertIsNone(memory.server.session.proxy_data)

    def test_a_hook_that_fails(self) -> None:
        class Failing:
            async def handle_PROXY(self, *arguments: Any) -> bool:
                raise ValueError

        memory = self.connect(Failing())
        memory.send(LINE)
        self.assertTrue(memory.wire.closing)


class Headers(SynchronousTestCase):
    """Read as the server's own reader does (`twistsmtp.wire.proxy`)."""

    def test_lines_that_are_wrong(self) -> None:
        for words in (
            b"TCP4",
            b"TCP4 192.0.2.1",
            b"TCP4 192.0.2.1 192.0.2.2",
            b"TCP4 192.0.2.1 192.0.2.2 1",
            b"",
            b"TCP4 ",
        ):
            line = b"PROXY " + words + b"\r\n"
            self.assertFalse(read(line), line)
            with self.assertRaises(ProxyError):
                read_header(line)

    def test_what_is_wrong_with_a_line(self) -> None:
        for rest, error in (
            (b" UNKNOWN " + b"*" * 100, "header too long"),
            (b" UNKNOWN\n", "malformed"),
            (b"1 UNKNOWN\r\n", "wrong signature"),
            (b"\r\n", "wrong signature"),
            (b" TCP5 192.0.2.1 192.0.2.2 1 2\r\n", "unrecognized family"),
            (b" UDP4 192.0.2.1 192.0.2.2 1 2\r\n", "unrecognized protocol"),
            (b" TCP4 192.0.2.1 2001:db8::1 1 2\r\n", "address not IPv4"),
            (b" TCP6 192.0.2.1 2001:db8::1 1 2\r\n", "address not IPv6"),
            (b" TCP4 192.0.2.x 192.0.2.2 1 2\r\n", "address malformed"),
            (b" TCP4 192.0.2. 192.0.2.2 1 2\r\n", "address malformed"),
            (b" TCP4 192.0.2.1 192.0.2.2 01 2\r\n", "port malformed"),
            (b" TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", "src port out of bounds"),
            (b" TCP4 192.0.2.1 192.0.2.2 1 99999\r\n", "dst port out of bounds"),
            (b" TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", "unrecognized extraneous data"),
        ):
            if error != "header too long":
                self.assertEqual(read(b"PROXY" + rest).error, f"PROXYv1 {error}")
            else:
                self.assertEqual(read(b"PROXY" + rest + b"\r\n").error, f"PROXYv1 {error}")
        unknown = read(b"PROXY UNKNOWN what ever\r\n")
        self.assertTrue(unknown.same_attribs(valid=True, family=0, protocol=0, rest=b" what ever", src_addr=None))

    def test_what_is_wrong_with_the_second_version(self) -> None:
        for octets, error in (
            (b"\r\n\r\n\x00\r\nQUIP\n", "wrong signature"),
            (V2_SIGNATURE + b"\x31\x11\0\0", "illegal version"),
            (V2_SIGNATURE + b"\x22\x11\0\0", "unsupported command"),
            (V2_SIGNATURE + b"\x21\x41\0\0", "unsupported family"),
            (V2_SIGNATURE + b"\x21\x13\0\0", "unsupported protocol"),
            (V2_SIGNATURE + b"\x21\x11\0\2xx", "truncated address"),
        ):
            self.assertEqual(read(octets).error, f"PROXYv2 {error}")
        local = read(V2_SIGNATURE + b"\x20\x00\0\2xx")
        self.assertTrue(local.same_attribs(valid=True, command=0, rest=b"xx", src_port=None))
        path = read(V2_SIGNATURE + b"\x21\x31\0\xd8" + b"/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0"))
        self.assertEqual((path.src_addr, path.src_port, path.tlv), (b"/a".ljust(108, b"\0"), None, None))

    def test_an_end_in_the_middle(self) -> None:
        class Ended:
            async def readexactly(self, n: int) -> bytes:
                return V2_SIGNATURE[:n]

            async def readuntil(self, separator: bytes = b"") -> bytes:
                return separator

            async def read(self, n: int = -1) -> bytes:
                return b""

        data = asyncio.run(get_proxy(Ended()))
        self.assertEqual(data.error, "PROXY exception: Connection lost while waiting for signature")

    def test_what_is_expected(self) -> None:
        for value in (ProxyData(version=1), ProxyTLV({"version": 1}, _tlv_loc={})):
            self.assertTrue(value.same_attribs(version=1))
            self.assertFalse(value.same_attribs(version=2) or value.same_attribs(other=1))
            with self.assertRaises(KeyError):
                value.same_attribs(_raises=True, other=1)
            with self.assertRaises(ValueError):
                value.same_attribs(_raises=True, version=2)
        self.assertEqual((ProxyTLV.name_to_num("SSL_CN"), ProxyTLV.name_to_num("x")), (0x22, None))
        with self.assertRaises(UnknownTypeTLV):
            ProxyTLV.from_raw(b"\xff\0\0", strict=True)
        cut = ProxyData(version=2)
        cut.rest = b"\x20\0\7\0\0\0\0\0\x21\0"
        self.assertIsNone(cut.tlv)
        self.assertEqual(ProxyTLV.parse(cut.rest)[0]["SSL"], False)
        self.assertEqual(ProxyTLV.parse(b"\x20\0\1x")[0], {})

    @given(
        st.sampled_from([4, 6]),
        st.binary(min_size=32, max_size=32),
        st.integers(0, 65535),
        st.integers(0, 65535),
        st.lists(st.tuples(st.sampled_from([0x01, 0x02, 0x30, 0xE0]), st.binary(max_size=20)), max_size=4),
    )
    def test_the_second_version(
        self, version: int, octets: bytes, source: int, destination: int, values: list[tuple[int, bytes]]
    ) -> None:
        size = 4 if version == 4 else 16
        tail = octets[:size] + octets[-size:] + struct.pack("!HH", source, destination)
        tail += b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in values)
        whole = V2_SIGNATURE + bytes([0x21, 0x11 if version == 4 else 0x21]) + struct.pack("!H", len(tail)) + tail
        data = read(whole)
        self.assertTrue(data)
        self.assertEqual(data.whole_raw, whole)
        found = read_header(whole)
        assert found is not None
        header = found[0]
        assert isinstance(header.source, SocketAddress) and isinstance(header.destination, SocketAddress)
        self.assertEqual(
            (data.src_addr, data.src_port, data.dst_addr, data.dst_port),
            (
                ip_address(header.source.host),
                header.source.port,
                ip_address(header.destination.host),
                header.destination.port,
            ),
        )
        names = {0x01: "ALPN", 0x02: "AUTHORITY", 0x30: "NETNS", 0xE0: "xE0"}
        self.assertEqual(dict(data.tlv or {}), {names[kind]: value for kind, value in values})

    @given(st.binary(max_size=300))
    def test_anything(self, octets: bytes) -> None:
        """It is a value, or there is an error; nothing else."""
        try:
            values, places = ProxyTLV.parse(octets, partial_ok=False)
        except MalformedTLV:
            values, places = ProxyTLV.parse(octets)
        self.assertLessEqual({*values} - {"SSL_CLIENT", "SSL_VERIFY"}, {*places})

    def test_where_values_begin(self) -> None:
        raw = b"\x02\x00\x02mx\x20\x00\x0d\x01\x00\x00\x00\x00\x21\x00\x05TLSv1"
        values = ProxyTLV.from_raw(raw)
        assert values is not None
        self.assertEqual(values.tlv_loc, {"AUTHORITY": 0, "SSL": 5, "SSL_VERSION": 13})
        self.assertEqual(raw[values.tlv_loc["SSL_VERSION"]], 0x21)
