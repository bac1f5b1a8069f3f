"""Where certificates are."""

import os
from pathlib import Path

from twisted.trial.unittest import TestCase

from twistsmtp.tls.sources import files_of, source_of


class FilesTests(TestCase):
    """The files of a source."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
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
        self.assertEqual(files_of(source_of("/a.pem")), [(Path("/a.pem"),)])

    def test_two_files(self) -> None:
        self.assertEqual(files_of(source_of(("/a.crt", Path("/a.key")))), [(Path("/a.crt"), Path("/a.key"))])

    def test_in_another_folder(self) -> None:
        """A server that becomes a daemon goes to another."""
        self.make("a.pem")
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.folder)
        sources = source_of("a.pem"), source_of((".", "a.pem")), source_of(Path())
        here = Path.cwd()
        os.chdir("/")
        self.assertEqual(sources, ((here / "a.pem",), (here, here / "a.pem"), (here,)))
        self.assertEqual(files_of(sources[2]), [(here / "a.pem",)])

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
