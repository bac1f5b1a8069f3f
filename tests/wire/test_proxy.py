"""The header of the PROXY protocol, by the sections of its document."""

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support import cuts
from tests.wire.proxies import DESTINATION, INET, SIGNATURE, SOURCE, any_header, block, crc32c, value, written
from twistsmtp.wire.proxy import (
    Command,
    Family,
    ProxiedTLS,
    ProxyError,
    ProxyHeader,
    SocketAddress,
    read_header,
)


class PropertyTests(SynchronousTestCase):
    @given(any_header, st.binary(max_size=40))
    def test_what_is_written_is_read(self, header: ProxyHeader, rest: bytes) -> None:
        octets = written(header)
        self.assertEqual(read_header(octets + rest), (header, len(octets)))

    @given(any_header)
    def test_nothing_less_is_enough(self, header: ProxyHeader) -> None:
        octets = written(header)
        for end in range(len(octets)):
            self.assertIsNone(read_header(octets[:end]), octets[:end])

    @given(st.binary(max_size=300), st.integers(0, 64))
    def test_whatever_comes(self, octets: bytes, limit: int) -> None:
        for beginning in b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11", block(INET)[:16]:
            self.read_or_refuse(beginning + octets, limit)

    @given(any_header, st.integers(0), st.integers(1, 255))
    def test_whatever_an_octet_becomes(self, header: ProxyHeader, position: int, change: int) -> None:
        octets = bytearray(written(header))
        octets[position % len(octets)] ^= change
        self.read_or_refuse(bytes(octets), 4096)

    @given(any_header, st.lists(st.integers(0), max_size=3))
    def test_whatever_is_missing(self, header: ProxyHeader, positions: list[int]) -> None:
        pieces = cuts(written(header), positions)
        self.read_or_refuse(b"".join(pieces[::2]), 4096)

    def read_or_refuse(self, octets: bytes, limit: int) -> None:
        try:
            found = read_header(octets, limit)
        except ProxyError as error:
            self.assertTrue(str(error).isprintable())
            return
        if found is None:
            self.assertLess(len(octets), max(107, 16 + limit))
        else:
            header, taken = found
            self.assertTrue(0 < taken <= len(octets))
            self.assertTrue(taken <= max(107, 16 + limit))
            for text in header.alpn, header.authority or "", header.namespace:
                self.assertTrue(text.isprintable() and text.isascii())


class RefusedTestCase(SynchronousTestCase):
    def assert_refused(self, octets: bytes, why: str) -> None:
        self.assertIn(why, str(self.assertRaises(ProxyError, read_header, octets)), octets)


class BeginningTests(RefusedTestCase):
    """Section 2.2: identifying the protocol version is easy."""

    def test_what_is_no_header(self) -> None:
        for octets in (
            b"EHLO x\r\n",
            b"\x16\x03\x01",
            b"GET / HTTP/1.1",
            b"PROXYTCP4",
            b"PROXX",
            b"proxy ",
            b"\0",
            b"\r\nA",
        ):
            self.assert_refused(octets, "there is no PROXY header")

    def test_nothing_yet(self) -> None:
        self.assertIsNone(read_header(b""))


