"""Postfix as a client: it hands over what it has taken by LMTP, over TCP and a UNIX socket, and by SMTP; it passes on
what is to be reported to the sender (DSN), and as a filter's front says by XFORWARD where a message came from.

It has a configuration, a queue and a folder of its own, and speaks to nothing but this machine. It does not send
chunks: only its server knows BDAT.
"""

import os
import re
import shutil
import smtplib
import socket
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from tests.chunks import chunking
from tests.clients.kit import ClientTestCase, Process, program, start
from tests.scripted import Answer, Script, ScriptedDelivery
from twistsmtp.delivery.api import Delivery
from twistsmtp.envelope import Envelope
from twistsmtp.extensions.dsn import ENVID, NOTIFY, ORCPT, RET, Notify, OriginalRecipient, Return
from twistsmtp.extensions.eightbitmime import BODY
from twistsmtp.extensions.size import SIZE
from twistsmtp.extensions.xforward import Forwarded, Source, forwarded_of, xforward
from twistsmtp.factory import LMTPFactory, SMTPFactory
from twistsmtp.policy.api import Policy
from twistsmtp.session import Session
from twistsmtp.verb import Extension
from twistsmtp.wire.reply import Refusal, Reply

DAEMONS = "/usr/lib/postfix/sbin"
#: What takes no part is not there. "discard" is where reports of what was not delivered go.
MASTER = """\
pickup   unix n - n 1 1 pickup
cleanup  unix n - n - 0 cleanup
qmgr     unix n - n 1 1 qmgr
rewrite  unix - - n - - trivial-rewrite
bounce   unix - - n - 0 bounce
defer    unix - - n - 0 bounce
trace    unix - - n - 0 bounce
smtp     unix - - n - - smtp
lmtp     unix - - n - - lmtp
local    unix - n n - - local
discard  unix - - n - - discard
error    unix - - n - - error
retry    unix - - n - - error
postlog  unix-dgram n - n - 1 postlogd
tlsmgr   unix - - n 1000? 1 tlsmgr
"""
MESSAGE = "Subject: hello\n\n.\n..\n.dot\né\nend\n".encode()
BODY_OF_IT = b"\r\n\r\n" + MESSAGE.partition(b"\n\n")[2].replace(b"\n", b"\r\n")
GONE = Reply(550, "5.1.1", "Gone")
BUSY = Reply(451, "4.2.0", "Busy")
OK = Reply(250, "2.1.5", "Delivered")


class Forwards(Policy):
    """Keeps what was said by XFORWARD of each message, and the client of its session."""

    def __init__(self) -> None:
        self.all: list[tuple[Forwarded | None, str]] = []

    def message(self, session: Session, envelope: Envelope) -> None:
        self.all.append((forwarded_of(session), session.client))


