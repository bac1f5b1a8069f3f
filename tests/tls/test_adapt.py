"""What an application may hand over."""

import ssl as standard
from typing import Any

from OpenSSL import SSL
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLContextFactory, IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.tls.support import client, issue, shake
from twistsmtp.tls.adapt import creator_of


def options() -> ssl.CertificateOptions:
    pair = ssl.PrivateCertificate.loadPEM(issue("mx.test").private_key_and_cert_chain_pem.bytes())
    return ssl.CertificateOptions(pair.privateKey.original, pair.original)


@implementer(IOpenSSLContextFactory)
class ContextFactory:
    """As applications wrote them before there were connection creators."""

    def getContext(self) -> SSL.Context:
        return options().getContext()


class AdaptTests(TestCase):
    """All of it makes connections that shake hands."""

    def assert_works(self, thing: object) -> Any:
        creator = creator_of(thing)
        verifyObject(IOpenSSLServerConnectionCreator, creator)
        TLSMemoryBIOFactory(creator, False, None)  # type: ignore[arg-type]  # it is not asked for the factory inside
        return creator

    def test_options_of_twisted(self) -> None:
        theirs = options()
        self.assertIs(self.assert_works(theirs), theirs)

    def test_a_context(self) -> None:
        shake(self.assert_works(options().getContext()).serverConnectionForTLS(None), client())

    def test_a_context_factory(self) -> None:
        shake(self.assert_works(ContextFactory()).serverConnectionForTLS(None), client())

    def test_a_context_of_the_standard_library(self) -> None:
        error = self.assertRaises(TypeError, creator_of, standard.SSLContext(standard.PROTOCOL_TLS_SERVER))
        self.assertIn("standard library", str(error))
        self.assertIn("twistsmtp.tls.certificates.Certificates", str(error))

    def test_anything_else(self) -> None:
        for thing in None, "cert.pem", ssl.CertificateOptions, object():
            self.assertIn("nothing that TLS can be made of", str(self.assertRaises(TypeError, creator_of, thing)))
