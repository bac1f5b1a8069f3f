"""On real sockets: implicit TLS, by Twisted's own ``ssl:`` endpoint."""

import ssl
from contextlib import closing
from pathlib import Path
from typing import Any

from OpenSSL.crypto import FILETYPE_PEM
from twisted.internet.ssl import KeyPair

from tests.loopback import CODES, CONVERSATION, LoopbackTestCase, codes, connect, read_all, talk_plainly
from tests.scripted import Answer, How, Script
from twistsmtp.limits import Limits


class TLSTests(LoopbackTestCase):
    """Nothing but the octets below is different."""

    async def serve_tls(self, **settings: Any) -> Any:
        path = Path(self.mktemp())
        key = KeyPair.generate(size=2048)
        path.write_bytes(key.dump(FILETYPE_PEM) + key.selfSignedCert(1, CN=b"mx.test").dumpPEM())
        return await self.serve(f"ssl:0:interface=127.0.0.1:privateKey={path}:certKey={path}", **settings)

    def talk(self, address: Any, pieces: list[bytes]) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with closing(connect(address)) as plain, closing(context.wrap_socket(plain)) as client:
            said = client.recv(1000)
            for piece in pieces:
                client.sendall(piece)
            return said + read_all(client)

    async def test_a_conversation(self) -> None:
        events = self.events("twistsmtp.connection")
        address = await self.serve_tls()
        said = await self.in_thread(lambda: self.talk(address, [CONVERSATION]))
        self.assertEqual(codes(said), CODES)
        self.assertIn(b" with ESMTPS id ", self.delivery.transactions[0].octets)
        await self.until(lambda: events)
        self.assertRegex(events[0]["tls"], r"^TLSv1\.[23]$")
        self.assertEqual(events[0]["reason"], "221 2.0.0 Bye")

    async def test_one_octet_a_record(self) -> None:
        address = await self.serve_tls()
        said = await self.in_thread(lambda: self.talk(address, [bytes([octet]) for octet in CONVERSATION]))
        self.assertEqual(codes(said), CODES)

    async def test_a_large_message_and_a_delivery_that_takes_its_time(self) -> None:
        script = Script(write=Answer(How.AWAITING))
        address = await self.serve_tls(script=script)
        body = (b"x" * 998 + b"\r\n") * 2000
        talking = self.in_thread(lambda: self.talk(address, [CONVERSATION.replace(b"..\r\n", body)]))
        while not talking.called:
            await self.until(lambda: script.waiting or talking.called)
            if script.waiting:
                script.release()
        self.assertEqual(codes(await talking), CODES)
        self.assertEqual(self.delivery.bodies, [b"Subject: x\r\n\r\n" + body])

    async def test_a_greeting_that_is_held_back(self) -> None:
        address = await self.serve_tls(strict_greeting=True, limits=Limits(greeting_delay=0.05))
        self.assertEqual(codes(await self.in_thread(lambda: self.talk(address, [CONVERSATION]))), CODES)

    async def test_a_connection_too_many(self) -> None:
        address = await self.serve_tls(limits=Limits(connections=1))
        with closing(connect(address)):
            await self.until(lambda: self.factory.connections)
            # To tell it so would take a handshake, which costs more than all that the limit saves.
            await self.assertFailure(self.in_thread(lambda: self.talk(address, [])), OSError)

    async def test_plain_text(self) -> None:
        address = await self.serve_tls()
        self.assertNotIn(b"220", await self.in_thread(lambda: talk_plainly(address)))
        await self.until(lambda: not self.factory.connections)
        self.assertEqual(self.delivery.transactions, [])

    async def test_a_client_that_goes_while_a_step_waits(self) -> None:
        script = Script(commit=Answer(How.DEFERRED))
        address = await self.serve_tls(script=script)

        def talk() -> None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with closing(connect(address)) as plain, closing(context.wrap_socket(plain)) as client:
                client.sendall(CONVERSATION)
                while client.recv(1000)[:3] != b"354" and not script.waiting:
                    pass

        await self.in_thread(talk)
        await self.until(lambda: not self.factory.connections)
        self.assertEqual(script.waiting, [])
        self.assertEqual([(each.commits, each.aborts) for each in self.delivery.transactions], [(0, 1)])
        self.assertEqual(self.flushLoggedErrors(), [])
