"""``twistd smtp --workers 2`` as it runs: its workers are killed, stopped, told to read everything again and to end,
and its clients are the worse for it only where the worker that they talk to is gone."""

import os
import re
import select
import signal
import smtplib
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from tests.clients.kit import Process
from tests.clients.load import Load
from tests.clients.test_drain import DrainTestCase


class WorkersTestCase(DrainTestCase):
    """Two workers on an inherited socket."""

    timeout = 120

    def configure(self, **settings: object) -> None:
        super().configure(**{"workers": 2, **settings})

    async def begin(self) -> Process:
        process = await super().begin()
        await self.until_ready(process, 1)
        await self.until_ready(process, 2)
        return process

    async def until_ready(self, process: Process, worker: int, times: int = 1) -> int:
        """Wait until one after the other has been that *worker*; the number of the last one's process."""
        match = await process.says(rf"(?s)(worker {worker} \(process (\d+)\) takes mail.*){{{times}}}")
        return int(match[2])

    async def stop(self, process: Process) -> None:
        """Have it end in order."""
        process.signal("TERM")
        await process.ended()
        self.assertEqual(process.status, -signal.SIGTERM, str(process))
        self.assertNotIn("Traceback", str(process))


class KillTests(WorkersTestCase):
    """kill -9 of a worker, and of the parent."""

    async def test_under_load(self) -> None:
        """What got its 250 is stored, what did not is sent again, and all go on meanwhile."""
        self.configure(max_connections_per_client=40)
        process = await self.begin()
        clients = Load(self.port, 12, lines=50)
        await clients.more(30)
        os.kill(await self.until_ready(process, 1), signal.SIGKILL)
        await clients.more(30)
        await self.until_ready(process, 1, times=2)
        await clients.more(30)
        await clients.end()
        await self.stop(process)
        found = [each.octets.split(b"\r\n", 1) for each in self.stored_here()]
        stored = [int(subject.split()[1]) for subject, _ in found]
        self.assertEqual({body for _, body in found}, {b"\r\n" + b"hello\r\n" * 51})
        self.assertEqual(len(stored), len(set(stored)))
        self.assertEqual(set(clients.accepted) - set(stored), set())
        broken = {int(number) for each in clients.broken for number in re.findall(r"message (\d+): got 0", each)}
        self.assertEqual(len(broken | {0}), len({*clients.broken} | {"message 0: got 0"}), clients.broken)
        self.assertEqual(set(stored) - set(clients.accepted) - broken, set())
        self.assertIn("was killed by signal 9; another one starts in 0.5 s\n", process.output)

    async def test_the_parent(self) -> None:
        """Workers without a parent take nobody any more, end what is under way, and are gone."""
        if not hasattr(os, "pidfd_open"):
            raise SkipTest("this system does not tell of the end of processes that are not ours")
        self.configure()
        process = await self.begin()
        workers = [os.pidfd_open(await self.until_ready(process, each)) for each in (1, 2)]
        for each in workers:
            self.addCleanup(os.close, each)
        amid = await deferToThread(self.begin_message)
        process.kill()
        await process.ended()

        def finish() -> list[tuple[int, bytes]]:
            amid.send(b"\r\nhello\r\n.\r\n")
            return [amid.getreply(), amid.getreply()]

        self.assertEqual([code for code, _ in await deferToThread(finish)], [250, 421])
        amid.close()
        gone: list[Any] = [await deferToThread(select.select, [each], [], [], 60) for each in workers]
        self.assertEqual([len(readable) for readable, _, _ in gone], [1, 1])
        (stored,) = self.stored_here()
        self.assertEqual(stored.octets, b"Subject: hello\r\n\r\nhello\r\n")


