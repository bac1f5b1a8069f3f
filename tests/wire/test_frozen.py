from dataclasses import FrozenInstanceError, dataclass, field, replace

from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.wire.frozen import quick_to_make


@dataclass(frozen=True, slots=True)
class Base:
    one: int
    two: str = "2"


@quick_to_make
@dataclass(frozen=True, slots=True, kw_only=True)
class Derived(Base):
    three: tuple[int, ...] = ()
    four: dict[str, int] | None = field(default=None, hash=False)


class QuickToMakeTests(SynchronousTestCase):
    """It is the dataclass that it was, but for the time that it takes to make."""

    def test_fields_and_defaults(self) -> None:
        made = Derived(1, three=(3,))
        self.assertEqual((made.one, made.two, made.three, made.four), (1, "2", (3,), None))
        self.assertEqual(made, Derived(one=1, two="2", three=(3,), four=None))
        self.assertEqual(repr(made), "Derived(one=1, two='2', three=(3,), four=None)")

    def test_frozen_and_hashable(self) -> None:
        made = Derived(1, four={"a": 1})
        with self.assertRaises(FrozenInstanceError):
            made.one = 2  # type: ignore[misc]  # which is what is tried
        self.assertEqual(hash(made), hash(Derived(1)))

    def test_replace(self) -> None:
        self.assertEqual(replace(Derived(1, "x"), three=(5,)), Derived(1, "x", three=(5,)))

    def test_wrong_arguments(self) -> None:
        for wrong in ({}, {"one": 1, "five": 5}):
            with self.assertRaises(TypeError):
                Derived(**wrong)  # type: ignore[arg-type]  # which is what is tried
        with self.assertRaises(TypeError):
            Derived(1, "2", (3,))  # type: ignore[call-arg]  # three is for keywords
