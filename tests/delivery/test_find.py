"""Deliveries by name."""

import sys
import textwrap
from pathlib import Path

import twisted.plugins
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.plugin import IPlugin, pluginPackagePaths
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twistsmtp.delivery import find
from twistsmtp.delivery.api import Delivery
from twistsmtp.delivery.discard import Discard
from twistsmtp.delivery.find import DeliveryMaker, IDeliveryMaker, delivery_makers, make_delivery
from twistsmtp.delivery.maildir import Maildir
from twistsmtp.delivery.memory import Memory

OURS = {"discard", "maildir", "memory"}


class Named(Discard):
    """What `make_named` makes."""

    def __init__(self, *asked: object) -> None:
        self.asked = asked


def make_named(path: str, size: str = "1", *, color: str = "red") -> Delivery:
    """For makers to call; its arguments say all that a signature can."""
    if color == "none":
        raise ValueError("color is a color, not 'none'")
    if color == "gone":
        raise FileNotFoundError(2, "No such file or directory", path)
    return Named(path, size, color)


def maker(**changes: str) -> DeliveryMaker:
    values = {
        "name": "named",
        "synopsis": "named:PATH[:size=N][:color=C]",
        "help": "A help.",
        "function": "tests.delivery.test_find.make_named",
    }
    return DeliveryMaker(**{**values, **changes})


class FindTestCase(SynchronousTestCase):
    def install(self, *makers: IDeliveryMaker) -> None:
        """Have there be these makers and no others."""
        self.patch(find, "getPlugins", lambda interface: iter(makers))

    def refusal(self, text: str) -> str:
        """The one line that says what is wrong with *text*."""
        line = str(self.assertRaises(ValueError, make_delivery, text))
        self.assertNotIn("\n", line)
        return line

    def asked(self, text: str) -> tuple[object, ...]:
        """What the function behind `maker` is called with."""
        delivery = make_delivery(text)
        assert isinstance(delivery, Named)
        return delivery.asked


class OursTests(FindTestCase):
    """The makers that come with the package."""

    def test_names(self) -> None:
        names = [maker.name for maker in delivery_makers()]
        self.assertEqual(names, sorted(names))
        self.assertLessEqual(OURS, set(names))

    def test_help(self) -> None:
        for each in (maker for maker in delivery_makers() if maker.name in OURS):
            verifyObject(IDeliveryMaker, each)
            verifyObject(IPlugin, each)
            self.assertTrue(each.synopsis.startswith(f"{each.name}:"), each)
            self.assertIn(f"({each.name}:", each.help)
            self.assertNotIn("\n", each.synopsis + each.help)

    def test_make(self) -> None:
        self.assertIsInstance(make_delivery("discard:"), Discard)
        self.assertIsInstance(make_delivery("discard"), Discard)
        memory = make_delivery("memory:keep=7")
        assert isinstance(memory, Memory)
        self.assertEqual(memory.keep, 7)
        folder = Path(self.mktemp())
        maildir = make_delivery(f"maildir:{folder}:create=yes")
        assert isinstance(maildir, Maildir)
        self.assertFalse(folder.exists())
        maildir.start()
        self.assertTrue((folder / "new").is_dir())

    def test_refuse(self) -> None:
        folder = Path(self.mktemp()).absolute()
        for text, line in {
            f"maildir:{folder}": f"maildir: {folder} is no Maildir (create=yes would make it)",
            f"maildir:{folder}:create=maybe": "maildir: create is yes or no, not 'maybe'",
            f"maildir:{folder}:layout=tree": "maildir: layout is flat or maildir++, not 'tree'",
            "maildir:/x/{user}": "maildir: /x/{user}: the placeholders are {local} and {domain}, not {user}",
            "memory:keep=0": "memory: keep must be more than 0, not 0",
            "memory:keep=many": "memory: keep is a number, not 'many'",
            "memory:count=7": "memory: there is no option 'count' (the form is memory:[keep=COUNT])",
            "discard:all": "discard: too many positional arguments (the form is discard:)",
        }.items():
            self.assertEqual(self.refusal(text), line)
        self.assertIn("maildir:PATH", self.refusal("maildir"))
        self.assertIn("'path'", self.refusal("maildir"))


