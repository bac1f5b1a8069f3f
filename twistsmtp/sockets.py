"""Sockets for which Twisted's endpoint strings have no words, or not the right ones.

``unix:/run/smtp.sock:mode=660:user=mail:group=postfix``
    is Twisted's, but for ``user`` and ``group``, whom the socket is to belong to. Until it does, nobody but the user
    that the server runs as can connect.

``systemd:domain=UNIX:name=smtp``
    is Twisted's as well, which would open a UNIX socket of systemd's to everybody, and remove it in the end. Here it
    stays what systemd has made it. So does what the socket is: ``domain`` is of no consequence.

``fd:3``
    is a socket that listens, and that the server has inherited as the file descriptor of that number.
"""

import errno
import os
import re
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from grp import getgrnam
from pwd import getpwnam
from typing import Any

from twisted.internet import endpoints, tcp, unix
from twisted.internet.defer import Deferred, execute, fail, maybeDeferred
from twisted.internet.error import AlreadyListened
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["InheritedEndpoint", "UNIXEndpoint", "check_port", "socket_endpoint"]


def socket_endpoint(text: str, reactor: Any, descriptor: int | None = None) -> Any:
    """The endpoint of *text*, if it is of a kind that is described here; else ``None``.

    :param descriptor: of the socket, where another process has opened it: then it is always here.
    :raises ValueError: it is of such a kind, but wrong; and so is whatever Twisted raises then.
    :raises OSError: there is no such descriptor, or it is no socket.
    """
    if descriptor is not None:
        return _PassedEndpoint(reactor, descriptor).of(text)
    kind, *fields = _FIELD.findall(text) or [""]
    if kind == "fd":
        if len(fields) != 1 or not fields[0].isdecimal():
            raise ValueError("is to be the number of a descriptor, as fd:3")
        return InheritedEndpoint(reactor, int(fields[0]))
    if kind == "systemd":
        return _of_systemd(text, reactor)
    return _unix(text, fields, reactor) if kind == "unix" and fields else None


def check_port(text: str) -> None:
    """See that the port of *text*, a Twisted endpoint, is one, as Twisted does not until it listens.

    :raises ValueError: it is too great.
    """
    match = _PORT.match(text)
    if match is not None and int(match[1]) > _LAST_PORT:
        raise ValueError(f"{match[1]} is not a port: the last one is {_LAST_PORT}")


#: The port of TCP, by itself or by name, behind others that have names.
_PORT = re.compile(r"(?:haproxy:)*(?:tcp6?|ssl):(?:(?!port=)\w+=(?:\\.|[^:\\])*:)*(?:port=)?([0-9]{1,99})(?::|\Z)")
_LAST_PORT = 65535

#: What is between colons: a backslash before one makes it part of the value.
_FIELD = re.compile(r"(?:\\.|[^:])+", re.DOTALL)


# --- sockets that were inherited -----------------------------------------------------------------------------


def _of_systemd(text: str, reactor: Any) -> Any:
    try:
        endpoint = endpoints.serverFromString(reactor, text)
    except (IndexError, KeyError):
        raise ValueError("systemd has passed no such socket") from None
    inherited = isinstance(endpoint, endpoints.AdoptedStreamServerEndpoint)
    return InheritedEndpoint(reactor, endpoint.fileno) if inherited else endpoint


@implementer(IStreamServerEndpoint)
class InheritedEndpoint:
    """A socket that listens already. It can be listened on once.

    :param descriptor: its number; it is closed when it has been listened on, as what listens is a copy.
    :raises OSError: there is none, or it is no socket.
    :raises ValueError: it is one that does not listen.
    """

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._family = _family(descriptor)
        self._listened = False

    def listen(self, factory: IProtocolFactory) -> "Deferred[IListeningPort]":
        """See `IStreamServerEndpoint`."""
        if self._listened:
            return fail(AlreadyListened())
        self._listened = True
        return execute(self._adopt, factory)

    def _adopt(self, factory: IProtocolFactory) -> Any:
        os.set_blocking(self._descriptor, False)
        if self._family == socket.AF_UNIX:
            adopt: Any = _InheritedUNIXPort._fromListeningDescriptor  # as adoptStreamPort does
            port = adopt(self._reactor, self._descriptor, factory)
            port.startListening()
        else:
            port = self._reactor.adoptStreamPort(self._descriptor, self._family, factory)
        os.close(self._descriptor)
        return port


