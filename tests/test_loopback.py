"""On real sockets: whole conversations, half-closed connections, and two thousand of them at once."""

# Not `suppress` by itself: trial would take that name in a module for its own setting.
import contextlib
import resource
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.loopback import CODES, CONVERSATION, LoopbackTestCase, codes, connect, read_all
from tests.scripted import LATER, Answer, How, Script
from tests.support import split_replies
from twistsmtp.eager import eager
from twistsmtp.limits import Limits


class ConversationTests(LoopbackTestCase):
    def talk(self, address: Any, octets: bytes = CONVERSATION, family: int = socket.AF_INET) -> bytes:
        with closing(connect(address, family)) as client:
            client.sendall(octets)
            return read_all(client)

    async def test_over_ipv4(self) -> None:
        address = await self.serve()
        self.assertEqual(codes(await self.in_thread(lambda: self.talk(address))), CODES)
        [transaction] = self.delivery.transactions
        self.assertIn(
            b"Received: from client.test ([127.0.0.1])\r\n\tby mx.test (twistsmtp) with ESMTP id ", transaction.octets
        )
        self.assertEqual(transaction.body, b"Subject: x\r\n\r\n.\r\n")

    async def test_over_ipv6(self) -> None:
        with contextlib.suppress(OSError), closing(socket.socket(socket.AF_INET6)) as probe:
            probe.bind(("::1", 0))
            address = await self.serve("tcp6:0:interface=\\:\\:1")
            self.assertEqual(codes(await self.in_thread(lambda: self.talk(address, family=socket.AF_INET6))), CODES)
            self.assertIn(b"Received: from client.test ([IPv6:::1])\r\n", self.delivery.transactions[0].octets)
            return
        raise SkipTest("this machine has no IPv6")

    async def test_over_a_unix_socket(self) -> None:
        path = Path(self.mktemp())
        await self.serve(f"unix:{path}")
        self.assertEqual(codes(await self.in_thread(lambda: self.talk(str(path), family=socket.AF_UNIX))), CODES)
        self.assertIn(b"Received: from client.test (local)\r\n", self.delivery.transactions[0].octets)

    async def test_one_octet_at_a_time(self) -> None:
        address = await self.serve()

        def talk() -> bytes:
            with closing(connect(address)) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for octet in CONVERSATION:
                    client.sendall(bytes([octet]))
                return read_all(client)

        self.assertEqual(codes(await self.in_thread(talk)), CODES)
        self.assertEqual(self.delivery.bodies, [b"Subject: x\r\n\r\n.\r\n"])

    async def test_who_talks_early_is_noted(self) -> None:
        # The octets are in the socket before it is accepted: the reactor stands still meanwhile.
        events = self.events("twistsmtp.connection")
        address = await self.serve()
        with closing(connect(address)) as early:
            early.sendall(b"QUIT\r\n")
            self.assertEqual(codes(await self.in_thread(lambda: read_all(early))), ["220", "221"])
        await self.until(lambda: events)
        self.assertTrue(events[0]["early_talker"])

        def polite() -> bytes:
            with closing(connect(address)) as client:
                greeting = client.recv(1000)
                client.sendall(b"QUIT\r\n")
                return greeting + read_all(client)

        self.assertEqual(codes(await self.in_thread(polite)), ["220", "221"])
        await self.until(lambda: len(events) == 2)
        self.assertFalse(events[1]["early_talker"])

    async def test_who_talks_early_is_refused_where_that_is_strict(self) -> None:
        address = await self.serve(strict_greeting=True)
        self.assertEqual(
            await self.in_thread(lambda: self.talk(address)), b"554 5.5.1 You talked before the greeting\r\n"
        )