class StringTests(FindTestCase):
    """How a string is read."""

    def setUp(self) -> None:
        self.install(maker())

    def test_arguments(self) -> None:
        for text, asked in {
            "named:/x": ("/x", "1", "red"),
            "named:/x:2": ("/x", "2", "red"),
            "named:/x:size=2:color=blue": ("/x", "2", "blue"),
            "named:color=blue:/x": ("/x", "1", "blue"),
            "named:path=/x": ("/x", "1", "red"),
            "named:/x:color=a=b": ("/x", "1", "a=b"),
            r"named:c\:/x": ("c:/x", "1", "red"),
            r"named:a\=b": ("a=b", "1", "red"),
            r"named:a\\b": ("a\\b", "1", "red"),
            r"named:/x:color=\:": ("/x", "1", ":"),
            r"named:\named": ("named", "1", "red"),
            "named:/x:color=": ("/x", "1", ""),
            "named::2": ("", "2", "red"),
        }.items():
            self.assertEqual(self.asked(text), asked, text)

    @given(st.text(), st.text())
    @example("a\\", "=:\\")
    def test_anything_can_be_said(self, path: str, color: str) -> None:
        def escaped(text: str) -> str:
            return "".join(f"\\{character}" if character in ":=\\" else character for character in text)

        if color not in {"none", "gone"}:
            self.assertEqual(self.asked(f"named:{escaped(path)}:color={escaped(color)}"), (path, "1", color))

    @given(st.text(st.sampled_from("named:=\\pathsizecolor/x"), max_size=30))
    def test_whatever_is_said(self, text: str) -> None:
        """It is a delivery or one line."""
        try:
            make_delivery(f"named:{text}")
        except ValueError as error:
            self.assertNotIn("\n", str(error))

    def test_unknown_name(self) -> None:
        self.install(maker(), maker(name="other"))
        for text in ("", "x", "/var/mail", "Named:/x", " named:/x"):
            name = text.partition(":")[0]
            self.assertEqual(self.refusal(text), f"no delivery is called {name!r}; there are named, other")
        self.assertEqual(self.refusal("a=b:c"), "no delivery is called 'a=b'; there are named, other")

    def test_two_of_a_name(self) -> None:
        """Which of them is meant is not for chance to say."""
        self.install(maker(), maker())
        self.assertEqual(self.refusal("named:/x"), "2 plugins are called 'named'")

    def test_wrong_options(self) -> None:
        form = "(the form is named:PATH[:size=N][:color=C])"
        for text, line in {
            "named": f"missing a required argument: 'path' {form}",
            "named:": f"missing a required argument: 'path' {form}",
            "named:color=blue": f"missing a required argument: 'path' {form}",
            "named:/x:2:3": f"too many positional arguments {form}",
            "named:/x:colour=blue": f"there is no option 'colour' {form}",
            "named:/x:path=/y": f"multiple values for argument 'path' {form}",
            "named:/x:color=red:color=blue": "the option 'color' stands there twice",
            "named:/x:color=none": "color is a color, not 'none'",
            "named:/x:color=gone": "[Errno 2] No such file or directory: '/x'",
        }.items():
            self.assertEqual(self.refusal(text), f"named: {line}")


class MakerTests(FindTestCase):
    def test_something_is_not_installed(self) -> None:
        """It says so, and is no trouble to those who do not ask for it."""
        package = Path(self.mktemp()).absolute()
        package.mkdir()
        (package / "needs_what_is_not_there.py").write_text("import what_is_not_there\n")
        self.patch(sys, "path", [*sys.path, str(package)])
        broken = maker(name="broken", function="needs_what_is_not_there.make")
        self.install(broken, maker())
        self.assertEqual([each.name for each in delivery_makers()], ["broken", "named"])
        self.assertEqual(self.asked("named:/x"), ("/x", "1", "red"))
        self.assertEqual(
            self.refusal("broken:/x"),
            "broken: it needs something that is not installed: No module named 'what_is_not_there'",
        )

    def test_a_maker_of_ones_own(self) -> None:
        """Anything that provides the interface will do."""

        @implementer(IPlugin, IDeliveryMaker)
        class Own:
            name = "own"
            synopsis = "own:PATH"
            help = "A help (own:/x)."

            def make(self, *args: str, **options: str) -> Delivery:
                if options:
                    raise ValueError("there are no options")
                return Named(*args)

        self.install(Own())
        self.assertEqual(self.asked("own:/x:y"), ("/x", "y"))
        self.assertEqual(self.refusal("own:/x:y=1"), "own: there are no options")

    def test_a_mistake_in_a_function_is_not_hidden(self) -> None:
        def broken() -> Delivery:
            raise TypeError("a mistake")

        self.patch(sys.modules[__name__], "make_named", broken)
        self.install(maker())
        self.assertRaises(TypeError, make_delivery, "named")


class PluginTests(FindTestCase):
    """A package of somebody else's."""

    def test_adds_a_delivery(self) -> None:
        """The file in the documentation, as it stands there."""
        package = Path(self.mktemp()).absolute()
        plugins = package / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        _, _, rest = (find.__doc__ or "").partition("and in it::\n")
        (plugins / "their_plugin.py").write_text(textwrap.dedent(rest.partition("\nThe function")[0]))
        (package / "mypackage").mkdir()
        (package / "mypackage" / "__init__.py").touch()
        (package / "mypackage" / "queue.py").write_text(
            "from tests.delivery.test_find import Named\n"
            "def make_queue(url, *, workers='1'):\n"
            "    return Named(url, int(workers))\n"
        )
        before = set(sys.modules)
        self.addCleanup(lambda: [sys.modules.pop(name) for name in set(sys.modules) - before])
        self.patch(sys, "path", [str(package), *sys.path])
        # What `twisted.plugins` does when it is imported; it was, by now.
        self.patch(twisted.plugins, "__path__", [*twisted.plugins.__path__, *pluginPackagePaths("twisted.plugins")])

        self.assertIn("queue", [each.name for each in delivery_makers()])
        self.assertNotIn("mypackage", sys.modules)
        self.assertEqual(self.asked(r"queue:redis\://localhost:workers=4"), ("redis://localhost", 4))
        self.assertIn("mypackage", sys.modules)
        self.assertIsInstance(make_delivery("discard:"), Discard)

    def test_is_gone_with_the_package(self) -> None:
        self.assertIn("no delivery is called 'queue'", self.refusal("queue:x"))