class SignalTests(WorkersTestCase):
    """SIGSTOP, SIGHUP and SIGTERM."""

    async def test_a_configuration_that_is_broken(self) -> None:
        """It is said once, all go on as they were, and so does whoever takes the place of one that is gone; what is
        right again is taken up by all."""
        self.configure(max_size=1000)
        process = await self.begin()
        self.configure(max_size="12X")
        process.signal("HUP")
        await process.says("the configuration stays as it is: .*12X")
        os.kill(await self.until_ready(process, 1), signal.SIGKILL)
        await self.until_ready(process, 1, times=2)
        self.configure(max_size=2000)
        process.signal("HUP")
        for mark in "", " worker=1", " worker=2":
            await process.says(rf"\+0000{mark} \[twistsmtp.service\] the configuration was read again: max-size chan")
        client = await deferToThread(self.connect)
        self.assertEqual(client.esmtp_features["size"], "2000")
        client.close()
        await self.stop(process)
        self.assertEqual(process.output.count("stays as it is"), 1)

    async def test_one_stands_still_for_a_while(self) -> None:
        """Whoever comes meanwhile comes to the other one. Then all is ended in order."""
        self.configure()
        process = await self.begin()
        for worker in 1, 2:
            stopped = await self.until_ready(process, worker)
            os.kill(stopped, signal.SIGSTOP)
            for _ in range(10):
                client = await deferToThread(self.connect)
                self.assertTrue(client.has_extn("size"))
                client.close()
            os.kill(stopped, signal.SIGCONT)
        idle = [await deferToThread(self.connect) for _ in range(4)]
        amid = await deferToThread(self.begin_message)
        process.signal("TERM")
        for each in idle:
            self.assertEqual((await deferToThread(each.getreply))[0], 421)

        def finish() -> list[tuple[int, bytes]]:
            amid.send(b"\r\nhello\r\n.\r\n")
            return [amid.getreply(), amid.getreply()]

        self.assertEqual([code for code, _ in await deferToThread(finish)], [250, 421])
        for each in amid, *idle:
            each.close()
        await process.ended()
        self.assertEqual(process.status, -signal.SIGTERM)
        self.assertEqual(len([*self.stored_here()]), 1)

    async def test_at_once_on_a_second_signal(self) -> None:
        self.configure(drain_time="1h")
        process = await self.begin()
        amid = await deferToThread(self.begin_message)
        process.signal("INT")
        await process.says("Received SIGINT, shutting down")
        process.signal("TERM")
        self.assertEqual((await deferToThread(amid.getreply))[0], 421)
        amid.close()
        await process.ended()
        self.assertEqual([*self.stored_here()], [])

    async def test_nobody_is_broken_off(self) -> None:
        """Under load it is told to read everything again, is stopped, and another one is started on its socket."""
        self.configure(max_connections_per_client=40)
        process = await self.begin()
        clients = Load(self.port, 12, lines=50)
        await clients.more(20)
        self.issue("mx.pem", "mx.test", "other.test")
        self.configure(max_connections_per_client=40, max_size=1_000_001)
        process.signal("HUP")
        await process.says(r"worker=2 \[twistsmtp.service\] the configuration was read again: max-size changed")
        await clients.more(20)
        await self.stop(process)
        process = await self.begin()
        await clients.more(20)
        await clients.end()
        await self.stop(process)
        self.assertEqual(clients.broken, [])
        numbers = sorted(int(each.octets.split()[1]) for each in self.stored_here())
        self.assertEqual(numbers, sorted(clients.accepted))


class LimitTests(WorkersTestCase):
    async def test_connections_of_a_client(self) -> None:
        """However they come to workers, there are no more than the limit; and there is room again for each that goes,
        and for those of a worker that is gone."""
        self.configure(max_connections_per_client=6)
        process = await self.begin()

        def connect() -> Any:
            client = smtplib.SMTP(timeout=60)
            return client.connect("127.0.0.1", self.port)[0], client

        answers = [await deferToThread(connect) for _ in range(9)]
        self.assertEqual([code for code, _ in answers], [220] * 6 + [421] * 3)
        for code, client in answers:
            if code == 220:
                client.quit()
            client.close()
        again = [await deferToThread(connect) for _ in range(7)]
        self.assertEqual([code for code, _ in again][:6], [220] * 6)
        for each in 1, 2:
            os.kill(await self.until_ready(process, each), signal.SIGKILL)
        for each in 1, 2:
            await self.until_ready(process, each, times=2)
        code, last = await deferToThread(connect)
        self.assertEqual(code, 220)
        for each in (last, *(client for _, client in again)):
            each.close()
        await self.stop(process)
