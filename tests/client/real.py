"""Real servers as the far side: Postfix and Dovecot, each with a configuration and a folder of its own.

They speak to nothing but this machine, and end with the test.
"""

import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.trial.unittest import SkipTest

from tests.clients.kit import ClientTestCase, Process, program, start
from tests.tls.support import authority, issue, write
from twistsmtp.extensions import DEFAULT, load_extensions
from twistsmtp.factory import LMTPFactory

__all__ = ["PASSWORD", "RealTestCase"]

POSTFIX = Path("/usr/lib/postfix/sbin")
DOVECOT = Path("/usr/sbin/dovecot")
PASSWORD = "correct horse"

#: What takes no part is not there.
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup   unix n - n 1 1 pickup
cleanup  unix n - n - 0 cleanup
qmgr     unix n - n 1 1 qmgr
rewrite  unix - - n - - trivial-rewrite
bounce   unix - - n - 0 bounce
defer    unix - - n - 0 bounce
trace    unix - - n - 0 bounce
lmtp     unix - - n - - lmtp
discard  unix - - n - - discard
error    unix - - n - - error
retry    unix - - n - - error
anvil    unix - - n - 1 anvil
postlog  unix-dgram n - n - 1 postlogd
tlsmgr   unix - - n 1000? 1 tlsmgr
"""

#: Mailboxes for ada and bob, and for full, where there is no room; and who they are, for Postfix.
CONFIG = """\
base_dir = {home}/base
log_path = {home}/dovecot.log
protocols = lmtp
listen = 127.0.0.1
ssl = no
default_login_user = nobody
default_internal_user = nobody
default_internal_group = nogroup
first_valid_uid = 1
mail_location = maildir:{home}/mail/%n
auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256
auth_username_format = %n
disable_plaintext_auth = no
auth_failure_delay = 0
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service auth {{
  unix_listener {home}/auth {{
    mode = 0666
  }}
}}
service lmtp {{
  unix_listener {home}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
protocol lmtp {{
  postmaster_address = postmaster@mx.test
}}
passdb {{
  driver = passwd-file
  args = username_format=%n {home}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%n {home}/users
}}
"""


def free_port() -> int:
    """The number of a port that nobody has now: these servers cannot choose one themselves."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number: int = taken.getsockname()[1]
        return number


def make_queue(queue: Path) -> None:
    """The folders that Postfix wants in its queue: ``postfix check`` makes them, too, and takes three seconds."""
    for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved"):
        (queue / name).mkdir(mode=0o700)
        shutil.chown(queue / name, "postfix")
    for name, mode in (("pid", 0o755), ("trace", 0o700), ("maildrop", 0o730), ("public", 0o710)):
        (queue / name).mkdir()
        (queue / name).chmod(mode)
        shutil.chown(queue / name, *{"pid": ("root",), "trace": ("postfix",)}.get(name, ("postfix", "postdrop")))


class RealTestCase(ClientTestCase):
    """Starts servers, each in a folder where its user may go."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid():
            raise SkipTest("Postfix and Dovecot are started by root")
        self.home = Path(tempfile.mkdtemp(prefix="twistsmtp-real-"))
        self.home.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        self.ca = self.home / "ca.pem"
        self.ca.write_bytes(authority().cert_pem.bytes())

    async def until(self, condition: Any) -> None:
        """Wait for what is about to happen."""
        from twisted.internet import reactor

        while not condition():
            await task.deferLater(reactor, 0.02)

    def start_group(self, *command: str) -> Process:
        """A process that leads a group, which ends with the test."""
        process = start(self, [program("setsid"), *command], folder=self.home)
        self.addCleanup(self.end, process)
        return process

    def end(self, process: Process) -> "Deferred[Process]":
        """Have all of it end."""
        if process.status is None:
            os.killpg(process.id, signal.SIGKILL)  # they are told at once; when it is asked to, Postfix takes a second
        return process.ended()

    async def keep(self) -> int:
        """Have what Postfix has taken come to ``memory``: the port of an LMTP server of ours."""
        from twisted.internet import reactor

        factory = LMTPFactory(self.memory, hostname="mx.test", extensions=load_extensions(DEFAULT))
        port: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(factory.shutdown, 0.1)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def start_postfix(self, **settings: str) -> int:
        """Start Postfix, which takes mail for mx.test, and has it come to ``memory``; its port."""
        if not POSTFIX.exists():
            raise SkipTest("postfix is not installed")
        config, queue, data = (self.home / name for name in ("config", "queue", "data"))
        for folder in (config, queue, data):
            folder.mkdir()
        shutil.chown(data, "postfix")
        make_queue(queue)
        write(self.home / "server.pem", issue("localhost", "127.0.0.1"))
        port = free_port()
        main = {
            "compatibility_level": "3.6",
            "queue_directory": str(queue),
            "data_directory": str(data),
            "daemon_directory": str(POSTFIX),
            "maillog_file": str(self.home / "log"),
            "maillog_file_prefixes": str(self.home),
            "myhostname": "postfix.test",
            "mydestination": "",
            "virtual_mailbox_domains": "mx.test",
            "virtual_mailbox_maps": "inline:{ada@mx.test=1, bob@mx.test=1, eve@mx.test=1}",
            "virtual_transport": f"lmtp:inet:[127.0.0.1]:{await self.keep()}",
            "default_transport": "discard:",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "inet_interfaces": "loopback-only",
            "inet_protocols": "ipv4",
            "smtpd_tls_chain_files": str(self.home / "server.pem"),
            "smtpd_tls_security_level": "may",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject_unauth_destination",
            "smtpd_peername_lookup": "no",
            "notify_classes": "",
            "local_header_rewrite_clients": "",
            "smtpd_client_connection_rate_limit": "0",
            "in_flow_delay": "0",
            "service_throttle_time": "1s",
            **settings,
        }
        (config / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in main.items()))
        (config / "master.cf").write_text(MASTER.format(port=port))
        for path in config.iterdir():  # what is younger than a second it takes to be half written, and waits
            os.utime(path, (0, 0))
        process = self.start_group(str(POSTFIX / "master"), "-c", str(config), "-d")
        self.postfix = process
        await self.until(lambda: (queue / "public" / "pickup").exists() or process.status is not None)
        self.assertIsNone(process.status, str(process))
        return port

    async def start_dovecot(self) -> int:
        """Start Dovecot; the port of its LMTP server. There are sockets ``lmtp`` and ``auth`` in ``home``."""
        if not DOVECOT.exists() or not Path("/usr/lib/dovecot/lmtp").exists():
            raise SkipTest("dovecot-lmtpd is not installed")
        mail = self.home / "mail"
        mail.mkdir()
        shutil.chown(mail, "nobody", "nogroup")
        port = free_port()
        keys = await self.run_program("doveadm", "-c", "/dev/null", "pw", "-s", "PLAIN", "-p", PASSWORD)
        self.assertEqual(keys.output.strip(), f"{{PLAIN}}{PASSWORD}", str(keys))
        account = f"{{PLAIN}}{PASSWORD}:65534:65534::{mail}"
        full = "userdb_quota_rule=*:bytes=1"
        (self.home / "users").write_text("".join(f"{name}:{account}::{full}\n" for name in ("ada", "bob", "eve")))
        (self.home / "dovecot.conf").write_text(CONFIG.format(home=self.home, port=port))
        process = self.start_group(str(DOVECOT), "-F", "-c", str(self.home / "dovecot.conf"))
        await self.until(lambda: (self.home / "lmtp").exists() or process.status is not None)
        self.assertIsNone(process.status, f"{process}{self.dovecot_log()}")
        return port

    def dovecot_log(self) -> str:
        """What Dovecot has to say."""
        path = self.home / "dovecot.log"
        return path.read_text() if path.exists() else ""
