"""The units for systemd that the documentation shows."""

import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.clients.kit import ROOT, program

DOCS = ROOT / "docs"


class UnitTests(SynchronousTestCase):
    def test_systemd_takes_them(self) -> None:
        """With programs in them that are installed here."""
        analyze = program("systemd-analyze")
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        units = []
        for name in "twistsmtp.service", "twistsmtp.socket":
            unit = folder.absolute() / name
            unit.write_text((DOCS / name).read_text().replace("/opt/twistsmtp/bin/twistd", "/bin/true"))
            units.append(str(unit))
        done = subprocess.run([analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
        said = [line for line in (done.stdout + done.stderr).splitlines() if "twistsmtp" in line]
        self.assertEqual((done.returncode, said), (0, []))

    def test_they_are_shown(self) -> None:
        page = (DOCS / "operating.rst").read_text()
        for name in "twistsmtp.service", "twistsmtp.socket":
            self.assertIn(f".. literalinclude:: {name}\n", page)
