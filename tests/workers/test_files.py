"""Certificates of a worker that may not read their files, which the parent has read."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.tls.support import issue, log_of, write
from twistsmtp.tls import certificates
from twistsmtp.tls.certificates import Certificates


class KeptTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.path.parent.mkdir(exist_ok=True)
        write(self.path, issue("mx.test"))
        self.kept: dict[Path, bytes] = {}
        Certificates(self.path, kept=self.kept)

    def forbid(self) -> None:
        """What is in files is for others from now on."""

        def read(path: Path) -> bytes:
            raise PermissionError(13, "Permission denied", str(path))

        self.patch(certificates, "read", read)

    def test_they_are_kept_where_that_is_wanted(self) -> None:
        self.assertEqual(self.kept, {self.path: self.path.read_bytes()})

    def test_they_are_handed_over(self) -> None:
        """It begins with what it was given, and cannot read it again."""
        self.forbid()
        self.assertRaises(PermissionError, Certificates, self.path)
        worker = Certificates(self.path, kept=self.kept)
        self.assertEqual(worker.names, ("mx.test",))
        with log_of() as log:
            worker.reload()
        self.assertEqual(len(log), 1, log)
        self.assertIn("Permission denied", log[0])
        self.assertEqual(worker.names, ("mx.test",))

    def test_what_can_be_read_is_newer(self) -> None:
        write(self.path, issue("other.test"))
        worker = Certificates(self.path, kept=self.kept)
        self.assertEqual(worker.names, ("other.test",))
        self.assertEqual(self.kept, {self.path: self.path.read_bytes()})

    def test_a_file_that_is_gone(self) -> None:
        """It is not there to be read by anybody."""
        self.path.unlink()
        self.assertRaises(FileNotFoundError, Certificates, self.path, kept=self.kept)
