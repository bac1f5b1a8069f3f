"""Our server, judged as anybody judges it: by the command, in a process of its own."""

import json
import sys
from typing import Any

from tests.clients.kit import ROOT, start
from tests.clients.submission import BOB, SubmissionTestCase
from twistsmtp.config import load
from twistsmtp.service import SMTPService


class OurServerTests(SubmissionTestCase):
    """`SMTPService`."""

    async def judge(self, *arguments: str, user: bool = False, **settings: Any) -> dict[str, str]:
        """The verdicts by the checks. There is neither a failure nor a warning.

        :param user: whether BOB has an account, and authenticates.
        """
        if user:
            path = self.file("password", f"{BOB.password}\n".encode())
            arguments = (*arguments, "--user", BOB.user, "--password-file", path)
            settings["auth"] = [f"memory:{BOB.user}:{BOB.password}"]
        given = self.settings(delivery="memory:keep=1", require_auth=False, relay_authenticated=user, **settings)
        service = SMTPService(load(given))
        service.startService()
        self.addCleanup(service.factory.shutdown, 0.1)
        self.addCleanup(service.stopService)
        port: Any = service.ports[0]
        command = [sys.executable, "-m", "twistsmtp.conformance", f"127.0.0.1:{port.getHost().port}"]
        more = ("--to", "bob@mx.test", "--json", "report", "--timeout", "20")
        process = await start(self, [*command, *more, *arguments], folder=self.folder, PYTHONPATH=str(ROOT)).ended()
        verdicts = {each["id"]: each["verdict"] for each in json.loads((self.folder / "report").read_text())["checks"]}
        wrong = {id for id, verdict in verdicts.items() if verdict in ("fail", "warn")}
        self.assertEqual(wrong, set(), str(process))
        self.assertEqual(process.status, 0, str(process))
        return verdicts

    def skipped(self, verdicts: dict[str, str]) -> set[str]:
        """The topics of which something was skipped, and those checks that are the only one of their topic."""
        return {id.partition(".")[0] for id, verdict in verdicts.items() if verdict == "skip"}

    async def test_plain(self) -> None:
        """Without TLS, and STARTTLS itself."""
        verdicts = await self.judge(listen=["tcp:0:interface=127.0.0.1"])
        self.assertEqual(self.skipped(verdicts), {"8bitmime", "auth", "lmtp", "login", "starttls", "tls"})
        self.assertEqual(verdicts["starttls.injected"], "pass")

    async def test_starttls(self) -> None:
        """Behind STARTTLS, with an account: what is not the same as without."""
        same = ("--skip", "smuggling,syntax,paths,smtputf8,dsn,size")
        verdicts = await self.judge("--starttls", *same, user=True, listen=["tcp:0:interface=127.0.0.1"])
        self.assertEqual(self.skipped(verdicts), {"8bitmime", "lmtp", "tls"})

    async def test_implicit_tls(self) -> None:
        """With TLS from the first octet on, and an account."""
        topics = ("--only", "tls,greeting,hello,login,session,data,chunks")
        verdicts = await self.judge("--tls", *topics, user=True, listen=["tls:0:interface=127.0.0.1"])
        self.assertEqual(self.skipped(verdicts), set())
        self.assertEqual(verdicts["tls.greeting"], "pass")

    async def test_lmtp(self) -> None:
        """LMTP."""
        topics = ("--only", "lmtp,greeting,hello,order,session,data,pipelining,chunking,chunks,dsn")
        verdicts = await self.judge("--lmtp", *topics, listen=["none"], listen_lmtp=["tcp:0:interface=127.0.0.1"])
        self.assertEqual(verdicts["lmtp.replies"], "pass")
        self.assertNotIn("dsn", self.skipped(verdicts))
