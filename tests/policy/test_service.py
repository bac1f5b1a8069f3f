"""A whole server with policies that have threads, sockets and files: what it does, and what it leaves."""

import threading
from pathlib import Path
from smtplib import SMTP
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.policy.names import a, ptr, serve_names, txt
from twistsmtp.config import Config
from twistsmtp.service import SMTPService

LISTED, GOOD, NAMELESS = "192.0.2.1", "192.0.2.2", "192.0.2.3"


class ServiceTests(TestCase):
    timeout = 60

    async def test_life(self) -> None:
        """Started, reloaded in the middle of a session, and stopped; twice."""
        from twisted.internet import reactor

        running: Any = reactor
        port = serve_names(
            self,
            {
                "bl.test": {"1.2.0.192.bl.test": [*a("127.0.0.2"), *txt("Spam")]},
                "arpa": {f"{last}.2.0.192.in-addr.arpa": ptr("mx.client.test") for last in (1, 2)},
                "client.test": {"mx.client.test": a(LISTED, GOOD)},
            },
        )
        path = Path(self.mktemp()).absolute()
        service = SMTPService(
            Config(
                listen=("tcp:0:interface=127.0.0.1",),
                hostname="mx.test",
                domains=("mx.test",),
                delivery="discard:",
                xclient_trusted=("127.0.0.1",),
                policies=(
                    f"dnsbl:bl.test:server=127.0.0.1#{port}",
                    f"reverse-dns:require=confirmed:server=127.0.0.1#{port}",
                    f"greylist:{path}:delay=1h",
                ),
            )
        )
        await deferToThread(int)  # so that there is a thread of the reactor's own
        threads = set(threading.enumerate())
        timers = self.timers(running)
        for _ in range(2):
            service.startService()
            listening: Any = service.ports[0]
            found = await deferToThread(
                self.mail, listening.getHost().port, lambda: running.callFromThread(service.reload)
            )
            expected = [
                (LISTED, 554, "5.7.1 192.0.2.1 is listed by bl.test: Spam"),
                (NAMELESS, 550, "5.7.25 192.0.2.3 has no name in the DNS"),
                (GOOD, 450, "4.7.1 Greylisted: try again in 3600 seconds"),
            ]
            self.assertEqual(expected, [(client, code, text.replace("3599", "3600")) for client, code, text in found])
            self.assertTrue(path.exists())
            await service.stopService()
            self.assertEqual({path}, set(path.parent.glob(f"{path.name}*")))
            self.assertEqual(
                set(), {each.name for each in set(threading.enumerate()) - threads if "greylist" in each.name}
            )
            self.assertEqual(timers, self.timers(running))

    def timers(self, reactor: Any) -> set[Any]:
        """All that there are, but for trial's own."""
        return {call for call in reactor.getDelayedCalls() if "onTimeout" not in str(call)}

    def mail(self, port: int, reload: Any) -> list[tuple[str, int, str]]:
        """What a recipient gets from each client, for whom another speaks. In a thread."""
        found = []
        with SMTP("127.0.0.1", port, timeout=20) as smtp:
            for client in (LISTED, NAMELESS, GOOD):
                smtp.docmd("XCLIENT", f"ADDR={client}")
                smtp.docmd("EHLO", "client.test")
                reload()
                smtp.docmd("MAIL", "FROM:<a@client.test>")
                code, text = smtp.docmd("RCPT", "TO:<b@mx.test>")
                smtp.docmd("RSET")
                found.append((client, code, text.decode()))
        return found
