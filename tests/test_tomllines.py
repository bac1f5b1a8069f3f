"""On which line of a TOML file something stands."""

import json
import tomllib
from collections.abc import Iterator, Mapping

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.tomllines import Entry, line_of, line_of_error, scan

TEXT = '''\
# listen = "a comment"
listen = ["tcp:25", # and "another"
  "tcp:x",
  'unix:/a"b',
]
"max-size" = "50M"
a.b = 1.5
long = """
x = "no"
[limits]
"""
quotes = """a"""""
literal = \'\'\'
\'quoted\'\'\'\'

[limits]  # [x]
hops = 50
path.local_part = 128
[[policy]]
inline = { a = [1, "q"], b = "c" }
at = 2020-01-01T00:00:00Z
[route."b.test"]
to = "lmtp:here"
'''


class ScanTests(SynchronousTestCase):
    def test_all_there_is(self) -> None:
        tomllib.loads(TEXT)
        self.assertEqual(
            scan(TEXT),
            [
                Entry("listen", 2, ((2, "tcp:25"), (3, "tcp:x"), (4, 'unix:/a"b'))),
                Entry("max-size", 6, ((6, "50M"),)),
                Entry("a.b", 7),
                Entry("long", 8, ((8, 'x = "no"\n[limits]\n'),)),
                Entry("quotes", 12, ((12, 'a""'),)),
                Entry("literal", 13, ((13, "'quoted'"),)),
                Entry("limits", 16),
                Entry("limits.hops", 17),
                Entry("limits.path.local-part", 18),
                Entry("policy", 19),
                Entry("policy.inline", 20, ((20, "q"), (20, "c"))),
                Entry("policy.at", 21),
                Entry("route.b.test", 22),
                Entry("route.b.test.to", 23, ((23, "lmtp:here"),)),
            ],
        )

    def test_line_ends(self) -> None:
        self.assertEqual([(each.name, each.line) for each in scan("a = 1\r\n\r\nb = [\r\n2]\r\nc = 3")], LINES)

    @given(
        st.lists(
            st.tuples(
                st.text(min_size=1, max_size=8),
                st.recursive(
                    st.text(max_size=20) | st.integers() | st.booleans(), lambda each: st.lists(each, max_size=3)
                ),
                st.sampled_from(["", "# [x]\n", "\n\n", "  \t"]),
            ),
            max_size=8,
            unique_by=lambda each: each[0],
        )
    )
    def test_any_keys(self, rows: list[tuple[str, object, str]]) -> None:
        """The scanner finds the keys that `tomllib` finds, on the lines on which they are."""
        text, lines = "", []
        for key, value, before in rows:
            text += before
            lines.append(text.count("\n") + 1)
            text += f"{_written(key)} = {_written(value, newline=True)}\n"
        found = tomllib.loads(text)
        entries = scan(text)
        self.assertEqual([each.line for each in entries], lines)
        self.assertEqual([each.name for each in entries], [key.replace("_", "-") for key in found])


LINES = [("a", 1), ("b", 3), ("c", 5)]


def _written(value: object, *, newline: bool = False) -> str:
    if isinstance(value, list):
        comma = ", # ]\n" if newline else ", "
        return f"[{''.join(_written(each, newline=newline) + comma for each in value)}]"
    return json.dumps(value).replace("\x7f", "\\u007f") if not isinstance(value, str) else _string(value)


def _string(text: str) -> str:
    """A basic string, with an escape for whatever TOML wants one for."""
    return '"' + "".join(each if each.isalnum() else f"\\U{ord(each):08x}" for each in text) + '"'


class LineTests(SynchronousTestCase):
    CASES: Mapping[str, int | None] = {
        "listen 'tcp:x': 'x' is not a number": 3,
        "listen 'tcp:25': Permission denied": 2,
        "listen: that is nowhere": 2,
        "limits.hops: 0 is not a number from 1 on": 17,
        "limits.path.local_part: 'x' is not a size": 18,
        "'limits.hopes' is not a setting; did you mean limits.hops?": 16,  # what there is of it
        "limits: is no table": 16,
        "2 max-size for 1 listen": 6,
        "route b.test 'lmtp:x': no delivery is called 'lmtp'": 22,
        "route.b.test.to: no delivery is called 'lmtp'": 23,
        "hostname: 'x' is not a domain name": None,
        "relisten: nothing": None,
    }

    def test_sentences(self) -> None:
        entries = scan(TEXT)
        for sentence, line in self.CASES.items():
            self.assertEqual(line_of(sentence, entries), line, sentence)

    def test_what_the_command_line_has(self) -> None:
        self.assertIsNone(line_of("listen 'tcp:x': 'x' is not a number", scan(TEXT), {"listen"}))

    def test_parts_of_a_secret(self) -> None:
        """A sentence tells the kind of a checker alone."""
        entries = scan('auth = ["memory:ada:secret",\n"passwd:/etc/users",\n"pam:"]\n')
        self.assertEqual(line_of("auth passwd: No such file or directory: /etc/users", entries), 2)
        self.assertEqual(line_of("auth pam: it is not installed", entries), 3)


class SyntaxErrorTests(SynchronousTestCase):
    def cases(self) -> Iterator[tuple[bytes, int]]:
        yield b"a = 1\nb = \n", 2
        yield b'a = 1\n\nb = "x\n', 3
        yield b"a = 1\nb = [1,\n", 2
        yield b"a = 1\na = 2\n", 2
        yield b"", 1
        yield b"a = 1\nb = '\xff'\n", 2

    def test_lines(self) -> None:
        for octets, line in self.cases():
            try:
                tomllib.loads(octets.decode())
            except ValueError as error:
                self.assertEqual(line_of_error(error, octets), line, octets)
            else:
                self.assertEqual(octets, b"")
