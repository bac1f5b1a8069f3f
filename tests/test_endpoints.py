"""Where a server can listen, each shown by a client that really connects: IPv4, IPv6, both by one socket, UNIX sockets,
sockets that systemd passes on, and other sockets that were inherited."""

import os
import re
import shutil
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyListened
from twisted.trial.unittest import SkipTest

from tests.clients.kit import ROOT, TWISTD, Process, program, start
from tests.loopback import CODES, CONVERSATION, LoopbackTestCase, codes, connect, read_all
from twistsmtp import sockets
from twistsmtp.config import Config, ConfigError, load
from twistsmtp.delivery.memory import Memory
from twistsmtp.eager import EagerServer, EagerUNIXServer
from twistsmtp.limits import Limits
from twistsmtp.service import SMTPService, StartError

#: A user and a group that have nothing, by their numbers everywhere.
NOBODY = 65534


def ipv6() -> None:
    """Skip where there is none."""
    try:
        with closing(socket.socket(socket.AF_INET6)) as probe:
            probe.bind(("::1", 0))
    except OSError:
        raise SkipTest("this machine has no IPv6") from None


def root() -> None:
    """Skip for others."""
    if os.geteuid():
        raise SkipTest("only root can be somebody else")


@contextmanager
def nobody() -> Iterator[None]:
    """Be somebody without rights."""
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


class EndpointTestCase(LoopbackTestCase):
    def setUp(self) -> None:
        # Where everybody may go, and where the path of a socket is short enough.
        self.folder = Path(tempfile.mkdtemp(prefix="twistsmtp-"))
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = str(self.folder / "smtp")

    def make(self, *listen: str, **values: Any) -> SMTPService:
        """A service with a delivery that remembers."""
        common: dict[str, Any] = {"hostname": "mx.test", "domains": ("mx.test",), "delivery": "memory:"}
        return SMTPService(Config(listen=listen, **{**common, **values}))

    def start(self, *listen: str, **values: Any) -> SMTPService:
        """It listens."""
        service = self.make(*listen, **values)
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def talk(self, address: Any, family: int = socket.AF_INET) -> "Deferred[bytes]":
        """What the server says to the usual conversation."""

        def run() -> bytes:
            with closing(connect(address, family)) as client:
                client.sendall(CONVERSATION)
                return read_all(client)

        return self.in_thread(run)

    async def assert_works(self, address: Any, family: int = socket.AF_INET) -> None:
        self.assertEqual(codes(await self.talk(address, family)), CODES)

    def port(self, service: SMTPService, number: int = 0) -> int:
        port: Any = service.ports[number]
        return cast(int, port.getHost().port)

    def received(self, service: SMTPService) -> list[str]:
        """Where the messages came from, by their Received fields."""
        delivery = service.factory.delivery
        assert isinstance(delivery, Memory)
        found = [re.match(rb"(?:Return-Path: .*\r\n)?Received: from \S+ \((.*)\)", m.octets) for m in delivery.messages]
        return [each[1].decode() for each in found if each]

    def twistd(self, *arguments: str, before: Sequence[str] = (), descriptors: dict[int, Any] | None = None) -> Process:
        """``twistd smtp``, run by the command *before*."""
        command = [*before, sys.executable, "-c", TWISTD, "--nodaemon", "--pidfile=", "smtp", *arguments]
        command += ["--hostname", "mx.test", "--domain", "mx.test", "--delivery", "discard:"]
        if descriptors is None:
            return start(self, command, folder=self.folder, PYTHONPATH=str(ROOT))
        from twisted.internet import reactor

        process = Process()
        environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
        fds = {0: "w", 1: "r", 2: "r", **descriptors}
        cast(Any, reactor).spawnProcess(process, command[0], command, environment, str(self.folder), childFDs=fds)
        self.addCleanup(process.ended)
        self.addCleanup(process.kill)
        return process

    async def end(self, process: Process) -> None:
        """Have it end in order."""
        process.signal("TERM")
        await process.ended()
        self.assertIn(process.status, (0, -signal.SIGTERM), str(process))


