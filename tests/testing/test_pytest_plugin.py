"""The plugin for pytest: pytest is run on a small suite, as a user has it."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from textwrap import dedent

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import ROOT

SUITE = """
    import asyncio
    import smtplib

    import pytest

    MESSAGE = "Subject: x\\n\\nHello.\\n"


    def send(server, recipient="b@mx.test", login=None):
        with smtplib.SMTP(server.host, server.port, timeout=20) as client:
            if login:
                client.login(*login)
            client.sendmail("a@client.test", [recipient], MESSAGE)


    def test_message(smtpd):
        send(smtpd)
        [message] = smtpd.wait_for()
        assert message.email["Subject"] == "x"


    @pytest.mark.parametrize("number", range(8))
    def test_fresh(smtpd, number):
        assert smtpd.messages == []
        send(smtpd)
        assert len(smtpd.wait_for()) == 1


    def test_tls(smtpd_tls):
        with smtplib.SMTP_SSL(smtpd_tls.host, smtpd_tls.tls_port, context=smtpd_tls.ssl_context) as client:
            client.sendmail("a@client.test", ["b@mx.test"], MESSAGE)
        assert smtpd_tls.wait_for()[0].encrypted


    def test_auth(smtpd_auth, smtpd_accounts):
        send(smtpd_auth, login=("user", "secret"))
        assert smtpd_auth.wait_for()[0].identity == "user"
        with pytest.raises(smtplib.SMTPSenderRefused):
            send(smtpd_auth)


    class TestAccounts:
        @pytest.fixture
        def smtpd_accounts(self):
            return {"ada": "sesame"}

        def test_others(self, smtpd_auth):
            send(smtpd_auth, login=("ada", "sesame"))


    def test_faults(smtpd):
        smtpd.defer_once("b@mx.test")
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(smtpd)
        send(smtpd)
        smtpd.refuse("c@*", 553, "Gone")
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="Gone"):
            send(smtpd, "c@mx.test")


    @pytest.mark.asyncio
    async def test_coroutine(smtpd):
        async def beat():
            while True:
                await asyncio.sleep(0.001)

        beating = asyncio.create_task(beat())
        await asyncio.to_thread(send, smtpd)
        [message] = await asyncio.to_thread(smtpd.wait_for)
        assert message.sender == "a@client.test"
        beating.cancel()


    def test_two(smtpd, smtpd_tls):
        send(smtpd)
        assert len(smtpd.wait_for()) == 1
        assert smtpd_tls.messages == []
"""

TRIAL = """
    import smtplib

    from twisted.internet import reactor
    from twisted.internet.threads import deferToThread
    from twisted.internet.task import deferLater
    from twisted.trial.unittest import TestCase


    def test_before(smtpd):
        assert smtpd.port


    class TrialTests(TestCase):
        async def test_reactor(self):
            await deferLater(reactor, 0.01, lambda: None)
            self.assertEqual(await deferToThread(lambda: 3), 3)


    def test_behind(smtpd):
        assert smtpd.port
"""


OTHER = """
    import pytest

    @pytest.fixture
    def smtpd():
        return "another plugin's"
"""

CLASH = """
    def test_smtpd(smtpd):
        assert smtpd == "another plugin's"


    def test_the_rest(smtpd_tls):
        assert smtpd_tls.tls_port
"""


class PluginTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        # As an installation has it, whether this one has or not.
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        [(name, module)] = project["entry-points"]["pytest11"].items()
        self.install("kit", name, module)

    def install(self, distribution: str, name: str, module: str) -> None:
        """Have *module* be pytest's plugin *name*, of that *distribution*."""
        installed = self.folder / "site" / f"{distribution}-1.dist-info"
        installed.mkdir(parents=True)
        (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
        (installed / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")

    def pytest(self, suite: str, *options: str) -> str:
        (self.folder / "test_suite.py").write_text(dedent(suite))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, "test_suite.py"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": f"{self.folder / 'site'}:{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.stdout + done.stderr

    def passed(self, text: str) -> int:
        found = re.search(r"^=+ (\d+) passed in ", text, re.MULTILINE)
        if found is None:
            raise AssertionError(text)
        return int(found[1])

    def test_alone(self) -> None:
        """Beside pytest-asyncio."""
        self.assertEqual(
            self.passed(self.pytest(SUITE, "-W", "error", "-o", "asyncio_default_fixture_loop_scope=function")), 15
        )

    def test_beside_each_other(self) -> None:
        """In several processes of pytest-xdist, and in the other mode of pytest-asyncio."""
        text = self.pytest(SUITE, "-n", "2", "-o", "asyncio_mode=auto")
        self.assertIn("2 workers", text)
        self.assertEqual(self.passed(text), 15)

    def test_beside_trial(self) -> None:
        """Tests of trial have the reactor for themselves when it is their turn."""
        self.assertEqual(self.passed(self.pytest(TRIAL)), 3)

    def test_failure(self) -> None:
        """What failed reads well: the line of the test is there, and none of ours."""
        text = self.pytest("def test_vain(smtpd):\n    smtpd.wait_for(2, timeout=0.01)\n")
        self.assertIn("AssertionError: 2 wanted, 0 came in 0.01 seconds", text)
        self.assertRegex(text, r"(?m)^> +smtpd\.wait_for\(2, timeout=0\.01\)$")
        self.assertNotIn("server.py", text)

    def test_another_plugin(self) -> None:
        """One that is installed has its fixture, and whoever wants ours imports it."""
        for distribution in ("another", "yet-another"):  # in whatever order they are found
            self.install(distribution, distribution, distribution.replace("-", "_"))
            (self.folder / "site" / f"{distribution.replace('-', '_')}.py").write_text(dedent(OTHER))
        self.assertEqual(self.passed(self.pytest(CLASH)), 2)
        (self.folder / "conftest.py").write_text("from twistsmtp.testing.fixtures import smtpd\n")
        self.assertEqual(self.passed(self.pytest("def test_ours(smtpd):\n    assert smtpd.port\n")), 1)

    def test_pytest_twisted(self) -> None:
        """There is no thread that could wait; it says so, and does not hang."""
        (self.folder / "site" / "pytest_twisted.py").write_text("")
        text = self.pytest("def test_never(smtpd):\n    pass\n", "-p", "pytest_twisted")
        self.assertIn("pytest-twisted runs tests in the reactor's own thread", text)
        self.assertRegex(text, r"=+ 1 error in ")

    def test_fixtures(self) -> None:
        """They are listed, each with what it is; and none costs anything who does not use it."""
        text = self.pytest("def test_nothing():\n    pass\n", "--fixtures")
        for name in ("smtpd", "smtpd_tls", "smtpd_auth", "smtpd_accounts"):
            self.assertRegex(text, rf"(?m)^{name} -- .*\n    \w")
        modules = "import sys\ndef test_nothing():\n    assert not [each for each in sys.modules if 'twisted' in each]"
        self.assertEqual(self.passed(self.pytest(modules)), 1)
