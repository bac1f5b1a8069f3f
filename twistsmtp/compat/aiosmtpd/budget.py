"""How long command lines may be, and how often each command may be given."""

__all__ = ["CALL_LIMIT_DEFAULT", "CallLimits", "LineSizes"]

#: How often a command may be given, where a limit is set for others.
CALL_LIMIT_DEFAULT = 20


class LineSizes(dict[str, int]):
    """Octets that command lines may have, where it is not *default*."""

    def __init__(self, default: int) -> None:
        super().__init__()
        self._default = default

    def __missing__(self, name: str) -> int:
        return self._default


class CallLimits:
    """How often each command may still be given in a connection.

    :param limit: for all commands; or by name, with ``"*"`` for those that are not named; ``None`` for no limit.
    :raises TypeError: it is none of these.
    """

    def __init__(self, limit: object) -> None:
        self.default = CALL_LIMIT_DEFAULT
        self._left: dict[str, int] | None = None if limit is None else {}
        if isinstance(limit, int):
            self.default = limit
        elif isinstance(limit, dict):
            if not all(isinstance(each, int) for each in limit.values()):
                raise TypeError("All command_call_limit values must be int")
            self.default = limit.get("*", CALL_LIMIT_DEFAULT)
            self._left = dict(limit)
        elif limit is not None:
            raise TypeError("command_call_limit must be int or Dict[str, int]")

    def spend(self, name: str) -> bool:
        """The command is given: whether it may be."""
        if self._left is None:
            return True
        left = self._left.get(name, self.default)
        self._left[name] = left - 1
        return left > 0