class InternetTests(EndpointTestCase):
    async def test_ipv4(self) -> None:
        service = self.start("tcp:0:interface=127.0.0.1")
        await self.assert_works(("127.0.0.1", self.port(service)))
        self.assertEqual(self.received(service), ["[127.0.0.1]"])

    async def test_ipv6(self) -> None:
        ipv6()
        service = self.start(r"tcp6:0:interface=\:\:1")
        await self.assert_works(("::1", self.port(service)), socket.AF_INET6)
        self.assertEqual(self.received(service), ["[IPv6:::1]"])
        with closing(socket.socket()) as client:
            self.assertNotEqual(client.connect_ex(("127.0.0.1", self.port(service))), 0)

    async def test_both_by_one_socket(self) -> None:
        ipv6()
        for endpoint in (r"tcp6:0:interface=\:\:", "tcp6:0"):
            events = self.events("twistsmtp.connection")
            service = self.start(endpoint)
            await self.assert_works(("127.0.0.1", self.port(service)))
            await self.assert_works(("::1", self.port(service)), socket.AF_INET6)
            # An IPv4 client is what it is where there is a socket for IPv4 alone: in headers, and in the log.
            self.assertEqual(self.received(service), ["[127.0.0.1]", "[IPv6:::1]"])
            await self.until(lambda: len(events) == 2)  # noqa: B023  # it is awaited here
            self.assertEqual([event["client"] for event in events], ["127.0.0.1", "::1"])
            await service.stopService()

    async def test_limits_hold_however_an_ipv4_client_comes(self) -> None:
        ipv6()
        service = self.start(
            *(r"tcp6:0:interface=\:\:", "tcp:0:interface=127.0.0.1"), limits=Limits(connections_per_client=1)
        )
        dual, alone = (("127.0.0.1", self.port(service, number)) for number in range(2))
        for first, second in ((dual, alone), (alone, dual)):

            def run(first: Any = first, second: Any = second) -> tuple[bytes, bytes]:
                with closing(connect(first)) as client:
                    greeting = client.recv(1000)
                    with closing(connect(second)) as another:
                        return greeting, read_all(another)

            one, other = await self.in_thread(run)
            self.assertEqual((codes(one), codes(other)), (["220"], ["421"]))
            await self.until(lambda: not service.factory.connections)

    async def test_whom_an_address_is_trusted_to_be(self) -> None:
        ipv6()
        service = self.start(r"tcp6:0:interface=\:\:", xclient_trusted=("127.0.0.0/8",))
        self.assertIn(b"XCLIENT", await self.talk(("127.0.0.1", self.port(service))))
        self.assertNotIn(b"XCLIENT", await self.talk(("::1", self.port(service)), socket.AF_INET6))

    async def test_a_port_that_somebody_has(self) -> None:
        with closing(socket.socket()) as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            service = self.make(f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1")
            self.assertIn("Address already in use", str(self.assertRaises(StartError, service.startService)))


class UNIXTests(EndpointTestCase):
    def can_connect(self) -> bool:
        with closing(socket.socket(socket.AF_UNIX)) as client:
            return client.connect_ex(self.path) == 0

    def status(self) -> tuple[int, int, int]:
        """The socket's mode, user and group."""
        status = os.stat(self.path)
        self.assertTrue(stat.S_ISSOCK(status.st_mode))
        return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid

    async def test_a_client(self) -> None:
        service = self.start(f"unix:{self.path}:mode=600")
        await self.assert_works(self.path, socket.AF_UNIX)
        self.assertEqual(self.received(service), ["local"])
        await service.stopService()
        self.assertEqual(list(self.folder.iterdir()), [])

    async def test_whose_it_is(self) -> None:
        root()
        cases = {
            "user=65534:group=65533:mode=640": (0o640, NOBODY, NOBODY - 1),
            "user=nobody": (0o666, NOBODY, os.getegid()),
            "mode=660:group=nogroup": (0o660, 0, NOBODY),
            "lockfile=0:user=root:mode=600": (0o600, 0, os.getegid()),
        }
        for options, expected in cases.items():
            service = self.start(f"unix:{self.path}:{options}")
            self.assertEqual(self.status(), expected, options)
            await self.assert_works(self.path, socket.AF_UNIX)
            await service.stopService()
            self.assertEqual(list(self.folder.iterdir()), [])

    async def test_who_can_connect(self) -> None:
        root()
        for options, possible in (
            ("mode=660", False),
            ("mode=660:user=nobody", True),
            ("mode=660:group=nogroup", True),
            ("mode=600:group=nogroup", False),
            ("mode=060:user=nobody", False),
        ):
            service = self.start(f"unix:{self.path}:{options}")
            with nobody():
                self.assertIs(self.can_connect(), possible, options)
            await service.stopService()

    async def test_it_is_never_open_to_others(self) -> None:
        # Not even for the moment until it belongs to whom it should, and whatever the umask.
        root()
        self.addCleanup(os.umask, os.umask(0))
        seen: list[tuple[tuple[int, int, int], bool]] = []

        def look(function: Any) -> Any:
            def changed(*arguments: Any) -> None:
                with nobody():
                    seen.append((self.status(), self.can_connect()))
                function(*arguments)

            return changed

        for name in "chown", "chmod":
            self.patch(os, name, look(getattr(os, name)))
        self.start(f"unix:{self.path}:mode=660:user=65533:group=65533")
        group = os.getegid()
        # Twisted's own change of mode, before it listens; then ours.
        self.assertEqual(seen[1:], [((0o600, 0, group), False), ((0o600, 65533, 65533), False)])
        self.assertFalse(seen[0][1])
        self.assertEqual(self.status(), (0o660, 65533, 65533))

    async def test_something_else_is_there_by_then(self) -> None:
        # Who owns the folder has put a link in its place: what that is to does not become anybody's.
        root()
        target = self.folder / "target"
        target.write_text("")
        before = target.stat()
        service = self.make(f"unix:{self.path}:user=nobody")
        endpoint: Any = service.endpoints[f"unix:{self.path}:user=nobody"]
        listen = endpoint.endpoint.listen

        def replaced(factory: Any) -> Any:
            port = listen(factory)
            os.unlink(self.path)
            os.symlink(target, self.path)
            return port

        endpoint.endpoint.listen = replaced
        error = self.assertRaises(StartError, service.startService)
        self.assertIn("Socket operation on non-socket", str(error))
        self.assertEqual((target.stat().st_mode, target.stat().st_uid), (before.st_mode, before.st_uid))

    async def test_whose_it_may_not_be(self) -> None:
        root()
        self.folder.chmod(0o777)
        with nobody():
            service = self.make(f"unix:{self.path}:user=root")
            error = self.assertRaises(StartError, service.startService)
            self.assertIn("Operation not permitted", str(error))
            await self.until(lambda: not os.path.exists(self.path))
        self.assertFalse(self.can_connect())

    def test_what_is_wrong(self) -> None:
        for options, why in (
            ("user=no-such-user", "there is no user no-such-user"),
            ("group=no-such-group", "there is no group no-such-group"),
            ("mode=rw:user=root", "'rw' is not a number"),
            ("mode=rw", "'rw' is not a number"),
            ("660:user=root", "multiple values for argument 'mode'"),
            ("owner=root", "unexpected keyword argument 'owner'"),
            ("user=root:nosuch=1", "unexpected keyword argument 'nosuch'"),
        ):
            error = self.assertRaises(ConfigError, self.make, f"unix:{self.path}:{options}")
            self.assertIn(why, str(error))
        self.patch(sockets, "os", object())
        self.assertIn("for Linux", str(self.assertRaises(ConfigError, self.make, f"unix:{self.path}:user=root")))

    async def test_a_path_with_a_colon(self) -> None:
        root()
        self.path += ":1"
        self.start(f"unix:{self.path.replace(':', chr(92) + ':')}:mode=600:user=nobody")
        self.assertEqual(self.status()[:2], (0o600, NOBODY))
        await self.assert_works(self.path, socket.AF_UNIX)

    def left_behind(self, process: int) -> None:
        """As after kill -9 of *process*."""
        with closing(socket.socket(socket.AF_UNIX)) as dead:
            dead.bind(self.path)
            dead.listen()
        os.symlink(str(process), f"{self.path}.lock")

    async def test_what_a_server_left_that_was_killed(self) -> None:
        process = self.twistd("--listen", f"unix:{self.path}:mode=600")
        await process.says("gives it to ")
        await self.assert_works(self.path, socket.AF_UNIX)
        process.kill()
        await process.ended()
        self.assertTrue(os.path.exists(self.path) and os.path.islink(f"{self.path}.lock"))
        self.start(f"unix:{self.path}:mode=600")
        await self.assert_works(self.path, socket.AF_UNIX)

    async def test_what_a_server_left_that_had_our_number(self) -> None:
        # In a container each server may well be process 1.
        for more in ("", ":user=root"):
            if more:
                root()
            self.left_behind(os.getpid())
            service = self.start(f"unix:{self.path}:mode=600{more}")
            await self.assert_works(self.path, socket.AF_UNIX)
            await service.stopService()
            self.assertEqual(list(self.folder.iterdir()), [])

    async def test_what_a_server_left_is_no_socket(self) -> None:
        Path(self.path).write_text("precious")
        os.symlink(str(os.getpid()), f"{self.path}.lock")
        service = self.make(f"unix:{self.path}")
        self.assertIn("Address already in use", str(self.assertRaises(StartError, service.startService)))
        self.assertEqual(Path(self.path).read_text(), "precious")

    async def test_a_server_that_runs(self) -> None:
        # In this process or in another.
        self.start(f"unix:{self.path}")
        error = self.assertRaises(StartError, self.make(f"unix:{self.path}").startService)
        self.assertIn("Cannot acquire lock", str(error))
        process = self.twistd("--listen", f"unix:{self.path}")
        await process.ended()
        self.assertEqual(process.status, 1)
        self.assertIn("Cannot acquire lock", str(process))
        await self.assert_works(self.path, socket.AF_UNIX)


class InheritedTests(EndpointTestCase):
    def listening(self, family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0)) -> tuple[int, Any]:
        """A descriptor that listens, and where."""
        inherited = socket.socket(family)
        inherited.bind(address)
        inherited.listen()
        where = inherited.getsockname()
        return inherited.detach(), where[:2] if isinstance(where, tuple) else where

    async def test_tcp(self) -> None:
        descriptor, address = self.listening()
        service = self.start(f"fd:{descriptor}")
        self.assertRaises(OSError, os.fstat, descriptor)  # what listens is a copy
        await self.assert_works(address)
        self.assertEqual(self.received(service), ["[127.0.0.1]"])
        port: Any = service.ports[0]
        self.assertEqual((port.getHost().host, port.getHost().port), address)
        self.assertIs(port.transport.func, EagerServer)
        await service.stopService()
        with closing(socket.socket()) as client:
            self.assertNotEqual(client.connect_ex(address), 0)

    async def test_both_by_one_socket(self) -> None:
        ipv6()
        descriptor, (_, port) = self.listening(socket.AF_INET6, ("::", 0))
        service = self.start(f"fd:{descriptor}")
        await self.assert_works(("::1", port), socket.AF_INET6)
        await self.assert_works(("127.0.0.1", port))
        self.assertEqual(self.received(service), ["[IPv6:::1]", "[127.0.0.1]"])

    async def test_unix(self) -> None:
        descriptor, _ = self.listening(socket.AF_UNIX, self.path)
        os.chmod(self.path, 0o600)
        service = self.start(f"fd:{descriptor}")
        await self.assert_works(self.path, socket.AF_UNIX)
        self.assertEqual(self.received(service), ["local"])
        port: Any = service.ports[0]
        self.assertEqual(port.getHost().name, self.path.encode())
        self.assertIs(port.transport.func, EagerUNIXServer)
        # It is not ours: neither who may use it, nor when it ends.
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        await service.stopService()
        self.assertEqual([each.name for each in self.folder.iterdir()], ["smtp"])

    async def test_a_unix_socket_of_another_user(self) -> None:
        root()
        descriptor, _ = self.listening(socket.AF_UNIX, self.path)
        os.chmod(self.path, 0o666)
        with nobody():
            service = self.start(f"fd:{descriptor}")
            await self.assert_works(self.path, socket.AF_UNIX)
            await service.stopService()

    async def test_behind_a_proxy(self) -> None:
        descriptor, address = self.listening()
        service = self.start(f"proxy:fd:{descriptor}", proxy_trusted=("127.0.0.1",))

        def run() -> bytes:
            with closing(connect(address)) as client:
                client.sendall(b"PROXY TCP4 203.0.113.2 127.0.0.1 4711 25\r\n" + CONVERSATION)
                return read_all(client)

        self.assertEqual(codes(await self.in_thread(run)), CODES)
        self.assertEqual(self.received(service), ["[203.0.113.2]"])

    async def test_a_process_that_inherits_it(self) -> None:
        descriptor, address = self.listening()
        process = self.twistd("--listen", "fd:7", descriptors={7: descriptor})
        os.close(descriptor)
        await process.says(rf"listens on 127\.0\.0\.1:{address[1]} \(fd:7\)")
        await self.assert_works(address)
        await self.end(process)

    def test_what_is_wrong(self) -> None:
        with closing(socket.socket()) as idle, open(os.devnull) as file:
            for text, why in (
                ("fd:", "the number of a descriptor"),
                ("fd", "the number of a descriptor"),
                ("fd:x", "the number of a descriptor"),
                ("fd:-1", "the number of a descriptor"),
                ("fd:3:family=INET", "the number of a descriptor"),
                ("fd:999999", "Bad file descriptor"),
                (f"fd:{file.fileno()}", "Socket operation on non-socket"),
                (f"fd:{idle.fileno()}", "is a socket that does not listen"),
            ):
                error = self.assertRaises(ConfigError, self.make, text)
                self.assertEqual(str(error).partition(": ")[0], f"listen {text!r}")
                self.assertIn(why, str(error))
            self.assertEqual(idle.family, socket.AF_INET)  # it is still open
            self.assertNotEqual(os.fstat(idle.fileno()).st_mode, 0)

    async def test_a_second_time(self) -> None:
        descriptor, _ = self.listening()
        endpoint = sockets.socket_endpoint(f"fd:{descriptor}", _reactor())
        service = self.make("tcp:0:interface=127.0.0.1")
        port = await endpoint.listen(service.factory)
        await self.assertFailure(endpoint.listen(service.factory), AlreadyListened)
        await port.stopListening()


