"""All pages: their code compiles and names what there is, their commands and files are taken by the server."""

from __future__ import annotations

import ast
import contextlib
import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twistsmtp
from tests.docs.pages import PAGES, ROOT, Block, all_blocks, block
from tests.docs.test_extending import put_package
from twistsmtp.config import load
from twistsmtp.options import Options


def smtp_commands() -> Iterator[tuple[Block, list[str]]]:
    """What the pages have behind ``twistd ... smtp`` and ``twist ... smtp``."""
    for each in all_blocks("console"):
        for line in each.text.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                words = shlex.split(line[2:], comments=True)
                if "smtp" in words and re.search(r"(^|/)twistd?$", words[0]):
                    yield each, words[words.index("smtp") + 1 :]


class CodeTests(SynchronousTestCase):
    """Blocks of Python."""

    def setUp(self) -> None:
        put_package(self, xlabel="extension", otp="mechanism", codes="mechanism-checker")

    def test_there_are_some(self) -> None:
        """The pages are read: each that has code gives some."""
        pages = {each.page for each in all_blocks("python")}
        names = (
            "accounts client conformance deliveries embedding "
            "extending extensions migrating policies proxies testing tls tutorial"
        )
        self.assertEqual({"README.md", *(f"{name}.rst" for name in names.split())}, pages)

    def test_no_block_is_overlooked(self) -> None:
        """Each block that is written is found."""
        begin = re.compile(r"^ *\.\. code-block::|^```\w", re.MULTILINE)
        written = sum(len(begin.findall(page.read_text())) for page in PAGES)
        languages = ("python", "console", "toml", "text", "ini")
        self.assertEqual(written, len(all_blocks(*languages)))

    def test_python(self) -> None:
        """Each block compiles, and imports what there is."""
        for each in all_blocks("python"):
            tree = ast.parse(each.text, str(each))
            compile(tree, str(each), "exec")
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module:
                    module = importlib.import_module(node.module)
                    for name in node.names:
                        with contextlib.suppress(ImportError):  # it may be a module, or an attribute
                            importlib.import_module(f"{node.module}.{name.name}")
                        self.assertTrue(hasattr(module, name.name), f"{each}: {node.module} has no {name.name}")

    def test_toml(self) -> None:
        """Each file is a configuration."""
        for each in all_blocks("toml"):
            path = self.mktemp()
            Path(path).write_text(each.text)
            load({}, path)


class CommandTests(SynchronousTestCase):
    """Command lines."""

    def setUp(self) -> None:
        put_package(self, xlabel="extension", otp="mechanism", codes="mechanism-checker")
        folder = Path(self.mktemp())
        folder.mkdir()
        self.files = {name: folder / name for name in ("twistsmtp.toml", "submission.toml")}
        for name, path in self.files.items():
            path.write_text(block("operating.rst", name).text)
        # Pages that have no file of their own have this one in mind.
        self.files["/etc/twistsmtp.toml"] = self.files["twistsmtp.toml"]

    def parse(self, words: list[str]) -> Options:
        options = Options()
        with contextlib.redirect_stdout(StringIO()):
            options.parseOptions([str(self.files.get(word, word)) for word in words])
        return options

    def test_they_are_taken(self) -> None:
        """The server takes each command line that a page shows."""
        commands = list(smtp_commands())
        self.assertGreater(len(commands), 10)
        for each, words in commands:
            try:
                self.parse(words)
            except Exception as error:
                self.fail(f"{each}: {shlex.join(words)}: {error}")

    def test_wins(self) -> None:
        """The command line wins over the file, as the operator's guide says."""
        [words] = [words for _, words in smtp_commands() if "twistsmtp.toml" in words]
        config = self.parse(words).config
        self.assertEqual(10 * 1024 * 1024, config.limits.message_size)
        self.assertEqual(("example.org", "example.net"), config.domains)
        self.assertEqual(50, config.limits.hops)

    def test_make(self) -> None:
        """What the tutorial says that ``make run`` starts is what the Makefile starts."""
        [words] = [words for each, words in smtp_commands() if each.page == "tutorial.rst"]
        self.assertIn(f"smtp {shlex.join(words)} ", (ROOT / "Makefile").read_text())


class ReferenceTests(SynchronousTestCase):
    """docs/reference.rst."""

    def test_all_modules(self) -> None:
        """It has each module of the package, once."""
        page = (ROOT / "docs" / "reference.rst").read_text()
        listed = re.findall(r"^\.\. automodule:: (\S+)$", page, re.MULTILINE)
        modules = [module.name for module in pkgutil.walk_packages(twistsmtp.__path__, "twistsmtp.")]
        self.assertEqual(sorted(modules), sorted(listed))


class LinkTests(SynchronousTestCase):
    """Links between files."""

    def test_readme(self) -> None:
        """Each file that the README links to is there."""
        targets = re.findall(r"\]\(([^):]+)\)", (ROOT / "README.md").read_text())
        self.assertGreater(len(targets), 5)
        for target in targets:
            self.assertTrue((ROOT / target).exists(), target)

    def test_paths_in_pages(self) -> None:
        """Each test and example that a page names is there."""
        for page in PAGES:
            for path in re.findall(r"(?:tests|examples|twistsmtp|benchmarks)/[\w/]+\.py", page.read_text()):
                self.assertTrue((ROOT / path).exists(), f"{page.name}: {path}")
