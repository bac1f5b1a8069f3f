"""The server's certificates, by host name, and read again when their files change.

`Certificates` is what both ways to begin TLS take::

    certificates = Certificates("/etc/ssl/mail.pem")
    transport.startTLS(certificates)                         # STARTTLS
    TLSMemoryBIOFactory(certificates, False, smtp_factory)   # implicit TLS

With one certificate a connection has its context, and that is all. With several it begins with a context that, as
soon as the client has said whom it wants to speak to, gives it the context of that host. What is read again is for the
connections that come then; those that there are keep what they have.

The files are looked at when a connection begins, but not more often than every so many seconds. So there is no timer
that somebody would have to stop, and a server whom nobody calls does not look.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import TypeAlias

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from zope.interface import implementer

from twistsmtp.textfile import Stamp, stamp_of
from twistsmtp.tls.context import ClientAuth, Clients, make_context
from twistsmtp.tls.pem import Identity, identity_of, read, read_certificates
from twistsmtp.tls.sources import AnyPath, Files, Source, files_of, source_of
from twistsmtp.wire.text import printable

__all__ = ["Certificates"]

_log = Logger(namespace="twistsmtp.tls")


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A certificate, and a digest of the octets that it was made of, which are a secret that nobody needs to keep."""

    identity: Identity
    digest: bytes


#: Contexts by whose they are, which is that one and no other that equals it.
Contexts: TypeAlias = dict[Identity, SSL.Context]


class _Connection(SSL.Connection):
    """Holds on to the context that it began with. OpenSSL does, too, but knows nothing of the callback in Python that
    belongs to it, and which it calls once more for a client's second hello (RFC 8446 section 4.1.4)."""

    def __init__(self, context: SSL.Context) -> None:
        super().__init__(context, None)
        self.first = context


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """The certificates of a server.

    :param sources: where they are; the first one is shown where none is for the host that the client wants. A source
        is a PEM file with a private key, its certificate and its chain; or a pair of files, that of the certificate
        and its chain, and that of the key; or a folder. Of a folder all ``*.pem`` in it are taken, and all folders
        in it, or else itself, that have ``fullchain.pem`` and ``privkey.pem``.
    :param client_auth: whether clients are asked for certificates.
    :param client_ca: a PEM file with the certificate authorities that may vouch for clients.
    :param every: how many seconds at least lie between two looks at the files.
    :param seconds: the clock.
    :param kept: gets the octets of all files that are read; and those in it already are for the first time, where this
        process may not read the file. By default nobody keeps them.
    :raises OSError: a file cannot be read.
    :raises ValueError: a file is not what it should be; the text names it, in one line.
    """

    def __init__(
        self,
        *sources: Source,
        client_auth: ClientAuth = ClientAuth.NONE,
        client_ca: AnyPath | None = None,
        every: float = 60.0,
        seconds: Callable[[], float] = monotonic,
        kept: dict[Path, bytes] | None = None,
    ) -> None:
        if not sources:
            raise ValueError("a server has at least one certificate")
        if client_auth is not ClientAuth.NONE and client_ca is None:
            raise ValueError("certificates of clients are asked for, and there are no authorities to vouch for them")
        self._sources = tuple(map(source_of, sources))
        self._client_ca: Path | None = None
        if client_ca is not None and client_auth is not ClientAuth.NONE:
            self._client_ca = Path(client_ca).absolute()
        self._clients = Clients(client_auth)
        self._every, self._seconds = every, seconds
        self._kept, self._handed = kept, dict(kept or {})
        #: What is in use, by source and by files.
        self._loaded: dict[Files, dict[Files, _Loaded]] = {}
        self._stamps: dict[Path, Stamp | None] = {}
        #: What was wrong when they were read last.
        self._problems: frozenset[str] = frozenset()
        self._look()
        self._read(_raise)
        self._handed.clear()
        self._front, self._contexts = self._make({})

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """The certificates in use, the default first."""
        return tuple(each.certificate for each in self._identities())

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts that there are certificates for, in lower case; ``*`` may be the first label."""
        return tuple(dict.fromkeys(name for each in self._identities() for name in each.names))

    @property
    def client_auth(self) -> ClientAuth:
        """Whether clients are asked for certificates."""
        return self._clients.auth

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """Twisted's word that a connection begins."""
        if self._seconds() >= self._next_look:
            self.refresh()
        return _Connection(self._front)

    def refresh(self) -> None:
        """Look at the files now, and `reload` if one of them has changed, or could not be read the last time.

        The log does not repeat what was wrong then, too.
        """
        before = self._stamps
        self._look()
        if self._stamps != before:
            same = (path for path, stamp in before.items() if stamp and stamp == self._stamps.get(path))
            self._read_again(frozenset(same))

    def reload(self) -> None:
        """Read the files again. Where one is broken or gone what was read before stays, and the log says so.

        A certificate whose file has gone from a folder goes, too, unless the folder would have none.
        """
        self._problems = frozenset()
        self._read_again()

    def _read_again(self, same: frozenset[Path] = frozenset()) -> None:
        """Read all files but *same*."""
        before = self._loaded, self._clients
        errors: list[Exception] = []
        self._read(errors.append, same)
        known, self._problems = self._problems, frozenset(map(str, errors))
        for error in errors:
            if str(error) not in known:
                _report(error)
        if before == (self._loaded, self._clients):
            return
        try:
            self._front, self._contexts = self._make(self._contexts if self._clients == before[1] else {})
        except ValueError as error:
            self._loaded, self._clients = before
            _report(error)
        else:
            _log.info("the certificates were read again: {names}", names=printable(", ".join(self.names)))

    def _identities(self) -> Iterator[Identity]:
        return (each.identity for loaded in self._loaded.values() for each in loaded.values())

    def _look(self) -> None:
        self._next_look = self._seconds() + self._every
        paths = {self._client_ca} if self._client_ca is not None else set()
        for source in self._sources:
            try:
                paths |= {path for files in files_of(source) for path in files}
            except (OSError, ValueError):  # `_read` will say it
                paths |= set(source)
        self._stamps = {path: stamp_of(path) for path in paths}

    def _read(self, failed: Callable[[Exception], None], same: frozenset[Path] = frozenset()) -> None:
        """Read all that there is, but *same*.

        :param failed: called with an `OSError` or a `ValueError`; if it returns, what was read before stays.
        """
        if self._client_ca is not None and self._client_ca not in same:
            try:
                authorities = read_certificates(self._octets(self._client_ca), self._client_ca)
                self._clients = Clients(self._clients.auth, authorities)
            except (OSError, ValueError) as error:
                failed(error)
        self._loaded = {source: self._read_source(source, failed, same) for source in self._sources}

    def _read_source(
        self, source: Files, failed: Callable[[Exception], None], same: frozenset[Path]
    ) -> dict[Files, _Loaded]:
        before, after = self._loaded.get(source, {}), {}
        try:
            found = [source] if self._handed.keys() >= set(source) else files_of(source)
        except (OSError, ValueError) as error:
            failed(error)
            return before
        for files in found:
            old = before.get(files)
            if old is not None and same.issuperset(files):
                after[files] = old
                continue
            try:
                after[files] = _load(files, [self._octets(path) for path in files], old)
            except (OSError, ValueError) as error:
                failed(error)
                if old is not None:
                    after[files] = old
        return after or before

    def _octets(self, path: Path) -> bytes:
        try:
            octets = read(path)
        except OSError as error:
            if isinstance(error, PermissionError) and path in self._handed:
                return self._handed[path]
            self._stamps[path] = None
            raise
        if self._kept is not None:
            self._kept[path] = octets
        return octets

    def _make(self, made: Contexts) -> tuple[SSL.Context, Contexts]:
        """The context that connections begin with, and those that they may be given, but for those in *made* anew:
        it takes a fraction of a millisecond for each.

        :raises ValueError: OpenSSL does not take something.
        """
        default, *others = self._identities()
        if not others:
            return make_context(default, self._clients), {}
        contexts = {each: made.get(each) or make_context(each, self._clients) for each in (default, *others)}
        by_name: dict[bytes, SSL.Context] = {}
        for identity, context in contexts.items():
            for name in filter(str.isascii, identity.names):
                by_name.setdefault(name.encode("ascii"), context)
        return make_context(default, self._clients, lambda connection: _select(connection, by_name)), contexts


