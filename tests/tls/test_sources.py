"""Where certificates are."""

import os
from pathlib import Path

from twisted.trial.unittest import TestCase

from twistsmtp.tls.sources import files_of, source_of, stamp_of


class FilesTests(TestCase):
    """The files of a source."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def make(self, *names: str) -> None:
        for name in names:
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.touch()

    def found(self) -> list[tuple[str, ...]]:
        return [
            tuple(str(path.relative_to(self.folder)) for path in files) for files in files_of(source_of(self.folder))
        ]

    def test_a_file(self) -> None:
        self.assertEqual(files_of(source_of("a.pem")), [(Path("a.pem"),)])

    def test_two_files(self) -> None:
        self.assertEqual(files_of(source_of(("a.crt", Path("a.key")))), [(Path("a.crt"), Path("a.key"))])

    def test_a_folder(self) -> None:
        self.make("b.pem", "a.pem", "README", ".c.pem", "a.key")
        self.assertEqual(self.found(), [("a.pem",), ("b.pem",)])

    def test_a_folder_of_folders(self) -> None:
        self.make("b.test/fullchain.pem", "b.test/privkey.pem", "b.test/cert.pem", "a.test/fullchain.pem", "c.pem")
        self.make("README/x", ".d/fullchain.pem", ".d/privkey.pem")
        self.assertEqual(self.found(), [("b.test/fullchain.pem", "b.test/privkey.pem"), ("c.pem",)])

    def test_a_folder_of_one(self) -> None:
        self.make("fullchain.pem", "privkey.pem", "cert.pem", "chain.pem")
        self.assertEqual(self.found(), [("fullchain.pem", "privkey.pem")])

    def test_an_empty_folder(self) -> None:
        error = self.assertRaises(ValueError, self.found)
        problem = "there is no certificate in it: neither *.pem nor a folder with fullchain.pem and privkey.pem"
        self.assertEqual(str(error), f"{self.folder}: {problem}")


class StampTests(TestCase):
    """Whether a file is another."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_no_file(self) -> None:
        self.assertIsNone(stamp_of(self.path))

    def test_the_same(self) -> None:
        self.path.write_bytes(b"x")
        self.assertEqual(stamp_of(self.path), stamp_of(self.path))

    def test_another_size(self) -> None:
        self.path.write_bytes(b"x")
        before = stamp_of(self.path)
        self.path.write_bytes(b"xy")
        os.utime(self.path, ns=(0, before[0] if before else 0))
        self.assertNotEqual(stamp_of(self.path), before)

    def test_another_time(self) -> None:
        self.path.write_bytes(b"x")
        os.utime(self.path, (1, 1))
        before = stamp_of(self.path)
        os.utime(self.path, (2, 2))
        self.assertNotEqual(stamp_of(self.path), before)

    def test_a_link_that_leads_elsewhere(self) -> None:
        """As certbot renews."""
        for name in "1", "2":
            Path(f"{self.path}{name}").write_bytes(b"x")
            os.utime(f"{self.path}{name}", (1, 1))
        self.path.symlink_to(f"{self.path.name}1")
        before = stamp_of(self.path)
        self.path.unlink()
        self.path.symlink_to(f"{self.path.name}2")
        self.assertNotEqual(stamp_of(self.path), before)
