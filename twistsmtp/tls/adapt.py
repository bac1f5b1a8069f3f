"""What an application may hand over to have TLS, as the one thing that Twisted wants."""

import ssl
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory, IOpenSSLServerConnectionCreator
from zope.interface import implementer

__all__ = ["creator_of"]


@implementer(IOpenSSLServerConnectionCreator)
class _OfContext:
    """Makes the connections of a context."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """Twisted's word that a connection begins."""
        return SSL.Connection(self._context, None)


@implementer(IOpenSSLServerConnectionCreator)
class _OfContextFactory:
    """Makes the connections of an ``IOpenSSLContextFactory``."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """Twisted's word that a connection begins."""
        return SSL.Connection(self._factory.getContext(), None)


def creator_of(thing: object) -> Any:
    """The provider of ``IOpenSSLServerConnectionCreator`` that *thing* is, or can be made.

    :param thing: such a provider, as `Certificates` and `twisted.internet.ssl.CertificateOptions` are; or an
        ``IOpenSSLContextFactory``; or a pyOpenSSL ``Context``.
    :raises TypeError: it is none of these.
    """
    if IOpenSSLServerConnectionCreator.providedBy(thing):
        return thing
    if IOpenSSLContextFactory.providedBy(thing):
        return _OfContextFactory(thing)
    if isinstance(thing, SSL.Context):
        return _OfContext(thing)
    if isinstance(thing, ssl.SSLContext):
        raise TypeError(
            "an ssl.SSLContext of the standard library is of no use to Twisted, whose TLS is pyOpenSSL's: "
            "use twistsmtp.tls.certificates.Certificates or twisted.internet.ssl.CertificateOptions"
        )
    raise TypeError(f"{thing!r} is nothing that TLS can be made of")
