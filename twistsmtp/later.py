"""Values that may come later.

Whoever plugs something into the server (a verb, a policy, a delivery) may answer with a plain value, a Deferred or a
coroutine. Most answers are there at once, and then nothing here makes a Deferred: `drive` runs a coroutine by hand
until it first suspends, and takes the result out of a Deferred that has fired. Only what really has to wait becomes
a Deferred, once.
"""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from typing_extensions import TypeIs

__all__ = ["Later", "awaited", "drive", "is_later", "then"]

T = TypeVar("T")
U = TypeVar("U")

#: A value, now or later.
Later: TypeAlias = T | Awaitable[T]


def is_later(value: object) -> "TypeIs[Awaitable[Any]]":
    """Whether *value* is to be awaited."""
    return _is_awaitable(type(value))


def _has_await(kind: type) -> bool:
    return hasattr(kind, "__await__")


# To find out that a type has no such attribute takes longer than most of what is done with its values.
_is_awaitable: Callable[[type], bool] = lru_cache(256)(_has_await)


def drive(awaitable: Awaitable[T]) -> "T | Deferred[T]":
    """The result of *awaitable* if it can be had at once, else a Deferred for it.

    :raises Exception: whatever *awaitable* failed with, if it has failed by now.
    """
    if isinstance(awaitable, Deferred):
        return _result_of(awaitable)
    coroutine = awaitable if isinstance(awaitable, Coroutine) else _await(awaitable)
    try:
        pending = coroutine.send(None)
    except StopIteration as stop:
        return cast(T, stop.value)
    return Deferred.fromCoroutine(_rest(coroutine, pending))


async def awaited(value: Later[T]) -> T:
    """*value*, when it is there: for a coroutine that is given one."""
    return await value if is_later(value) else value


def then(value: Later[T], function: Callable[[T], Later[U]]) -> Later[U]:
    """*function* of *value*: at once where *value* is there, else as a Deferred."""
    if value is not None and _is_awaitable(type(value)):
        driven: T | Deferred[T] = drive(value)  # type: ignore[arg-type]  # this narrows nothing for mypy
        if isinstance(driven, Deferred):
            return driven.addCallback(lambda result: _now(function(result)))
        return function(driven)
    return function(value)  # type: ignore[arg-type]  # the same


def _now(value: Later[U]) -> U | Deferred[U]:
    return drive(value) if is_later(value) else value


def _result_of(deferred: "Deferred[T]") -> "T | Deferred[T]":
    if not deferred.called or deferred.paused:
        return deferred
    results: list[T | Failure] = []
    deferred.addBoth(results.append)
    if not results:  # it waits for another Deferred that one of its callbacks returned
        return deferred.addCallback(lambda _: _unwrap(results[0]))
    return _unwrap(results[0])


def _unwrap(result: T | Failure) -> T:
    if isinstance(result, Failure):
        result.raiseException()
    return result


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _deferred(pending: Any) -> Any:
    """What Twisted can wait for in place of *pending*."""
    if isinstance(pending, asyncio.Future):
        # A task of asyncio clears this mark when it has taken the future over.
        pending._asyncio_future_blocking = False
        return Deferred.fromFuture(pending)
    return pending


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, T], pending: Any) -> Generator[Any, Any, T]:
    """What is left of *coroutine*, which has been started and now waits for *pending*."""
    while True:
        try:
            result = yield _deferred(pending)
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            step: Callable[[Any], Any] = coroutine.throw
            result = error
        else:
            step = coroutine.send
        try:
            pending = step(result)
        except StopIteration as stop:
            return cast(T, stop.value)
