"""Controllers, with real sockets and threads."""

import asyncio
import errno
import gc
import os
import smtplib
import socket
import threading
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.compat.aiosmtpd.kit import Keeper, contexts
from tests.compat.aiosmtpd.test_loops import python
from tests.docs.pages import block
from twistsmtp.compat.aiosmtpd import controller as compat_controller
from twistsmtp.compat.aiosmtpd.controller import (
    Controller,
    UnixSocketController,
    UnixSocketUnthreadedController,
    UnthreadedController,
)
from twistsmtp.compat.aiosmtpd.smtp import SMTP


def send(controller: Any, text: str = "hello") -> dict[str, Any]:
    with smtplib.SMTP(controller.hostname, controller.port, timeout=10) as client:
        return client.sendmail("a@a.test", ["b@b.test"], f"Subject: x\r\n\r\n{text}\r\n")


def greeting_of(path: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        return client.recv(100)


class Threaded(SynchronousTestCase):
    def start(self, handler: Any = None, kind: Any = Controller, **parameters: Any) -> Any:
        controller = kind(handler or Keeper(), **{"port": 0, **parameters})
        controller.start()
        self.addCleanup(controller.stop, no_assert=True)
        return controller

    def test_any_port(self) -> None:
        first, second = self.start(), self.start()
        self.assertNotEqual(first.port, second.port)
        for controller in (first, second):
            self.assertEqual(send(controller), {})
            self.assertEqual(len(controller.handler.box), 1)

    def test_one_port_at_all_addresses_of_a_name(self) -> None:
        for hostname in ("localhost", ""):
            controller = self.start(hostname=hostname)
            self.assertEqual({each.getsockname()[1] for each in controller.server.sockets}, {controller.port})

    def test_again_and_again(self) -> None:
        controller = self.start()
        for count in (1, 2, 3):
            send(controller)
            self.assertEqual(len(controller.handler.box), count)
            self.assertIsNotNone(controller.smtpd)
            port = controller.port
            controller.stop()
            self.assertEqual((controller.server, controller.smtpd), (None, None))
            with self.assertRaises(OSError):
                socket.create_connection((controller.hostname, port))
            controller.start()

    def test_200_times_leave_nothing(self) -> None:
        def once() -> None:
            controller = Controller(Keeper(), port=0)
            controller.start()
            send(controller)
            controller.stop()

        def left() -> tuple[int, int]:
            gc.collect()
            return threading.active_count(), len(os.listdir("/proc/self/fd"))

        once()
        before, objects = left(), len(gc.get_objects())
        for _ in range(200):
            once()
        self.assertEqual(left(), before)
        self.assertLess(len(gc.get_objects()) - objects, 1000)

    def test_connections_end_with_it(self) -> None:
        controller = self.start()
        client = socket.create_connection((controller.hostname, controller.port), timeout=10)
        self.addCleanup(client.close)
        self.assertTrue(client.recv(100).startswith(b"220 "))
        client.sendall(b"HELO x\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nhalf a")
        controller.stop()
        with client.makefile("rb") as file:
            try:
                lines = file.readlines()
            except ConnectionResetError:
                lines = []
        self.assertEqual([line for line in lines if not line.startswith((b"250 ", b"354 "))], [])
        self.assertEqual(controller.handler.box, [])

    def test_a_handler_may_wait_for_another_controller(self) -> None:
        """As it has a thread of its own."""
        back = self.start()

        class Forward:
            async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
                send(back, "forwarded")
                return "250 OK"

        self.assertEqual(send(self.start(Forward())), {})
        self.assertIn(b"forwarded", back.handler.box[0].content)

    def test_what_fails_is_raised(self) -> None:
        class Failing(Controller):
            def factory(self) -> Any:
                raise LookupError("no server")

        class Nothing(Controller):
            def factory(self) -> Any:
                return None

        controller: Controller
        for kind, error in ((Failing, LookupError), (Nothing, RuntimeError)):
            controller = kind(Keeper(), port=0)
            with self.assertRaises(error):
                controller.start()
            controller.stop()
        taken = self.start()
        controller = Controller(Keeper(), port=taken.port)
        with self.assertRaises(OSError):
            controller.start()
        controller.stop()
        with self.assertRaises(AssertionError):
            controller.stop()

    def test_the_defaults(self) -> None:
        controller = self.start(server_hostname="mx.test", data_size_limit=1000)
        with smtplib.SMTP(controller.hostname, controller.port) as client:
            self.assertEqual(client.ehlo("x"), (250, b"mx.test\nSIZE 1000\n8BITMIME\nSMTPUTF8\nHELP"))

    def test_tls_from_the_first_octet_on(self) -> None:
        server, client = contexts()
        controller = self.start(ssl_context=server, hostname="127.0.0.1")
        with smtplib.SMTP_SSL("127.0.0.1", controller.port, context=client) as connection:
            self.assertEqual(connection.sendmail("a@a.test", ["b@b.test"], "x"), {})

    def test_a_loop_that_is_given(self) -> None:
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        controller = self.start(loop=loop)
        for _ in range(2):
            self.assertIs(controller.smtpd.loop, loop)
            send(controller)
            controller.stop()
            self.assertFalse(loop.is_running() or loop.is_closed())
            controller.start()

    def test_a_unix_socket(self) -> None:
        with TemporaryDirectory() as folder:
            controller = UnixSocketController(Keeper(), Path(folder) / "smtp", server_hostname="mx.test")
            for _ in range(2):
                controller.start()
                self.assertTrue(greeting_of(controller.unix_socket).startswith(b"220 mx.test "))
                controller.stop()

    def test_many_clients_at_once(self) -> None:
        controller = self.start()
        threads = [threading.Thread(target=send, args=(controller, str(n))) for n in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(controller.handler.box), 30)

    def test_one_that_is_too_slow(self) -> None:
        begin = threading.Event()

        class Slow(Controller):
            def _run(self, ready_event: threading.Event) -> None:
                begin.wait(10)
                super()._run(ready_event)

        class SlowFactory(Controller):
            def _factory_invoker(self) -> Any:
                begin.wait(10)
                return super()._factory_invoker()

        for kind in (Slow, SlowFactory):
            begin.clear()
            controller = kind(Keeper(), port=0, ready_timeout=0.05)
            with self.assertRaises(TimeoutError):
                controller.start()
            begin.set()
            controller.stop()
            self.assertIsNone(controller.server)

    def test_older_arguments(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            controller = Controller(Keeper(), server_kwargs={"hostname": "old.test", "timeout": 5}, timeout=6)
        self.assertEqual([each.category for each in caught], [DeprecationWarning])
        self.assertEqual(controller.SMTP_kwargs, {"hostname": "old.test", "timeout": 6, "enable_SMTPUTF8": True})

    def test_a_loop_that_was_asked_for_before(self) -> None:
        controller = Controller(Keeper(), port=0)
        spare = controller.loop
        self.assertIs(controller.loop, spare)
        controller.start()
        self.assertTrue(spare.is_closed())
        controller.stop()
        controller.loop = loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        controller.start()
        self.assertIs(controller.smtpd and controller.smtpd.loop, loop)
        controller.stop()

    def test_the_local_address(self) -> None:
        class Socket:
            def __init__(self, error: int | None) -> None:
                self.error = error

            def __call__(self, *arguments: object) -> "Socket":
                return self

            __enter__ = __call__

            def __exit__(self, *arguments: object) -> None:
                pass

            def bind(self, address: object) -> None:
                if self.error is not None:
                    raise OSError(self.error, "")

        for error, address in ((None, "::1"), (errno.EADDRNOTAVAIL, "127.0.0.1"), (errno.EADDRINUSE, "::1")):
            self.patch(compat_controller, "makesock", Socket(error))
            self.assertEqual(compat_controller.get_localhost(), address)
        self.patch(compat_controller, "makesock", Socket(errno.EFAULT))
        with self.assertRaises(OSError):
            compat_controller.get_localhost()
        self.patch(compat_controller, "has_ipv6", False)
        self.assertEqual(compat_controller.get_localhost(), "127.0.0.1")


class Unthreaded(SynchronousTestCase):
    def setUp(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)

    def in_thread(self, function: Any, *arguments: Any) -> Any:
        return self.loop.run_until_complete(self.loop.run_in_executor(None, function, *arguments))

    def test_a_port(self) -> None:
        controller = UnthreadedController(Keeper(), port=0, loop=self.loop)
        for _ in range(2):
            controller.begin()
            self.assertEqual(self.in_thread(send, controller), {})
            self.assertIs(controller.smtpd and controller.smtpd.loop, self.loop)
            port = controller.port
            controller.end()
            self.assertTrue(controller.ended.is_set())
            with self.assertRaises(OSError):
                socket.create_connection((controller.hostname, port))

    def test_a_unix_socket(self) -> None:
        with TemporaryDirectory() as folder:
            controller = UnixSocketUnthreadedController(Keeper(), f"{folder}/smtp", loop=self.loop)
            controller.begin()
            self.assertTrue(self.in_thread(greeting_of, f"{folder}/smtp").startswith(b"220 "))
            self.loop.call_soon(controller.end)
            self.loop.run_until_complete(asyncio.sleep(0.01))
            self.assertTrue(controller.ended.wait(1))


class Page(SynchronousTestCase):
    def test_the_program_on_the_page_migrating(self) -> None:
        self.assertRegex(python(block("migrating.rst", "migrating-aiosmtpd").text), r"^listens at port \d+\n$")


class Classes(SynchronousTestCase):
    def test_a_server_for_a_loop(self) -> None:
        """Without any controller."""

        async def main() -> Any:
            loop = asyncio.get_running_loop()
            server = await loop.create_server(lambda: SMTP(Keeper()), "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"QUIT\r\n")
            lines = (await reader.read()).splitlines()
            writer.close()
            server.close()
            return lines

        self.assertEqual(asyncio.run(main())[1:], [b"221 Bye"])