class _PassedEndpoint(InheritedEndpoint):
    """A socket that another process has opened. Of ``tcp:`` and its like it is the endpoint itself; to any other it is
    the reactor, and gives out this socket instead of opening one."""

    def of(self, text: str) -> Any:
        """The endpoint of *text*, for which the socket was opened."""
        return self if text.partition(":")[0] in _AS_IT_IS else endpoints.serverFromString(self, text)

    def listenTCP(self, port: object, factory: IProtocolFactory, *_: object, **__: object) -> Any:  # noqa: N802
        """See `IReactorTCP`."""
        return self._adopt(factory)

    def listenUNIX(self, address: object, factory: IProtocolFactory, *_: object, **__: object) -> Any:  # noqa: N802
        """See `IReactorUNIX`."""
        return self._adopt(factory)

    def listenSSL(  # noqa: N802
        self,
        port: object,
        factory: IProtocolFactory,
        contextFactory: Any,  # noqa: N803
        *_: object,
        **__: object,
    ) -> Any:
        """See `IReactorSSL`."""
        return self._adopt(TLSMemoryBIOFactory(contextFactory, False, factory))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


#: Endpoints that are their socket and nothing else.
_AS_IT_IS = frozenset({"tcp", "tcp6", "unix", "systemd", "fd"})


def _family(descriptor: int) -> int:
    inherited = socket.socket(fileno=descriptor)
    try:
        listens = inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    finally:
        inherited.detach()
    if not listens:
        raise ValueError("is a socket that does not listen")
    return inherited.family


class _InheritedUNIXPort(unix.Port):
    """A UNIX socket of somebody else's: neither its mode nor its end is ours to decide."""

    _bindPath: Any  # noqa: N815  # Twisted's
    #: Others may listen there as well, and shutdown(2) would be for all.
    _shouldShutdown = False  # noqa: N815  # Twisted's

    def startListening(self) -> None:  # noqa: N802  # Twisted's
        path, self._bindPath = self._bindPath, b"\0"  # the path of a socket that is in no folder: it has no mode
        unix.Port.startListening(self)
        self._bindPath = path

    def connectionLost(self, reason: Failure) -> None:
        tcp.Port.connectionLost(self, reason)


# --- UNIX sockets --------------------------------------------------------------------------------------------


def _unix(text: str, fields: list[str], reactor: Any) -> Any:
    """The endpoint of *text*, whose parts behind ``unix:`` are *fields*."""
    named = dict(each.split("=", 1) for each in fields if "=" in each)
    path = re.sub(r"\\(.)", r"\1", named.get("address", fields[0]))
    user, group = named.get("user"), named.get("group")
    if user is None and group is None:
        return UNIXEndpoint(endpoints.serverFromString(reactor, text), path)
    if not hasattr(os, "O_PATH"):
        raise ValueError("user and group are for Linux")
    others = [each for each in fields if each.partition("=")[0] not in ("user", "group", "mode")]
    private = ":".join(["unix", *others, "mode=600"])
    owner = _Owner(
        -1 if user is None else _number(user, "user"),
        -1 if group is None else _number(group, "group"),
        int(named.get("mode", "666"), 8),
    )
    return UNIXEndpoint(endpoints.serverFromString(reactor, private), path, owner)


def _number(name: str, kind: str) -> int:
    """The number of a user or group of that name, or of that number."""
    if name.isdecimal():
        return int(name)
    try:
        return getpwnam(name).pw_uid if kind == "user" else getgrnam(name).gr_gid
    except KeyError:
        raise ValueError(f"there is no {kind} {name}") from None


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose a socket is to be: -1 is who has it already."""

    user: int
    group: int
    mode: int


@implementer(IStreamServerEndpoint)
@dataclass(frozen=True, slots=True)
class UNIXEndpoint:
    """Listens on a UNIX socket.

    :param endpoint: Twisted's own for it.
    :param path: where it is.
    :param owner: what is to become of it; if it is to become anything, *endpoint* makes it for its user alone.
    """

    endpoint: Any
    path: str
    owner: _Owner | None = None

    def listen(self, factory: IProtocolFactory) -> "Deferred[IListeningPort]":
        """See `IStreamServerEndpoint`."""
        _forget_namesake(self.path)
        port: Deferred[IListeningPort] = self.endpoint.listen(factory)
        return port.addCallback(self._hand_over) if self.owner else port

    def _hand_over(self, port: IListeningPort) -> IListeningPort:
        assert self.owner
        try:
            _change(self.path, self.owner)
        except OSError:
            maybeDeferred(port.stopListening).addErrback(lambda _: None)  # the socket may be gone
            raise
        return port


def _change(path: str, owner: _Owner) -> None:
    # By a descriptor: in a folder that others may write to, there may be something else at that path by now.
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
        itself = f"/proc/self/fd/{descriptor}"
        os.chown(itself, owner.user, owner.group)
        os.chmod(itself, owner.mode)
    finally:
        os.close(descriptor)


def _forget_namesake(path: str) -> None:
    """Remove what a server left at *path* that was killed, and that had the number of this process, as in containers
    many have. Twisted would take this process for it, and never listen there again."""
    lock = f"{path}.lock"
    with suppress(OSError):
        if os.readlink(lock) == str(os.getpid()) and not _answers(path):
            os.unlink(lock)
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)


def _answers(path: str) -> bool:
    """Whether somebody listens there: this process itself, then."""
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # there are too many that wait to be accepted
            pass
        return True