class EndTests(LoopbackTestCase):
    """The ways in which a connection ends, as the kernel has them."""

    async def test_a_refusal_reaches_a_client_that_is_still_sending(self) -> None:
        # Closing on octets that nobody read would destroy the reply in the client's hands.
        address = await self.serve()

        def talk() -> bytes:
            with closing(connect(address)) as client:
                client.sendall(b"POST / HTTP/1.1\r\n" + b"x" * 300_000)
                client.sendall(b"y" * 300_000)
                return read_all(client)

        self.assertTrue((await self.in_thread(talk)).endswith(b"421 4.7.0 This is an SMTP server\r\n"))
        await self.until(lambda: not self.factory.connections)

    async def test_a_client_that_sends_all_and_closes_its_side(self) -> None:
        for how in (How.PLAIN, *LATER):
            script = Script(how)
            address = await self.serve(script=script)

            def talk(address: Any = address) -> bytes:
                with closing(connect(address)) as client:
                    client.sendall(CONVERSATION)
                    client.shutdown(socket.SHUT_WR)
                    return read_all(client)

            talking = self.in_thread(talk)
            while not talking.called:
                await self.until(lambda: script.waiting or talking.called)  # noqa: B023  # it is awaited here
                if script.waiting:
                    script.release()
            self.assertEqual(codes(await talking), CODES, how)
            await self.until(lambda: not self.factory.connections)
            self.assertEqual([(each.commits, each.aborts) for each in self.delivery.transactions], [(1, 0)])

    async def test_a_client_that_goes_without_a_word(self) -> None:
        # It closes its side, or all of it, while a message is being committed.
        for half in (True, False):
            script = Script(commit=Answer(How.DEFERRED))
            address = await self.serve(script=script)
            client = connect(address)
            with closing(client):
                client.sendall(CONVERSATION.replace(b"QUIT\r\n", b""))
                await self.until(lambda: script.waiting)  # noqa: B023  # it is awaited here
                if half:
                    client.shutdown(socket.SHUT_WR)
                else:
                    client.close()
                await self.until(lambda: not self.factory.connections)
            self.assertEqual(script.waiting, [])
            self.assertEqual([(each.commits, each.aborts) for each in self.delivery.transactions], [(0, 1)])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_client_that_resets_the_connection(self) -> None:
        events = self.events("twistsmtp.connection")
        script = Script(write=Answer(How.DEFERRED))
        address = await self.serve(script=script)
        client = connect(address)
        client.sendall(CONVERSATION)
        await self.until(lambda: script.waiting)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        await self.until(lambda: not self.factory.connections)
        self.assertEqual([(each.commits, each.aborts) for each in self.delivery.transactions], [(0, 1)])
        self.assertEqual([event["reason"] for event in events], ["connection lost"])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_connection_too_many(self) -> None:
        address = await self.serve(limits=Limits(connections=1))

        def talk() -> tuple[bytes, bytes]:
            with closing(connect(address)) as first:
                greeting = first.recv(1000)
                with closing(connect(address)) as second:
                    return greeting, read_all(second)

        first, second = await self.in_thread(talk)
        self.assertEqual((codes(first), codes(second)), (["220"], ["421"]))

    async def test_shutdown(self) -> None:
        address = await self.serve()
        clients = [connect(address) for _ in range(5)]
        await self.until(lambda: len(self.factory.connections) == 5)
        done = self.factory.shutdown()
        said = await self.in_thread(lambda: [read_all(client) for client in clients])
        self.assertEqual([codes(each) for each in said], [["220", "421"]] * 5)
        for client in clients:
            client.close()
        await done


