"""On which line of a TOML file something stands, which `tomllib` does not say.

`scan` finds the keys and tables of a text that `tomllib` has taken; so it need not find what is wrong with it.
`line_of` finds the line that a sentence is about: one that names a key as ``limits.hops``, and perhaps has some of its
value.
"""

import re
import tomllib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Entry", "line_of", "line_of_error", "scan"]

_TOKEN = re.compile(
    r"""
    (?P<string> \"{3}(?:\\.|[^\\])*?\"{3}(?!\") | '{3}.*?'{3}(?!') | \"(?:\\.|[^\"\\\n])*\" | '[^'\n]*' )
  | (?P<end> \n )
  | (?P<mark> [\[\]{}=,] )
  | (?P<bare> [^\s\"'\#\[\]{}=,.]+ )
  | \#[^\n]* | \. | [^\S\n]+
    """,
    re.DOTALL | re.VERBOSE,
)

_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its value, or the head of a table.

    :param name: the key behind those of its tables, with dots between them, and ``-`` for ``_``.
    :param line: where it begins, from 1 on.
    :param strings: the strings in its value, and the line of each.
    """

    name: str
    line: int
    strings: tuple[tuple[int, str], ...] = ()


def scan(text: str) -> list[Entry]:
    """The keys and the tables of *text*, in their order.

    :param text: TOML, and valid.
    """
    entries = []
    table: tuple[str, ...] = ()
    for statement in _statements(text):
        line = statement[0].line
        if statement[0].text == "[":
            table = tuple(_keys(statement))
            entries.append(Entry(_name(table), line))
        else:
            equals = next(count for count, token in enumerate(statement) if token.text == "=")
            path = (*table, *_keys(statement[:equals]))
            values = [(each.line, _decoded(each)) for each in statement[equals:] if each.kind == "string"]
            entries.append(Entry(_name(path), line, tuple(values)))
    return entries


def line_of(sentence: str, entries: Sequence[Entry], apart_from: Collection[str] = ()) -> int | None:
    """The line of the entry that *sentence* names first; in a value of many strings that of the one it tells most of.

    :param apart_from: names of entries that it is not about.
    :returns: ``None`` if it names none.
    """
    plain = sentence.replace("_", "-")
    ranked = [
        (-named.start(), len(entry.name), *_told(sentence, entry))
        for entry in entries
        if entry.name not in apart_from and (named := re.search(_mention(entry.name), plain))
    ]
    return -max(ranked)[3] if ranked else None


def line_of_error(error: ValueError, octets: bytes) -> int:
    """The line that *error*, which `tomllib` or decoding has raised for *octets*, is about."""
    if isinstance(error, UnicodeDecodeError):
        return octets[: error.start].count(b"\n") + 1
    said = _AT_LINE.search(str(error))
    return int(said[1]) if said else len(octets.splitlines()) or 1  # "at end of document"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str | None
    text: str
    line: int


def _statements(text: str) -> Iterator[list[_Token]]:
    """What ends with a line: the head of a table, or a key with its value, which may have lines in it."""
    statement: list[_Token] = []
    depth, line, position = 0, 1, 0
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:  # valid TOML has nothing else
            raise ValueError(f"line {line} is not TOML")
        token = _Token(match.lastgroup, match.group(), line)
        depth += (token.text in ("[", "{")) - (token.text in ("]", "}"))
        if token.kind == "end" and depth == 0 and statement:
            yield statement
            statement = []
        elif token.kind not in (None, "end"):
            statement.append(token)
        line += token.text.count("\n")
        position = match.end()
    if statement:
        yield statement


def _keys(tokens: Sequence[_Token]) -> Iterator[str]:
    for token in tokens:
        if token.kind == "string":
            yield _decoded(token)
        elif token.kind == "bare":
            yield token.text


def _decoded(token: _Token) -> str:
    text: str = tomllib.loads(f"it = {token.text}")["it"]
    return text


def _name(path: Sequence[str]) -> str:
    return ".".join(path).replace("_", "-")


def _mention(name: str) -> str:
    # A sentence may have a blank behind a table's name, or the key behind it in quotes: route b.test, route."b.test"
    spaced = re.escape(name).replace(r"\.", '[. ]"?')
    return rf"(?<![\w.-]){spaced}(?![\w-])"


def _told(sentence: str, entry: Entry) -> tuple[int, int]:
    """How much *sentence* tells of a string in the value of *entry*, or of its parts; and the line of the string of
    which it tells most, less than 0, so that of two the first is the greater."""

    def told(string: str) -> int:
        parts = string.split(":")
        whole = len(string) + len(parts) if string in sentence else 0
        return max(whole, sum(len(part) for part in parts if part in sentence))

    scores = [(told(string), -line) for line, string in entry.strings]
    best, line = max(scores, default=(0, -entry.line))
    return (best, line) if best else (0, -entry.line)
