"""The workers as the parent has them: started, watched, started again, loaded again and drained.

A worker that ends without having been told to has another one in its place at once, or after a while if it has not
been there for long: half a second, and twice as much each time, up to half a minute. One that answers no question for
half a minute, as it was stopped or hangs, is killed, and has another one in its place, too.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twistsmtp.config import Config
from twistsmtp.wire.text import printable
from twistsmtp.workers.process import NAME, Spawn, Worker

__all__ = ["Crew"]

_log = Logger(namespace="twistsmtp.workers")

#: Seconds until another one is started in the place of one that has failed: the first time, and the most. One that has
#: been there for so long has not failed.
DELAY, DELAY_MOST, STEADY = 0.5, 30.0, 60.0
#: Seconds between two questions, and how many may be without an answer.
ASK, UNANSWERED = 5.0, 6
#: Seconds that a worker has to be ready.
START_TIME = 60.0
#: Seconds that one has to load everything again, and to say what it has counted.
RELOAD_TIME, COUNT_TIME = 30.0, 2.0
#: Seconds that one has to stop listening; to end when it has ended all messages; and when it was hurried.
QUIET_TIME, END_TIME, HURRY_TIME = 1.0, 15.0, 5.0


@dataclass(slots=True)
class Place:
    """The place of a worker, which one after the other may have.

    :param number: from 1 on.
    """

    number: int
    worker: Worker | None = None
    #: When it was started.
    since: float = 0.0
    #: How many times in a row it has failed, and how many times it was started anew.
    failures: int = 0
    restarts: int = 0
    #: Questions that it has not answered.
    unanswered: int = 0
    again: IDelayedCall | None = None


class Crew:
    """The workers. They are a part of the parent, in the sense of `twistsmtp.lifecycle`.

    :param count: how many there are to be.
    :param spawn: starts the process of one.
    :param clock: the clock.
    :param logged: writes lines of a worker's log.
    :param ready: called when all take mail, the first time and whenever it is so again.
    :param failed: called when one cannot start that is among the first.
    :param counted: called with the number of one, and what it has counted, whenever it says so.
    :param left: called with the number of one that is gone.
    """

    def __init__(
        self,
        count: int,
        spawn: Spawn,
        clock: IReactorTime,
        *,
        logged: Callable[[str], object],
        ready: Callable[[], object],
        failed: Callable[[str], object],
        counted: Callable[[int, dict[str, Any]], object],
        left: Callable[[int], object],
    ) -> None:
        self.places = [Place(number) for number in range(1, count + 1)]
        self._spawn = spawn
        self._clock = clock
        self.logged = logged
        self._tell_ready, self._tell_failed = ready, failed
        self._tell_counted, self._tell_left = counted, left
        #: Whether all have taken mail at some time.
        self.started = False
        self._leaving = self._gave_up = False
        #: The configuration that was taken up last, and when.
        self._config: Config | None = None
        self._renewed = 0.0
        self._asking: IDelayedCall | None = None
        self._late: IDelayedCall | None = None
        self._ended: list[Deferred[None]] = []

    @property
    def workers(self) -> list[Worker]:
        """Those that there are."""
        return [each.worker for each in self.places if each.worker is not None]

    @property
    def ready(self) -> list[Worker]:
        """Those that take mail."""
        return [each for each in self.workers if each.ready and not each.leaving]

    @property
    def alive(self) -> bool:
        """Whether it is not so that all have failed, and none is there."""
        return bool(self.workers)

    # --- their beginning -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all."""
        self.started = self._leaving = self._gave_up = False
        for place in self.places:
            self._begin(place)
        self._asking = self._clock.callLater(ASK, self._ask)

    def _begin(self, place: Place) -> None:
        place.worker = worker = Worker(place.number, self)
        place.since, place.unanswered, place.again = self._clock.seconds(), 0, None
        try:
            self._spawn(worker)
        except OSError as error:
            why = f"cannot be started: {error.strerror}"
            self.gone(worker, f"{why}: {error.filename}" if error.filename else why, killed=False)

    def said(self, worker: Worker, kind: str, more: dict[str, Any]) -> None:
        """*worker* says that it is ready, that it cannot be, or what it has counted."""
        if kind == "ready":
            self._is_ready(worker)
        elif kind == "metrics":
            self._tell_counted(worker.number, more)
        elif kind == "failed":
            text = printable(str(more.get("why")))
            if self.started:
                _log.error(f"{NAME} cannot start: {{why}}", why=text, **worker.facts)
            else:
                self._fail(text)

    def _is_ready(self, worker: Worker) -> None:
        worker.ready = True
        if worker.leaving:
            return
        if self._config is not None and self.places[worker.number - 1].since <= self._renewed:
            worker.tell("reload", self._config)  # it was started with the one before
        _log.info(f"{NAME} takes mail", **worker.facts)
        if len(self.ready) == len(self.places):
            self.started = True
            self._tell_ready()

    def _fail(self, text: str) -> None:
        """One of the first cannot start: it is not worth trying again."""
        if not self._gave_up:
            self._gave_up = True
            self._tell_failed(text)

    # --- their end -------------------------------------------------------------------------------------------

    def gone(self, worker: Worker, why: str, *, killed: bool) -> None:
        """*worker* has ended."""
        place = self.places[worker.number - 1]
        place.worker = None
        self._tell_left(worker.number)
        if self._leaving or worker.leaving or self._gave_up:
            if self._leaving and not self.workers:
                self._all_ended()
            return
        if not self.started and not killed:
            self._fail(f"{worker} {why}" if worker.process == 0 else f"{worker} {why} before it took mail")
            return
        steady = self._clock.seconds() - place.since >= STEADY
        place.failures = 1 if steady else place.failures + 1
        place.restarts += 1
        delay = 0.0 if steady else min(DELAY * 2 ** min(place.failures - 1, 16), DELAY_MOST)
        times = f", {place.failures} times in a row" if place.failures > 1 else ""
        _log.error(
            f"{NAME} {{why}}{{times}}; another one starts in {{delay:g}} s",
            why=why,
            times=times,
            delay=delay,
            **worker.facts,
        )
        place.again = self._clock.callLater(delay, self._begin, place)

    def _all_ended(self) -> None:
        _cancel(self._late)
        waiting, self._ended = self._ended, []
        for each in waiting:
            each.callback(None)

    # --- while they are there --------------------------------------------------------------------------------

    def _ask(self) -> None:
        """See that all are there: one that was stopped, or hangs, is killed."""
        self._asking = self._clock.callLater(ASK, self._ask)
        for place in self.places:
            worker = place.worker
            if worker is None or worker.leaving:
                continue
            if not worker.ready:
                late = self._clock.seconds() - place.since >= START_TIME
            else:
                late = place.unanswered >= UNANSWERED
                place.unanswered += 1
                worker.ask("ping").addCallback(partial(self._answered, place))
            if late:
                _log.error(f"{NAME} does not answer, and is killed", **worker.facts)
                worker.kill()

    def _answered(self, place: Place, _: object) -> None:
        place.unanswered = 0

    def renew(self, config: Config) -> "Deferred[object]":
        """Have all read everything again, and take up *config*, as do those that are started from now on.

        :returns: fires when all have, or have had time to.
        """
        self._config, self._renewed = config, self._clock.seconds()
        return self._of_all("reload", RELOAD_TIME, config)

    def count(self) -> "Deferred[object]":
        """Ask all what they have counted.

        :returns: fires when all have said so, or have had time to.
        """
        return self._of_all("metrics", COUNT_TIME)

    def _of_all(self, kind: str, time: float, *more: object) -> "Deferred[Any]":
        ready = [each for each in self.workers if each.ready]
        return DeferredList([each.ask(kind, *more).addTimeout(time, self._clock) for each in ready], consumeErrors=True)

    # --- the end ---------------------------------------------------------------------------------------------

    def quiet(self) -> "Deferred[Any]":
        """Have all end in order, and start none from now on.

        :returns: fires when all have stopped listening, or have had time to.
        """
        self._leaving = True
        _cancel(self._asking)
        for place in self.places:
            _cancel(place.again)
        asked = []
        for worker in self.workers:
            if worker.ready and not worker.leaving:
                asked.append(worker.ask("drain").addTimeout(QUIET_TIME, self._clock))
            elif not worker.leaving:
                worker.kill("TERM")  # it has not begun
            worker.leaving = True
        return DeferredList(asked, consumeErrors=True)

    def drain(self, grace: float) -> "Deferred[None]":
        """Wait for the end of all.

        :param grace: seconds that their messages have to end.
        :returns: fires when all are gone.
        """
        if not self.workers:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        self._within(grace + END_TIME)
        return ended

    def hurry(self) -> None:
        """Have them wait for no message any more."""
        for worker in self.workers:
            worker.tell("hurry")
        if self.workers:
            self._within(HURRY_TIME)

    def _within(self, seconds: float) -> None:
        if self._late is None or not self._late.active():
            self._late = self._clock.callLater(seconds, self._kill)
        elif self._late.getTime() > self._clock.seconds() + seconds:
            self._late.reset(seconds)

    def _kill(self) -> None:
        for worker in self.workers:
            _log.error(f"{NAME} does not end, and is killed", **worker.facts)
            worker.kill()


def _cancel(call: IDelayedCall | None) -> None:
    if call is not None:
        with suppress(AlreadyCalled, AlreadyCancelled):
            call.cancel()