class SystemdTests(EndpointTestCase):
    """``systemd-socket-activate`` does what systemd does for a unit: it listens, and starts the server when somebody
    connects."""

    async def test_tcp_and_unix(self) -> None:
        with closing(socket.socket()) as free:  # it wants a port that is no 0
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = self.activate(
            [f"127.0.0.1:{port}", self.path],
            "smtp:lmtp",
            "systemd:domain=INET:name=smtp",
            lmtp="systemd:domain=UNIX:name=lmtp",
        )
        await self.until(lambda: os.path.exists(self.path) or process.status is not None)
        os.chmod(self.path, 0o600)
        before = os.stat(self.path)

        def run() -> bytes:
            with closing(connect(self.path, socket.AF_UNIX)) as client:
                client.sendall(CONVERSATION.replace(b"EHLO", b"LHLO"))
                return read_all(client)

        self.assertEqual(codes(await self.in_thread(run)), CODES)
        await self.assert_works(("127.0.0.1", port))
        await self.end(process)
        # systemd has it still, and starts the server again by it.
        after = os.stat(self.path)
        self.assertEqual((after.st_ino, after.st_mode, after.st_uid), (before.st_ino, before.st_mode, before.st_uid))

    async def test_by_number_and_whatever_it_is_called(self) -> None:
        # What it really is counts, not what the endpoint says.
        process = self.activate([self.path], "x", "systemd:domain=INET6:index=0")
        await self.until(lambda: os.path.exists(self.path) or process.status is not None)
        await self.assert_works(self.path, socket.AF_UNIX)
        await self.end(process)

    async def test_a_name_that_systemd_does_not_know(self) -> None:
        process = self.activate([self.path], "smtp", "systemd:domain=UNIX:name=lmtp")
        await self.until(lambda: os.path.exists(self.path) or process.status is not None)
        with closing(connect(self.path, socket.AF_UNIX)):
            await process.ended()
        self.assertEqual(process.status, 1)
        self.assertIn("systemd has passed no such socket", str(process))

    async def test_without_systemd(self) -> None:
        for endpoint in ("systemd:domain=INET:index=0", "systemd:domain=INET6:name=smtp"):
            error = self.assertRaises(ConfigError, self.make, endpoint)
            self.assertEqual(str(error), f"listen {endpoint!r}: systemd has passed no such socket")

    def activate(self, places: Sequence[str], names: str, endpoint: str, lmtp: str = "") -> Process:
        """The server, started by the first that connects."""
        listen = [argument for place in places for argument in ("-l", place)]
        before = [program("systemd-socket-activate"), *listen, f"--fdname={names}"]
        for name in "PYTHONPATH", "PATH":
            before += ["-E", name]
        return self.twistd("--listen", endpoint, *(("--listen-lmtp", lmtp) if lmtp else ()), before=before)