def _select(connection: SSL.Connection, by_name: dict[bytes, SSL.Context]) -> None:
    """Give *connection* the context of the host that the client wants, if there is one."""
    name = (connection.get_servername() or b"").lower().rstrip(b".")
    context = by_name.get(name) or by_name.get(b"*." + name.partition(b".")[2])
    if context is not None:
        connection.set_context(context)


def _load(files: Files, octets: list[bytes], old: _Loaded | None) -> _Loaded:
    digest = sha256(b"".join(sha256(each).digest() for each in octets)).digest()
    if old is not None and old.digest == digest:
        return old
    identity = identity_of((files[0], octets[0]), (files[-1], octets[-1]))
    try:
        make_context(identity, Clients())  # what OpenSSL says of it
    except ValueError as error:
        raise ValueError(f"{files[0]}: {error}") from None
    _look_at_dates(identity.certificate, files[0])
    return _Loaded(identity, digest)


def _look_at_dates(certificate: x509.Certificate, path: Path) -> None:
    """Clients will not take a certificate that is not valid; but that is theirs to say, and clocks may be wrong."""
    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        _log.warn(
            "{path}: the certificate has expired on {date:%Y-%m-%d}", path=path, date=certificate.not_valid_after_utc
        )
    elif now < certificate.not_valid_before_utc:
        _log.warn(
            "{path}: the certificate is valid only from {date:%Y-%m-%d} on",
            path=path,
            date=certificate.not_valid_before_utc,
        )


def _raise(error: Exception) -> None:
    raise error


def _report(error: Exception) -> None:
    _log.error("{error}; what was read before stays in use", error=printable(str(error)))
