"""How many servers a message has passed through: its Received fields, counted while it comes (RFC 5321 section 6.3)."""

__all__ = ["HopCount"]

_FIELD = b"\r\nreceived:"


class HopCount:
    """Counts the Received fields of one message's header, whichever way its octets are cut."""

    __slots__ = ("_tail", "count")

    def __init__(self) -> None:
        #: The end of what was fed, one octet too short to be a whole field name again; empty behind the header.
        self._tail = b"\r\n"
        self.count = 0

    def feed(self, octets: bytes) -> int:
        """Look at the next *octets* of the message.

        :returns: the count so far.
        """
        if self._tail:
            seen = self._tail + octets
            end = seen.find(b"\r\n\r\n")
            self.count += (seen if end < 0 else seen[:end]).lower().count(_FIELD)
            self._tail = seen[1 - len(_FIELD) :] if end < 0 else b""
        return self.count
