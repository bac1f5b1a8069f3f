"""Programs as users write them, in ``programs/``: with their imports changed, and nothing else, they say the same.

What they say is in the ``.expected`` files, and is what the original says, where it is installed to be asked.
"""

import re
import socket
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme
from twisted.trial.unittest import SynchronousTestCase

from tests.forked import run_text

PROGRAMS = Path(__file__).parent / "programs"
LACKING = None if find_spec("aiosmtpd") else "aiosmtpd is not installed: pip install twistsmtp[dev]"

_PORT = re.compile(r"(\('127\.0\.0\.1', )\d+")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def run(name: str, package: str) -> str:
    """What the program *name* prints, with *package* in the place of aiosmtpd."""
    text = (PROGRAMS / f"{name}.txt").read_text("utf-8")
    with TemporaryDirectory() as folder:
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        authority.cert_pem.write_to_path(f"{folder}/authority.pem")
        issued = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
        issued.private_key_and_cert_chain_pem.write_to_path(f"{folder}/certificate.pem")
        text = text.replace("aiosmtpd", package).replace("FREE_PORT", str(free_port()))
        text = text.replace("CERTIFICATE", repr(f"{folder}/certificate.pem"))
        text = text.replace("CA_FILE", repr(f"{folder}/authority.pem"))
        done = run_text(text, PYTHONWARNINGS="ignore")
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    return _PORT.sub(r"\1PORT", done.stdout)


class Programs(SynchronousTestCase):
    """All of them, with ours."""

    package = "twistsmtp.compat.aiosmtpd"

    def check(self, name: str) -> None:
        expected = (PROGRAMS / f"{name}.expected").read_text("utf-8")
        self.assertEqual(expected.splitlines(), run(name, self.package).splitlines())

    def test_a_threaded_controller_in_a_unittest(self) -> None:
        self.check("controller_unittest")

    def test_a_subclass_with_commands_and_hooks(self) -> None:
        self.check("subclass")

    def test_an_authenticator_and_a_mechanism_of_its_own(self) -> None:
        self.check("authenticator")

    def test_attachments_are_saved(self) -> None:
        self.check("attachments")

    def test_starttls_is_required(self) -> None:
        self.check("starttls")

    def test_lmtp(self) -> None:
        self.check("lmtp")

    def test_a_proxy_in_front(self) -> None:
        self.check("proxy_front")

    def test_a_loop_of_its_own(self) -> None:
        self.check("unthreaded")


class ProgramsOfTheOriginal(Programs):
    """All of them, with the original."""

    package = "aiosmtpd"
    skip = LACKING


if __name__ == "__main__":  # write down what the original says
    for each in sorted(PROGRAMS.glob("*.txt")):
        each.with_suffix(".expected").write_text(run(each.stem, "aiosmtpd"), "utf-8")
