"""EXTERNAL: whom a certificate names."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.sasl.kit import CONTEXT, failure, talk
from twistsmtp.sasl.api import Context, Denied, Malformed
from twistsmtp.sasl.credentials import IClientCertificate
from twistsmtp.sasl.external import MECHANISM

KEY = ec.generate_private_key(ec.SECP256R1())


def context(
    *,
    mails: Sequence[str] = (),
    hosts: Sequence[str] = (),
    others: Sequence[x509.GeneralName] = (),
    common_names: Sequence[str] = (),
    broken: bool = False,
) -> Context:
    """That of a client whose certificate has these names.

    :param broken: its alternative names are no ASN.1.
    """
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each) for each in common_names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1))  # noqa: DTZ001  # UTC is meant where there is no zone
        .not_valid_after(datetime(2020, 1, 1) + timedelta(days=1))  # noqa: DTZ001  # the same
    )
    names = [*map(x509.RFC822Name, mails), *map(x509.DNSName, hosts), *others]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if broken:
        oid = x509.SubjectAlternativeName.oid
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, b"\x30\x05broken"), critical=False)
    return Context(hostname="mx.test", certificate=builder.sign(KEY, SHA256()))


class ExternalTests(SynchronousTestCase):
    def identity(self, context: Context, asked: bytes = b"") -> str | None:
        done = talk("EXTERNAL", [asked], context=context)
        self.assertEqual((done.challenges, done.error, done.identity[1]), ([b""], None, None))
        verifyObject(IClientCertificate, done.credentials)
        self.assertIs(done.credentials.certificate, context.certificate)
        self.assertEqual(done.credentials.username, done.identity[0])
        return done.identity[0]

    def refused(self, context: Context, asked: bytes = b"") -> None:
        done = talk("EXTERNAL", [asked], context=context)
        self.assertIsInstance(done.error, Denied, asked)
        self.assertEqual(done.logins, [])

    def test_only_with_a_certificate(self) -> None:
        self.assertEqual([MECHANISM.usable(CONTEXT), MECHANISM.usable(context(hosts=["a.test"]))], [False, True])
        self.refused(CONTEXT)

    def test_the_first_name_of_the_best_kind_where_none_is_asked_for(self) -> None:
        for names, wanted in (
            (context(mails=["a@x.test", "b@x.test"], hosts=["h.test"], common_names=["cn"]), "a@x.test"),
            (context(hosts=["*.x.test", "H.test", "g.test"], common_names=["cn"]), "h.test"),
            (context(common_names=["alice", "bob"]), "alice"),
        ):
            self.assertEqual(self.identity(names), wanted)

    def test_an_address(self) -> None:
        names = context(mails=["a@x.test", "Bob@X.test"])
        for asked, wanted in ((b"a@x.test", "a@x.test"), (b"a@X.TEST", "a@x.test"), (b"Bob@x.test", "Bob@X.test")):
            self.assertEqual(self.identity(names, asked), wanted)
        for asked in (b"bob@x.test", b"A@x.test", b"a@y.test", b"a@sub.x.test", b"@x.test", b"a@", b"x.test", b"a"):
            self.refused(names, asked)

    def test_a_host(self) -> None:
        names = context(hosts=["h.test", "*.x.test"])
        for asked, wanted in ((b"h.test", "h.test"), (b"H.Test", "h.test"), (b"www.x.test", "www.x.test")):
            self.assertEqual(self.identity(names, asked), wanted)
        for asked in (
            b"x.test",
            b"a.b.x.test",
            b"*.x.test",
            b"g.test",
            b"h.test.",
            b" h.test",
            b"h.test ",
            b"a@h.test",
            b".",
            b"192.0.2.1",
            b"h\xc3\xa9.test",
        ):
            self.refused(names, asked)

    def test_an_address_of_the_network_is_nobody(self) -> None:
        names = context(others=[x509.IPAddress(ip_address("192.0.2.1"))])
        for asked in (b"", b"192.0.2.1", b"1.2.0.192.in-addr.arpa"):
            self.refused(names, asked)

    def test_a_common_name_only_where_there_are_no_others(self) -> None:
        alone = context(common_names=["alice", "Bj\xf6rn"])
        self.assertEqual(self.identity(alone, b"alice"), "alice")
        self.assertEqual(self.identity(alone, "Bj\xf6rn".encode()), "Bj\xf6rn")
        self.refused(alone, b"Alice")
        self.refused(alone, b"h.test")
        for names in (
            context(hosts=["h.test"], common_names=["alice"]),
            context(others=[x509.IPAddress(ip_address("192.0.2.1"))], common_names=["alice"]),
        ):
            self.refused(names, b"alice")

    def test_a_certificate_that_names_nobody(self) -> None:
        for names in (
            context(),
            context(hosts=["*.x.test"]),
            context(others=[x509.UniformResourceIdentifier("https://x.test:8443/")], common_names=["alice"]),
            context(broken=True, common_names=["alice"]),
        ):
            self.refused(names)
            self.refused(names, b"alice")
            self.refused(names, b"x.test")

    def test_a_name_that_is_none(self) -> None:
        for name in ("a\x1bb", "a\nb", "a\u202eb", "\xad"):
            self.refused(context(common_names=[name]))
            # A client may not ask for it either.
            self.assertIs(failure("EXTERNAL", name.encode(), context=context(common_names=[name])), Malformed)

    def test_what_is_malformed(self) -> None:
        for asked in (b"\0", b"\xff", b"a" * 1025, b"a\nb"):
            self.assertIs(failure("EXTERNAL", asked, context=context(common_names=["alice"])), Malformed, asked[:40])

    def test_the_checker_has_the_last_word(self) -> None:
        done = talk("EXTERNAL", [b""], context=context(mails=["a@x.test"]), check=lambda credentials: False)
        self.assertIsInstance(done.error, Denied)
