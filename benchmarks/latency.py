"""How long a message takes from when it was due, at loads that do not wait for the server.

A client that sends its next message when the last one is done sends less to a server that is slow, and so never sees
what waits behind it. Here messages are due at times fixed beforehand (``load.c`` explains them), on connections that
stay. A server that has not taken a load within a twentieth more than its time is past what it can do: its latencies
say how long that went on, and nothing of the server; they are not told, and it is not asked for more.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from benchmarks.contenders import Starter
from benchmarks.load import Load, LoadError
from benchmarks.processes import Server
from benchmarks.report import Delay

__all__ = ["RATES", "measure_latency"]

#: Messages in a second.
RATES: Mapping[bool, Sequence[int]] = {False: (500, 1_000, 2_000, 4_000, 8_000), True: (250, 500, 1_000, 2_000)}
CONNECTIONS = 100
OCTETS = 1_000
#: Messages that are sent beforehand, so that nothing is done for the first time.
WARM_UP = 500
#: A load that took this many times as long as it had to was too much.
TOO_LONG = 1.05
#: Seconds until all connections have ended.
END = 0.5


def measure_latency(
    program: Path,
    starters: Mapping[str, Starter],
    folder: Path,
    processor: int,
    say: Callable[[str], object],
    *,
    seconds: float,
    repetitions: int,
    durable: bool = False,
) -> Iterator[Delay]:
    """Offer each server one load after the other, each for so many *seconds*; and then all of them once more.

    :param program: the load generator.
    :param durable: whether they keep what they accept; they are offered less then.
    """
    for repetition, (name, start) in product(range(repetitions), starters.items()):
        with start(folder / f"{name}-{repetition}", processor) as server:
            try:
                Load("kept", CONNECTIONS, WARM_UP).send(program, server.port)
                for rate in RATES[durable]:
                    say(f"{repetition + 1}/{repetitions} latency of {name} at {rate:,} messages in a second")
                    delay = _offer(rate, program, server, seconds)
                    yield replace(delay, durable=durable, repetition=repetition)
                    if not delay.latency:
                        break
            except LoadError as error:
                say(f"{name} is asked for no more, because {error}")


def _offer(rate: int, program: Path, server: Server, seconds: float) -> Delay:
    """Offer *server* so many messages in a second.

    :raises LoadError: not all were accepted.
    """
    load = Load("kept", CONNECTIONS, int(rate * seconds), OCTETS, rate)
    cpu = server.cpu_seconds()
    sent = load.send(program, server.port, timeout=int(seconds * 20) + 60)
    busy = (server.cpu_seconds() - cpu) / sent.seconds
    kept_up = sent.seconds <= seconds * TOO_LONG + END
    return Delay(server.name, False, rate, sent.messages, busy, sent.latency if kept_up else ())
