"""A Postfix that does nothing but accept mail, each message safe on the disk before it says so.

It has a configuration and a queue of its own, takes mail on one port of this machine, and holds it: no message goes
on to a delivery, so that all it takes is smtpd's time and cleanup's.
"""

import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.environments import InstallError
from benchmarks.processes import Server, free_port

__all__ = ["find_postfix", "serve_postfix"]

DAEMONS = Path("/usr/lib/postfix/sbin")

#: What takes no part is not there.
MASTER = """\
127.0.0.1:{port} inet n - n - 600 smtpd
pickup   unix n - n 1 1 pickup
cleanup  unix n - n - 0 cleanup
qmgr     unix n - n 1 1 qmgr
rewrite  unix - - n - - trivial-rewrite
anvil    unix - - n - 1 anvil
postlog  unix-dgram n - n - 1 postlogd
"""
#: ``in_flow_delay`` would have smtpd wait where mail comes faster than it goes.
MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
daemon_directory = {daemons}
maillog_file = {home}/log
maillog_file_prefixes = {home}
myhostname = mx.example.com
mydestination =
local_recipient_maps =
relay_recipient_maps =
relay_domains = example.com
default_transport = error:held
alias_maps =
alias_database =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_recipient_restrictions = check_recipient_access static:HOLD, permit_mynetworks, reject
in_flow_delay = 0
message_size_limit = 67108864
"""


def find_postfix() -> Path:
    """The program that starts the others.

    :raises InstallError: it is not installed, or cannot be started by this user.
    """
    master = DAEMONS / "master"
    if not master.exists():
        raise InstallError("it is not installed")
    if os.geteuid():
        raise InstallError("only root can start it")
    return master


def serve_postfix(home: Path, processor: int) -> Server:
    """Postfix, in *home*, which its own user has to be able to reach.

    :raises InstallError: it cannot be started.
    """
    master = find_postfix()
    config, queue, data = (home / name for name in ("config", "queue", "data"))
    for folder in (config, queue, data):
        folder.mkdir(parents=True)
    shutil.chown(data, "postfix")
    port = free_port()
    (config / "main.cf").write_text(MAIN.format(home=home, daemons=DAEMONS))
    (config / "master.cf").write_text(MASTER.format(port=port))
    check = [str(DAEMONS.parents[2] / "sbin" / "postfix"), "-c", str(config), "check"]  # makes the queue's folders
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InstallError(f"postfix check failed: {done.stderr.strip()}")
    return Server("postfix", [str(master), "-c", str(config), "-d"], port, home, processor)
