"""Client's text made safe to show: in a reply, a log line or a header field."""

__all__ = ["printable"]

#: Control characters as visible escapes; everything else that is not ASCII is escaped by `printable` itself.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127)}


def printable(text: str, limit: int = 1000) -> str:
    """*text* as printable ASCII of at most *limit* characters: what is neither is escaped, as Python would.

    A line break that a client smuggled in can so never start a line of its own, and neither can a
    terminal's escape sequence reach the operator's screen.
    """
    cut = len(text) > limit
    if text.isascii() and text.isprintable():
        return text[: limit - 3] + "..." if cut else text
    text = text[:limit].translate(_ESCAPES).encode("ascii", "backslashreplace").decode("ascii")
    return text[: limit - 3] + "..." if cut or len(text) > limit else text
