"""Exim as a client that sends chunks (RFC 3030): what it hands over by BDAT, over SMTP and LMTP, is stored as it is.

It has a configuration, a spool and a log of its own, and speaks to nothing but this machine.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

from twisted.internet.endpoints import serverFromString
from twisted.trial.unittest import SkipTest

from tests.chunks import chunking
from tests.clients.kit import ClientTestCase, program
from tests.scripted import Answer, Script, ScriptedDelivery
from twistsmtp.extensions.size import SIZE
from twistsmtp.factory import LMTPFactory
from twistsmtp.limits import Limits
from twistsmtp.policy.relay import RelayRule
from twistsmtp.wire.reply import Refusal, Reply

CONFIG = """\
exim_path = {exim}
primary_hostname = relay.test
spool_directory = {home}/spool
log_file_path = {home}/log/%slog
log_selector = +smtp_confirmation
keep_environment =
tls_advertise_hosts =
message_size_limit = 0
timezone = UTC

begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = far

begin transports
far:
  driver = smtp
  port = {port}
  protocol = {protocol}
  allow_localhost
  hosts_avoid_tls = *
  hosts_try_chunking = {chunking}

begin retry
* * F,1h,1h
"""
#: What would be stuffed, or end the message, by DATA; and what would be a command, if an octet were lost.
BODY_OF_IT = ".\n..\n.dot\n\né\nRSET\nQUIT\n.\nBDAT 5 LAST\n.\n".encode()
THREE = ("b@mx.test", "c@mx.test", "d@mx.test")
GONE = Reply(550, "5.1.1", "Gone")
OK = Reply(250, "2.1.5", "Delivered")


class EximTests(ClientTestCase):
    async def prepare(self) -> None:
        """Find it, and give it a folder.

        :raises SkipTest: it is not there, or we may not run it.
        """
        self.exim = program("exim4")
        if os.geteuid():
            raise SkipTest("exim has to be run by root")
        self.home = Path(tempfile.mkdtemp(prefix="twistsmtp-exim-"))
        self.home.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        process = await self.run_program("exim4", "-C", "/dev/null", "-bV")
        if "failed to find uid" in str(process):
            raise SkipTest(f"exim lacks its user: {process.errors.strip()}")
        for name in "spool", "log":
            (self.home / name).mkdir()
            shutil.chown(self.home / name, "Debian-exim")

    async def send(
        self, port: int, *to: str, body: bytes = BODY_OF_IT, protocol: str = "smtp", chunking: str = "*"
    ) -> None:
        """Have it take a message and deliver it at once."""
        config = self.home / "config"
        config.write_text(
            CONFIG.format(exim=self.exim, home=self.home, port=port, protocol=protocol, chunking=chunking)
        )
        message = b"Subject: hello\n\n" + body
        arguments = ("-C", str(config), "-odf", "-i", "-f", "<>", *to)
        process = await self.run_program("exim4", *arguments, stdin=message)
        self.assertEqual(process.status, 0, f"{process}{self.log}")

    @property
    def log(self) -> str:
        """What it has to say of deliveries."""
        return "".join(each.read_text(errors="replace") for each in sorted((self.home / "log").iterdir()))

    def results(self) -> dict[str, str]:
        """What became of each recipient: ``=>`` and ``->`` are delivered, ``==`` is later, ``**`` is never."""
        return {to: sign for sign, to in re.findall(r" (=>|->|==|\*\*) (\S+) R=", self.log)}

    def assert_stored(self, body: bytes = BODY_OF_IT) -> None:
        [message] = self.memory.messages
        self.assertEqual(message.octets.partition(b"\r\n\r\n")[2], body.replace(b"\n", b"\r\n"))

    async def serve_lmtp(self, delivery: Any) -> int:
        from twisted.internet import reactor

        factory = LMTPFactory(delivery, hostname="mx.test", extensions=chunking(), policies=(RelayRule(["mx.test"]),))
        port: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(factory.shutdown, 0.1)
        self.addCleanup(port.stopListening)
        return cast(int, port.getHost().port)

    def was_chunked(self) -> bool:
        """Whether the last delivery was by BDAT: K in the log says so."""
        return " K C=" in re.findall(r".* (?:=>|->) .*", self.log)[-1]

    async def test_chunks(self) -> None:
        await self.prepare()
        await self.send(await self.serve(extensions=chunking()), "b@mx.test")
        self.assertEqual(self.results(), {"b@mx.test": "=>"}, self.log)
        self.assertTrue(self.was_chunked(), self.log)
        self.assert_stored()
        [message] = self.memory.messages
        self.assertIn(b" with ESMTP id ", message.octets)
        self.assertIn(message.envelope.id, self.log)  # as its 250 has it
        self.assertGreater(message.envelope.reverse_path.get(SIZE) or 0, len(BODY_OF_IT))

    async def test_the_same_by_data(self) -> None:
        await self.prepare()
        port = await self.serve(extensions=chunking())
        await self.send(port, "b@mx.test", chunking="")
        self.assertFalse(self.was_chunked(), self.log)
        self.assert_stored()

    async def test_a_message_of_many_reads(self) -> None:
        await self.prepare()
        body = BODY_OF_IT * 20_000
        await self.send(await self.serve(extensions=chunking()), "b@mx.test", body=body)
        self.assertTrue(self.was_chunked(), self.log)
        self.assert_stored(body)

    async def test_sizes_around_those_of_buffers(self) -> None:
        await self.prepare()
        port = await self.serve(extensions=chunking())
        for size in (0, 1, 8191, 8192, 8193, 65536):
            self.memory.messages.clear()
            body = (b"x" * 70 + b"\n.\n") * (size // 73) + b"y" * (size % 73) + b"\n"
            await self.send(port, "b@mx.test", body=body)
            self.assertTrue(self.was_chunked(), self.log)
            self.assert_stored(body)

    async def test_some_recipients_are_refused(self) -> None:
        await self.prepare()
        await self.send(await self.serve(extensions=chunking()), "b@mx.test", "c@elsewhere.test", "d@mx.test")
        results = self.results()
        self.assertEqual(results["c@elsewhere.test"], "**", self.log)
        self.assertEqual(self.recipients(), [["b@mx.test", "d@mx.test"]])
        self.assert_stored()

    async def test_nobody_is_taken(self) -> None:
        # The chunk is under way by then.
        await self.prepare()
        await self.send(await self.serve(extensions=chunking()), "c@elsewhere.test")
        self.assertEqual(self.results(), {"c@elsewhere.test": "**"}, self.log)
        self.assertEqual(self.memory.messages, [])

    async def test_a_message_that_is_refused(self) -> None:
        await self.prepare()
        delivery: Any = ScriptedDelivery(Script(commit=Answer(result=Refusal(GONE))))
        await self.send(await self.serve(delivery, extensions=chunking()), "b@mx.test")
        self.assertEqual(self.results(), {"b@mx.test": "**"}, self.log)
        self.assertIn("550 5.1.1 Gone", self.log)

    async def test_too_big(self) -> None:
        await self.prepare()
        port = await self.serve(extensions=chunking(), limits=Limits(message_size=10_000))
        await self.send(port, "b@mx.test", body=BODY_OF_IT * 1000)
        self.assertEqual(self.results(), {"b@mx.test": "**"}, self.log)
        self.assertIn(" 552 5.3.4 ", self.log)
        self.assertEqual(self.memory.messages, [])

    async def test_lmtp_in_chunks(self) -> None:
        # A reply for each recipient behind the last chunk.
        await self.prepare()
        await self.send(await self.serve_lmtp(self.memory), *THREE, protocol="lmtp")
        self.assertEqual(set(self.results()), set(THREE), self.log)
        self.assertNotIn("**", self.log)
        self.assertTrue(self.was_chunked(), self.log)
        self.assert_stored()
        self.assertIn(b" with LMTP id ", self.memory.messages[0].octets)

    async def test_lmtp_in_chunks_with_a_reply_for_each(self) -> None:
        await self.prepare()
        busy = Reply(451, "4.2.0", "Busy")
        delivery = ScriptedDelivery(Script(commit=[Answer(result=[OK, GONE, busy])]))
        await self.send(await self.serve_lmtp(delivery), *THREE, protocol="lmtp")
        [transaction] = delivery.transactions
        names = [str(each) for each in transaction.recipients]
        self.assertEqual(self.results(), dict(zip(names, ("=>", "**", "=="), strict=True)), self.log)