class LineTests(RefusedTestCase):
    """Section 2.1."""

    def test_the_example(self) -> None:
        octets = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n"
        header = ProxyHeader(
            version=1,
            command=Command.PROXY,
            family=Family.INET,
            source=SocketAddress("192.168.0.1", 56324),
            destination=SocketAddress("192.168.0.11", 443),
        )
        self.assertEqual(read_header(octets), (header, octets.index(b"GET")))

    def test_the_longest_of_each_kind(self) -> None:
        host = ":".join(["ffff"] * 8)
        for octets, length in (
            (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", 56),
            (f"PROXY TCP6 {host} {host} 65535 65535\r\n".encode(), 104),
            (b"PROXY UNKNOWN\r\n", 15),
            (f"PROXY UNKNOWN {host} {host} 65535 65535\r\n".encode(), 107),
        ):
            self.assertEqual(len(octets), length)
            found = read_header(octets)
            self.assertEqual(found and found[1], length)

    def test_unknown(self) -> None:
        """What stands behind it is ignored, whatever it is."""
        for rest in b"", b" ", b" 1 2 3", b" \r \n \xff\0":
            found = read_header(b"PROXY UNKNOWN" + rest + b"\r\n")
            assert found
            self.assertEqual(found[0], ProxyHeader(version=1, command=Command.PROXY, family=Family.UNSPEC))

    def test_ipv6(self) -> None:
        for text, host in (
            ("2001:DB8::0:1", "2001:db8::1"),
            ("::", "::"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
            ("::ffff:c000:0201", "::ffff:192.0.2.1"),
        ):
            found = read_header(f"PROXY TCP6 {text} ::1 0 65535\r\n".encode())
            assert found
            self.assertEqual(found[0].source, SocketAddress(host, 0))
            self.assertEqual(found[0].destination, SocketAddress("::1", 65535))

    def test_malformed(self) -> None:
        for octets in (
            b"PROXY \r\n",
            b"PROXY TCP4\r\n",
            b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1  2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY UNKNOWN1\r\n",
        ):
            self.assert_refused(octets, "the PROXY line is malformed")

    def test_malformed_addresses(self) -> None:
        for kind, host in (
            ("TCP4", "192.0.2"),
            ("TCP4", "192.0.2.256"),
            ("TCP4", "192.0.02.1"),
            ("TCP4", "192.0.2.1/24"),
            ("TCP4", "::1"),
            ("TCP4", ""),
            ("TCP4", "٣.0.2.1"),
            ("TCP6", "192.0.2.1"),
            ("TCP6", "::1%eth0"),
            ("TCP6", "1::2::3"),
            ("TCP6", "[::1]"),
            ("TCP6", "12345::"),
            ("TCP6", "\xff"),
            ("TCP4", "192.0.2.1\n"),
        ):
            good = "192.0.2.2" if kind == "TCP4" else "::2"
            for pair in f"{host} {good}", f"{good} {host}":
                self.assert_refused(f"PROXY {kind} {pair} 1 2\r\n".encode(), "malformed address")

    def test_malformed_ports(self) -> None:
        for port in "65536", "01", "-1", "+1", "x", "", "1.0", "100000", "٣", "1\n":
            for pair in f"{port} 2", f"2 {port}":
                self.assert_refused(f"PROXY TCP4 192.0.2.1 192.0.2.2 {pair}\r\n".encode(), "malformed port")

    def test_only_crlf_ends_it(self) -> None:
        for end in b"\n", b"\r", b"\r\r", b"\n\r":
            self.assertIsNone(read_header(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2" + end))

    def test_too_long(self) -> None:
        self.assertIsNone(read_header(b"PROXY UNKNOWN".ljust(106, b"x")))
        for end in b"", b"\r\n":
            self.assert_refused(b"PROXY UNKNOWN ".ljust(107, b"x") + end, "too long")
        self.assert_refused(b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n", "too long")


class BlockTests(RefusedTestCase):
    """Section 2.2."""

    def read(self, octets: bytes) -> ProxyHeader:
        found = read_header(octets)
        assert found
        self.assertEqual(found[1], len(octets))
        return found[0]

    def test_the_families(self) -> None:
        inet6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "2001:db8::25")
        unix = b"/run/a\0 left over".ljust(108, b"\0") + b"\0abstract".ljust(108, b"\0")
        for family, addresses, kind, source, destination in (
            (0x00, b"", Family.UNSPEC, None, None),
            (0x11, INET, Family.INET, SOURCE, DESTINATION),
            (
                0x21,
                inet6 + struct.pack("!HH", 1, 25),
                Family.INET6,
                SocketAddress("2001:db8::1", 1),
                SocketAddress("2001:db8::25", 25),
            ),
            (0x31, unix, Family.UNIX, b"/run/a", b"\0abstract"),
            # Datagrams, and what is not said: as if there were none.
            (0x12, INET, Family.UNSPEC, None, None),
            (0x32, unix, Family.UNSPEC, None, None),
            (0x10, INET, Family.UNSPEC, None, None),
        ):
            header = self.read(block(addresses, family=family))
            self.assertEqual((header.family, header.source, header.destination), (kind, source, destination))
            self.assertEqual((header.version, header.command), (2, Command.PROXY))

    def test_local(self) -> None:
        """Whatever it has is skipped, the family included."""
        local = ProxyHeader(version=2, command=Command.LOCAL, family=Family.UNSPEC)
        for octets in (
            block(command=0x20, family=0),
            block(INET, command=0x20),
            block(b"\xff\xff\xff", command=0x20, family=0x31),
            block(INET, value(0x03, b"\0\0\0\1"), command=0x20),
        ):
            self.assertEqual(self.read(octets), local)

    def test_unknown_versions_commands_and_families(self) -> None:
        for command in 0x01, 0x11, 0x31, 0xF1, 0x22, 0x2F:
            self.assert_refused(block(INET, command=command), "version or command")
        for family in 0x41, 0xF1, 0x13, 0x1F:
            self.assert_refused(block(INET, family=family), "family")

    def test_no_room_for_the_addresses(self) -> None:
        for family, size in (0x11, 12), (0x21, 36), (0x31, 216), (0x12, 12):
            self.assert_refused(block(bytes(size - 1), family=family), "no room")

    def test_the_limit(self) -> None:
        filled = block(INET, value(0x04, bytes(4096 - 12 - 3)))
        self.assertEqual(len(filled), 16 + 4096)
        self.assertEqual(self.read(filled).source, SOURCE)
        # It is known from the length alone.
        self.assert_refused(block(INET, value(0x04, bytes(4096 - 12 - 2)))[:16], "too long")
        self.assertIsNone(read_header(filled[:16]))

    def test_nothing_is_taken_that_is_behind_it(self) -> None:
        found = read_header(block(INET) + b"EHLO x\r\n")
        self.assertEqual(found and found[1], 28)


class ValueTests(RefusedTestCase):
    """Sections 2.2.1 to 2.2.8."""

    def read(self, *values: bytes) -> ProxyHeader:
        found = read_header(block(INET, b"".join(values)))
        assert found
        return found[0]

    def test_all_of_them(self) -> None:
        tls = struct.pack("!BI", 5, 0) + value(0x21, b"TLSv1.3") + value(0x22, "Ada L\xf6velace".encode())
        tls += value(0x23, b"TLS_AES_128_GCM_SHA256") + value(0x24, b"RSA-SHA256") + value(0x25, b"RSA2048")
        header = self.read(
            value(0x01, b"smtp"),
            value(0x02, b"MX.example.org"),
            value(0x04, b"padding"),
            value(0x05, bytes(range(128))),
            value(0x20, tls + value(0x2A, b"x")),
            value(0x30, b"blue"),
            value(0xE0, b"\0ours"),
            value(0xEF, b""),
        )
        self.assertEqual(header.alpn, "smtp")
        self.assertEqual(header.authority, "mx.example.org")
        self.assertEqual(header.unique_id, bytes(range(128)))
        self.assertEqual(header.namespace, "blue")
        self.assertEqual(header.others, ((0xE0, b"\0ours"), (0xEF, b"")))
        self.assertEqual(
            header.tls,
            ProxiedTLS(
                client=5,
                verify=0,
                version="TLSv1.3",
                cipher="TLS_AES_128_GCM_SHA256",
                common_name="Ada L\\xf6velace",
                signature_algorithm="RSA-SHA256",
                key_algorithm="RSA2048",
                others=((0x2A, b"x"),),
            ),
        )

    def test_what_is_not_there(self) -> None:
        header = self.read()
        self.assertEqual((header.alpn, header.authority, header.unique_id), ("", None, b""))
        self.assertEqual((header.namespace, header.tls, header.others), ("", None, ()))

    def test_who_has_spoken_tls_and_shown_a_certificate(self) -> None:
        for client, verify, encrypted, verified in (
            (0, 0, False, False),
            (1, 0, True, False),
            (3, 0, True, True),
            (5, 0, True, True),
            (7, 1, True, False),
        ):
            tls = ProxiedTLS(client=client, verify=verify)
            self.assertEqual((tls.encrypted, tls.verified), (encrypted, verified))

    def test_texts_are_printable(self) -> None:
        header = self.read(value(0x01, b"\r\n\x1b"), value(0x02, b"a\xff\r\nb"), value(0x30, b"\0"))
        self.assertEqual(
            (header.alpn, header.authority, header.namespace), ("\\x0d\\x0a\\x1b", "a\\xff\\x0d\\x0ab", "\\x00")
        )

    def test_a_unique_id_is_at_most_128_octets(self) -> None:
        self.assert_refused(block(INET, value(0x05, bytes(129))), "unique id")

    def test_cut_off(self) -> None:
        for octets in b"\x01", b"\x01\0", b"\x01\0\1", value(0xE0, b"abc")[:-1], value(0x20, b"\1\0\0\0"):
            self.assert_refused(block(INET, octets), "cut off")
        self.assert_refused(block(INET, value(0x20, b"\1\0\0\0\0\x21\0")), "cut off")

    def test_the_checksum(self) -> None:
        before, behind = value(0x01, b"smtp"), value(0xE0, b"x")
        zeros = block(INET, before + value(0x03, bytes(4)) + behind)
        sum = crc32c(zeros)
        good = zeros.replace(value(0x03, bytes(4)), value(0x03, struct.pack("!I", sum)))
        found = read_header(good)
        assert found
        self.assertEqual((found[0].alpn, found[0].others), ("smtp", ((0xE0, b"x"),)))
        for wrong in (
            zeros,
            good.replace(b"smtp", b"smtq"),
            good[:-1] + b"y",
            good.replace(SIGNATURE + b"\x21\x11", SIGNATURE + b"\x21\x12"),
        ):
            self.assert_refused(wrong, "checksum")
        for size in 0, 3, 5:
            self.assert_refused(block(INET, value(0x03, bytes(size))), "checksum")

    def test_the_writer_knows_the_checksum(self) -> None:
        """The examples of RFC 3720 appendix B.4, and the usual one."""
        for octets, sum in (
            (bytes(32), 0x8A9136AA),
            (b"\xff" * 32, 0x62A8AB43),
            (bytes(range(32)), 0x46DD794E),
            (b"123456789", 0xE3069283),
        ):
            self.assertEqual(crc32c(octets), sum)