class PostfixTests(ClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.master = f"{DAEMONS}/master"
        if not Path(self.master).exists():
            raise SkipTest("postfix is not installed")
        if os.geteuid():
            raise SkipTest("postfix is started by root")
        # Where its user may go, and where the path of a socket is short enough.
        self.home = Path(tempfile.mkdtemp(prefix="twistsmtp-postfix-"))
        self.home.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        self.log = self.home / "log"

    async def listen(
        self,
        endpoint: str,
        delivery: Delivery,
        kind: type[SMTPFactory] = LMTPFactory,
        more: Sequence[Extension] = (),
        policies: Sequence[Policy] = (),
    ) -> str:
        """Serve, with *more* extensions.

        :returns: where, as Postfix has it.
        """
        from twisted.internet import reactor

        factory = kind(delivery, hostname="mx.test", extensions=(*chunking(), *more), policies=policies)
        port: Any = await serverFromString(reactor, endpoint).listen(factory)
        self.addCleanup(factory.shutdown, 0.1)
        self.addCleanup(port.stopListening)
        address = port.getHost()
        return f"inet:[127.0.0.1]:{address.port}" if hasattr(address, "port") else f"unix:{address.name.decode()}"

    async def over_unix(self, delivery: Delivery) -> str:
        """Serve LMTP on a UNIX socket that Postfix's user may use."""
        return await self.listen(f"unix:{self.home}/lmtp:mode=666", delivery)

    async def start_postfix(self, *services: str, **settings: str) -> None:
        """Start it, with these *settings* in ``main.cf``, and *services* besides those that there always are."""
        config, queue, data = (self.home / name for name in ("config", "queue", "data"))
        for folder in (config, queue, data):
            folder.mkdir()
        shutil.chown(data, "postfix")
        main: Mapping[str, str] = {
            "compatibility_level": "3.6",
            "queue_directory": str(queue),
            "data_directory": str(data),
            "daemon_directory": DAEMONS,
            "maillog_file": str(self.log),
            "maillog_file_prefixes": str(self.home),
            "myhostname": "relay.test",
            "mydestination": "",
            "relay_domains": "",
            "default_transport": "discard:",
            "alias_maps": "",
            "alias_database": "",
            "inet_interfaces": "loopback-only",
            "inet_protocols": "ipv4",
            "append_dot_mydomain": "no",
            "smtp_tls_security_level": "none",
            **settings,
        }
        (config / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in main.items()))
        (config / "master.cf").write_text("\n".join((MASTER, *services, "")))
        self.config = str(config)
        checked = await self.run_program("postfix", "-c", self.config, "check")
        self.assertEqual(checked.status, 0, str(checked))
        process = start(self, [self.master, "-c", self.config, "-d"], folder=self.home)
        self.addCleanup(self.end, process)
        await self.until(lambda: (queue / "public" / "pickup").exists() or process.status is not None)
        self.assertIsNone(process.status, str(process))

    def end(self, process: Process) -> "Deferred[Process]":
        """Have all of it end."""
        if process.status is None:
            process.signal("TERM")
        return process.ended()

    async def until(self, condition: Any) -> None:
        """Wait for what is about to happen."""
        from twisted.internet import reactor

        while not condition():
            await task.deferLater(reactor, 0.02)

    async def send(self, *to: str, options: Sequence[str] = ()) -> None:
        """Give it a message to send, with these *options* of its sendmail."""
        common = [program("sendmail"), "-C", self.config, "-i", "-B", "8BITMIME", "-f", "a@client.test"]
        sendmail = [*common, *options, *to]
        process = await start(self, sendmail, folder=self.folder, stdin=MESSAGE).ended()
        self.assertEqual(process.status, 0, str(process))

    async def results(self, count: int, relay: str = "lmtp|local|smtp") -> dict[str, tuple[str, str]]:
        """What it has to say of each recipient, when it has of so many: the result and the reply in parentheses."""
        pattern = re.compile(rf"postfix/(?:{relay})\[.* to=<(\S+?)>, .* status=(\w+) \((.*)\)")

        def found() -> dict[str, tuple[str, str]]:
            log = self.log.read_text() if self.log.exists() else ""
            return {to: (status, text) for to, status, text in pattern.findall(log)}

        await self.until(lambda: len(found()) >= count)
        return found()

    async def test_by_lmtp_over_tcp_and_unix(self) -> None:
        for endpoint in ("tcp:0:interface=127.0.0.1", f"unix:{self.home}/lmtp:mode=666"):
            self.memory.messages.clear()
            where = await self.listen(endpoint, self.memory)
            if not hasattr(self, "config"):
                await self.start_postfix(relay_domains="tcp.test unix.test", transport_maps=f"texthash:{self.home}/map")
            to = [f"{name}@{where[:4].replace('inet', 'tcp')}.test" for name in "bcd"]
            domain = to[0].partition("@")[2]
            (self.home / "map").write_text(f"{domain} lmtp:{where}\n")
            done = await self.run_program("postfix", "-c", self.config, "reload")
            self.assertEqual(done.status, 0, str(done))
            await self.send(*to)
            results = await self.results(3 if domain == "tcp.test" else 6)
            self.assertEqual({results[each][0] for each in to}, {"sent"})
            [message] = self.memory.messages
            self.assertEqual(sorted(map(str, message.envelope.recipients)), to)
            self.assertTrue(message.octets.endswith(BODY_OF_IT))
            self.assertIn(b"\r\n\tby mx.test (twistsmtp) with LMTP id ", message.octets)
            self.assertIn(message.envelope.id, results[to[0]][1])
            self.assertEqual(message.envelope.reverse_path.get(BODY), "8BITMIME")
            self.assertGreater(message.envelope.reverse_path.get(SIZE) or 0, len(MESSAGE))

    async def test_mailbox_transport(self) -> None:
        # As the documentation has it.
        where = await self.over_unix(self.memory)
        await self.start_postfix(
            mydestination="mx.test", mailbox_transport=f"lmtp:{where}", local_recipient_maps="", recipient_delimiter="+"
        )
        await self.send("b@mx.test", "nobody-here+tag@mx.test")
        results = await self.results(2)
        self.assertEqual({status for status, _ in results.values()}, {"sent"})
        self.assertEqual(
            sorted(str(to) for message in self.memory.messages for to in message.envelope.recipients),
            ["b@mx.test", "nobody-here+tag@mx.test"],
        )

    async def test_a_reply_for_each_recipient(self) -> None:
        delivery = ScriptedDelivery(Script(commit=[Answer(result=[OK, GONE, BUSY])]))
        where = await self.over_unix(delivery)
        await self.start_postfix(relay_domains="mx.test", relay_transport=f"lmtp:{where}")
        await self.send("b@mx.test", "c@mx.test", "d@mx.test")
        results = await self.results(3)
        [transaction] = delivery.transactions
        names = [str(each) for each in transaction.recipients]
        expected = dict(zip(names, ("sent", "bounced", "deferred"), strict=True))
        self.assertEqual({to: status for to, (status, _) in results.items()}, expected)
        self.assertIn("550 5.1.1 Gone", results[names[1]][1])
        self.assertIn("451 4.2.0 Busy", results[names[2]][1])

    async def test_nobody_is_taken(self) -> None:
        # It pipelines DATA, and has to understand the 503.
        delivery = ScriptedDelivery(Script(rcpt=Answer(result=Refusal(GONE))))
        where = await self.over_unix(delivery)
        await self.start_postfix(relay_domains="mx.test", relay_transport=f"lmtp:{where}")
        await self.send("b@mx.test", "c@mx.test")
        results = await self.results(2)
        self.assertEqual({status for status, _ in results.values()}, {"bounced"})
        self.assertEqual([(each.commits, each.aborts) for each in delivery.transactions], [(0, 1)])

    async def test_by_smtp_to_a_server_that_offers_chunks(self) -> None:
        where = await self.listen("tcp:0:interface=127.0.0.1", self.memory, SMTPFactory)
        await self.start_postfix(relay_domains="mx.test", relay_transport=f"smtp:{where.removeprefix('inet:')}")
        await self.send("b@mx.test", "c@mx.test")
        results = await self.results(2)
        self.assertEqual({status for status, _ in results.values()}, {"sent"})
        [message] = self.memory.messages
        self.assertTrue(message.octets.endswith(BODY_OF_IT))
        self.assertIn(b" with ESMTP id ", message.octets)

    async def over_tcp(self, **more: Any) -> str:
        """Serve SMTP on a port, as Postfix has it in ``relay_transport``."""
        where = await self.listen("tcp:0:interface=127.0.0.1", self.memory, SMTPFactory, **more)
        return f"smtp:{where.removeprefix('inet:')}"

    async def test_what_is_to_be_reported(self) -> None:
        # RFC 3461 section 5.2.1, from its side: over SMTP and LMTP, the values arrive as they were asked for.
        lmtp = f"lmtp:{await self.over_unix(self.memory)}"
        await self.start_postfix(
            relay_domains="tcp.test unix.test",
            transport_maps=f"inline:{{ {{ tcp.test = {await self.over_tcp()} }}, {{ unix.test = {lmtp} }} }}",
        )
        asked = ("-N", "success,delay", "-R", "hdrs", "-V", "An+Id=1")
        for count, to in enumerate(("b@tcp.test", "B.C@unix.test"), 1):
            await self.send(to, options=asked)
            self.assertEqual((await self.results(count))[to][0], "sent")
            envelope = self.memory.messages[-1].envelope
            self.assertEqual(envelope.reverse_path.get(RET), Return.HDRS)
            self.assertEqual(envelope.reverse_path.get(ENVID), "An+Id=1")
            [recipient] = envelope.recipients
            self.assertEqual(recipient.get(NOTIFY), {Notify.SUCCESS, Notify.DELAY})
            self.assertEqual(recipient.get(ORCPT), OriginalRecipient("rfc822", to))
            self.assertIn(("ENVID", "An+2BId+3D1"), envelope.reverse_path.options)

    async def test_nothing_is_to_be_reported(self) -> None:
        await self.start_postfix(relay_domains="mx.test", relay_transport=await self.over_tcp())
        await self.send("b@mx.test", options=("-N", "never"))
        await self.results(1)
        [recipient] = self.memory.messages[0].envelope.recipients
        self.assertEqual(recipient.get(NOTIFY), {Notify.NEVER})
        self.assertIsNone(self.memory.messages[0].envelope.reverse_path.get(RET))

    async def forward(self, trusted: str) -> list[tuple[Forwarded | None, str]]:
        """Have it take a message by SMTP, as a filter's front does, and one that was submitted there.

        :returns: what is known of each.
        """
        forwards = Forwards()
        where = await self.over_tcp(more=[xforward([trusted])], policies=[forwards])
        with closing(socket.socket()) as free:  # it wants a port that is no 0
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        await self.start_postfix(
            f"127.0.0.1:{port} inet n - n - - smtpd",
            *("anvil unix - - n - 1 anvil", "proxymap unix - - n - - proxymap"),
            relay_domains="mx.test",
            relay_transport=where,
            smtp_send_xforward_command="yes",
            mynetworks="127.0.0.0/8",
            smtpd_peername_lookup="no",
            local_recipient_maps="",
        )

        def submit() -> None:
            with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=60, source_address=("127.0.0.9", 0)) as client:
                client.sendmail("a@client.test", "b@mx.test", MESSAGE)

        await deferToThread(submit)
        await self.results(1)
        await self.send("c@mx.test")
        await self.results(2)
        return forwards.all

    async def test_xforward(self) -> None:
        (remote, client), (local, _) = await self.forward("127.0.0.1")
        assert remote and local
        self.assertEqual(client, "127.0.0.1")  # the session remains the filter's
        self.assertEqual((remote.name, remote.address, remote.helo), (None, "127.0.0.9", "client.test"))
        self.assertEqual((remote.protocol, remote.source), ("ESMTP", Source.REMOTE))
        self.assertIn(f"postfix/qmgr[{self.pid('qmgr')}]: {remote.ident}: from=<a@client.test>", self.log.read_text())
        self.assertGreater(remote.port or 0, 0)
        self.assertEqual((local.address, local.helo, local.source), (None, None, Source.LOCAL))
        self.assertIn(b" from client.test (", self.memory.messages[0].octets)  # Postfix's own field

    async def test_xforward_of_one_that_is_not_trusted(self) -> None:
        # It is not offered: Postfix says nothing, and hands the mail over.
        self.assertEqual(await self.forward("192.0.2.1"), [(None, "127.0.0.1")] * 2)

    def pid(self, name: str) -> str:
        [pid] = set(re.findall(rf"postfix/{name}\[(\d+)\]", self.log.read_text()))
        return str(pid)