class PressureTests(LoopbackTestCase):
    async def test_a_client_that_does_not_read_is_not_read(self) -> None:
        address = await self.serve(limits=Limits(idle_commands=10**9))
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # what is accepted inherits them
            self.port.socket.setsockopt(socket.SOL_SOCKET, option, 8192)
        command = b"HELP MAIL".ljust(98) + b"\r\n"

        def send_until_stuck() -> int:
            patience = client.gettimeout()
            client.settimeout(0.5)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 64 * 1024 * 1024:
                    sent += client.send(command[sent % 100 :] + command * 100)
            client.settimeout(patience)
            return sent

        with closing(connect(address)) as client:
            sent = await self.in_thread(send_until_stuck)
            self.assertLess(sent, 16 * 1024 * 1024)
            [protocol] = self.factory.connections
            self.assertLessEqual(protocol.octets_in, sent)

            def read_and_finish() -> bytes:
                client.setblocking(False)
                rest = command[sent % 100 :] * bool(sent % 100) + b"QUIT\r\n"
                said: list[bytes] = []
                while not (said and said[-1].endswith(b"Bye\r\n")):
                    with contextlib.suppress(BlockingIOError):
                        rest = rest[client.send(rest) :] if rest else rest
                    with contextlib.suppress(BlockingIOError):
                        said.append(client.recv(65536))
                return b"".join(said)

            replies = split_replies(await self.in_thread(read_and_finish))
        self.assertEqual(len(replies), 1 + (sent + 99) // 100 + 1)
        self.assertEqual({reply[:3] for reply in replies[1:-1]}, {"214"})

    async def test_a_slow_delivery_slows_the_client(self) -> None:
        script = Script(write=Answer(How.DEFERRED))
        address = await self.serve(script=script, limits=Limits(buffered=10_000))
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self.port.socket.setsockopt(socket.SOL_SOCKET, option, 8192)
        body = (b"x" * 98 + b"\r\n") * 10_000

        def talk() -> bytes:
            with closing(connect(address)) as client:
                client.sendall(CONVERSATION.replace(b"..\r\n", body))
                return read_all(client)

        talking = self.in_thread(talk)
        while not talking.called:
            await self.until(lambda: script.waiting or talking.called)
            [protocol] = self.factory.connections or [None]
            if protocol is not None and script.waiting:
                self.assertLess(protocol.octets_in - len(self.delivery.transactions[0].octets), 10_000 + 2 * 65536)
            if script.waiting:
                script.release()
        self.assertEqual(codes(await talking), CODES)
        self.assertEqual(self.delivery.bodies, [b"Subject: x\r\n\r\n" + body])


class CrowdTests(LoopbackTestCase):
    COUNT = 2000

    async def test_two_thousand_at_once(self) -> None:
        needed = 2 * self.COUNT + 200
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise SkipTest(f"this machine allows {hard} open files; {needed} are needed")
        if soft < needed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        limits = Limits(connections=self.COUNT, connections_per_client=self.COUNT + 10)
        address = await self.serve("tcp:0:backlog=1000:interface=127.0.0.1", limits=limits)
        clients: list[socket.socket] = []
        self.addCleanup(lambda: list(map(socket.socket.close, clients)))

        def come() -> set[bytes]:
            greetings = set()
            for _ in range(self.COUNT):
                clients.append(connect(address))
                greetings.add(clients[-1].recv(1000))
            return greetings

        self.assertEqual(await self.in_thread(come), {b"220 mx.test ESMTP twistsmtp\r\n"})
        self.assertEqual(len(self.factory.connections), self.COUNT)

        def one_more() -> bytes:
            with closing(connect(address)) as client:
                return read_all(client)

        self.assertEqual(codes(await self.in_thread(one_more)), ["421"])

        def talk() -> list[list[str]]:
            for client in clients:
                client.sendall(CONVERSATION)
            return [codes(read_all(client)) for client in clients]

        self.assertEqual(await self.in_thread(talk), [CODES[1:]] * self.COUNT)
        self.assertEqual(len(self.delivery.bodies), self.COUNT)
        await self.until(lambda: not self.factory.connections)
        self.assertEqual(len({each.envelope.id for each in self.delivery.transactions}), self.COUNT)


class EagerConversationTests(ConversationTests):
    """The same on connections that send at once."""

    prepare = staticmethod(eager)


class EagerEndTests(EndTests):
    """The same on connections that send at once."""

    prepare = staticmethod(eager)


class EagerPressureTests(PressureTests):
    """The same on connections that send at once."""

    prepare = staticmethod(eager)
