"""Five hundred clients that begin TLS in the same moment, while somebody else sends mail."""

import smtplib
import ssl
import sys
from threading import Event

from twisted.internet.threads import deferToThread

from tests.clients.kit import ROOT, start
from tests.clients.submission import ANN, ELSEWHERE, SubmissionTestCase, Way

COUNT = 500


class HandshakeTests(SubmissionTestCase):
    async def test_five_hundred(self) -> None:
        await self.start_service(**{"max-connections-per-client": COUNT + 1})
        context = ssl.create_default_context(cafile=self.authorities)
        begun, done = Event(), Event()
        messages: list[bytes] = []

        def send() -> None:
            """Send until it is done, and then once more."""
            with smtplib.SMTP_SSL("127.0.0.1", self.ports[Way.IMPLICIT], context=context, timeout=100) as client:
                client.login(ANN.user, ANN.password)
                last = False
                while not last:
                    last = done.is_set()
                    messages.append(b"Subject: %d\r\n\r\nhello\r\n" % len(messages))
                    client.sendmail("a@mx.test", [ELSEWHERE], messages[-1])
                    begun.set()

        sending = deferToThread(send)
        ports = [str(self.ports[way]) for way in (Way.STARTTLS, Way.IMPLICIT)]
        command = [sys.executable, "-m", "tests.clients.handshakes", str(COUNT), self.authorities, *ports]
        try:
            self.assertTrue(await deferToThread(begun.wait, 100))
            before = len(messages)
            process = start(self, command, folder=self.folder, PYTHONPATH=str(ROOT))
            await process.says("all are here")
            meanwhile = len(messages) - before
            await process.ended()
        finally:
            done.set()
            await sending
        self.assertEqual((process.status, process.output), (0, "all are here\nall have gone\n"), str(process))
        self.assertGreater(meanwhile, 0)
        self.assertEqual({each.octets for each in self.stored_here()}, {*messages})
        self.assertEqual(self.flushLoggedErrors(), [])