class LMTPAloneTests(EndpointTestCase):
    async def test_nothing_else(self) -> None:
        for listen in ["none"], []:
            config = load(
                {
                    "listen": listen,
                    "listen-lmtp": f"unix:{self.path}",
                    "hostname": "mx.test",
                    "delivery": "memory:",
                }
            )
            self.assertEqual(config.listen, ())
            service = SMTPService(config)
            service.startService()
            self.assertEqual(len(service.ports), 1)

            def run() -> bytes:
                with closing(connect(self.path, socket.AF_UNIX)) as client:
                    client.sendall(b"EHLO client.test\r\nLHLO client.test\r\nQUIT\r\n")
                    return read_all(client)

            self.assertEqual(codes(await self.in_thread(run)), ["220", "500", "250", "221"])
            await service.stopService()

    async def test_twistd(self) -> None:
        process = self.twistd("--listen", "none", "--listen-lmtp", f"unix:{self.path}")
        await process.says("gives it to ")
        self.assertEqual(len(re.findall("listens on ", process.output)), 1)
        await self.end(process)

    async def test_nowhere(self) -> None:
        process = self.twistd("--listen", "none")
        await process.ended()
        self.assertEqual(process.status, 1)
        self.assertEqual(
            process.errors.splitlines()[-1].partition(": ")[2],
            "--listen: that is nowhere, and there is no listen-lmtp",
        )

    def test_none_is_for_itself(self) -> None:
        config = load({"listen": ["none", "tcp:25"]})
        self.assertEqual(config.listen, ("none", "tcp:25"))
        self.assertIn("listen 'none'", str(self.assertRaises(ConfigError, SMTPService, config)))


def _reactor() -> Any:
    from twisted.internet import reactor

    return reactor
