"""The reactor in a thread: each case in a process of its own, as there is one reactor in a process."""

from textwrap import dedent

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.forked import run_text
from twistsmtp.reactorthread import hold_reactor


def python(program: str) -> str:
    """What *program* writes, in a process that has no reactor yet."""
    done = run_text(dedent(program))
    if done.returncode or done.stderr:
        raise AssertionError(f"{done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


class NoReactorTests(SynchronousTestCase):
    """None is installed yet."""

    def test_asyncio(self) -> None:
        """What is called may wait for asyncio, in the loop that the reactor runs on."""
        said = python("""
            import asyncio
            from twisted.internet.defer import Deferred
            from twistsmtp.reactorthread import hold_reactor

            async def sleep():
                await asyncio.sleep(0.01)
                return asyncio.get_running_loop()

            with hold_reactor() as held:
                loop = held.call(lambda: Deferred.fromFuture(asyncio.ensure_future(sleep())))
                print(loop is held.loop)
            """)
        self.assertEqual(said, "True\n")

    def test_nothing_is_left(self) -> None:
        """The thread ends with the last holder, and so do those of the reactor's pool."""
        said = python("""
            import threading
            from twisted.internet.threads import deferToThread
            from twistsmtp.reactorthread import hold_reactor

            for _ in range(3):
                one, two = hold_reactor(), hold_reactor()
                assert one.reactor is two.reactor
                print(one.call(deferToThread, lambda: "called"))
                one.release()
                one.release()
                print(two.call(lambda: threading.current_thread().name))
                two.release()
                print(threading.active_count())
            """)
        self.assertEqual(said, "called\ntwistsmtp reactor\n1\n" * 3)

    def test_many_threads(self) -> None:
        """They take it and let it go as it comes."""
        said = python("""
            import threading
            from concurrent.futures import ThreadPoolExecutor
            from twistsmtp.reactorthread import hold_reactor

            def use(number):
                with hold_reactor() as held:
                    return held.call(lambda: number)

            with ThreadPoolExecutor(8) as pool:
                print(list(pool.map(use, range(400))) == list(range(400)))
            print(threading.active_count())
            """)
        self.assertEqual(said, "True\n1\n")

    def test_signals(self) -> None:
        """No handler is installed."""
        said = python("""
            import signal
            from twistsmtp.reactorthread import hold_reactor

            before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
            with hold_reactor() as held:
                held.call(lambda: None)
                print(before == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)])
            """)
        self.assertEqual(said, "True\n")

    def test_exit(self) -> None:
        """A process that ends while it holds the reactor ends, and what is to be done at a reactor's end is done."""
        said = python("""
            from twisted.internet.threads import deferToThread
            from twistsmtp.reactorthread import hold_reactor

            held = hold_reactor()
            held.call(deferToThread, lambda: None)
            held.call(held.reactor.addSystemEventTrigger, "before", "shutdown", print, "shut down")
            print("end")
            """)
        self.assertEqual(said, "end\nshut down\n")


class OthersReactorTests(SynchronousTestCase):
    """One is installed."""

    def test_at_rest(self) -> None:
        """It is run, and can be run by others afterwards."""
        said = python("""
            from twisted.internet import reactor
            from twistsmtp.reactorthread import hold_reactor

            with hold_reactor() as held:
                print(held.reactor is reactor, held.call(lambda: reactor.running))
            print(reactor.running)
            reactor.callWhenRunning(reactor.stop)
            reactor.run()
            print("ran")
            """)
        self.assertEqual(said, "True True\nFalse\nran\n")

    def test_stopped_for_good(self) -> None:
        """Another one takes its place."""
        said = python("""
            from twisted.internet import reactor
            from twistsmtp.reactorthread import hold_reactor

            reactor.callWhenRunning(reactor.stop)
            reactor.run()
            for _ in range(2):
                with hold_reactor() as held:
                    print(held.reactor is reactor, held.call(lambda: 1))
            """)
        self.assertEqual(said, "False 1\n" * 2)

    def test_stops_meanwhile(self) -> None:
        """Whoever waits for it is told, and the next to hold it gets another."""
        said = python("""
            from twisted.internet.defer import Deferred
            from twistsmtp.reactorthread import hold_reactor

            held = hold_reactor()
            held.reactor.callFromThread(held.reactor.callLater, 0.1, held.reactor.stop)
            for _ in range(2):
                try:
                    held.call(Deferred)
                except RuntimeError as error:
                    print(error)
            held.release()
            with hold_reactor() as held:
                print(held.call(lambda: 1))
            """)
        self.assertEqual(said, "the reactor has stopped\n" * 2 + "1\n")

    def test_given_up(self) -> None:
        """One that has begun, and whose thread has ended without a word, has another in its place."""
        said = python("""
            import asyncio, threading
            from twisted.internet import asyncioreactor
            from twistsmtp.reactorthread import hold_reactor

            loop = asyncio.SelectorEventLoop()
            asyncioreactor.install(loop)
            from twisted.internet import reactor

            def run():
                reactor.startRunning(installSignalHandlers=False)
                loop.call_soon(loop.stop)
                loop.run_forever()

            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
            others = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(3)]
            for each in others:
                each.start()
            with hold_reactor() as held:
                print(held.reactor is reactor, held.call(lambda: 1, timeout=5))
            """)
        self.assertEqual(said, "False 1\n")


class LentTests(SynchronousTestCase):
    """One is lent to a thread which runs it."""

    def test_to_one_at_a_time(self) -> None:
        """Nobody gets it who would have to share it; and one that a program has only who may."""
        said = python("""
            from twistsmtp.reactorthread import hold_reactor, in_reactor, lend_reactor

            print(in_reactor())
            first = lend_reactor(made_here=True)
            print(lend_reactor(), first.loop is not None, first.held)
            first.begin()
            print(in_reactor())
            first.give_back()
            with hold_reactor() as held:
                print(lend_reactor(), held.reactor is first.reactor, held.call(in_reactor), in_reactor())
            """)
        self.assertEqual(said, "False\nNone True False\nTrue\nNone True True False\n")
        said = python("""
            from twisted.internet import reactor
            from twistsmtp.reactorthread import lend_reactor

            print(lend_reactor(made_here=True))
            lent = lend_reactor()
            print(lent.reactor is reactor)
            reactor.callWhenRunning(reactor.crash)
            reactor.run()
            lent.give_back()
            """)
        self.assertEqual(said, "None\nTrue\n")

    def test_goes_on(self) -> None:
        """What is under way when it is given back ends, and who waits for that is told."""
        said = python("""
            import threading
            from twisted.internet.task import deferLater
            from twisted.internet.threads import deferToThread
            from twistsmtp.reactorthread import hold_reactor, lend_reactor

            def run():
                lent = lend_reactor()
                lent.begin()
                began.set()
                lent.loop.run_forever()
                lent.give_back()

            began = threading.Event()
            thread = threading.Thread(target=run)
            thread.start()
            began.wait()
            held = hold_reactor()
            held.call(deferToThread, lambda: None)
            answers = []
            wait = lambda: deferLater(held.reactor, 0.1, lambda: threading.current_thread().name)
            waiting = threading.Thread(target=lambda: answers.append(held.call(wait)))
            waiting.start()
            held.reactor.callFromThread(held.loop.stop)
            thread.join()
            waiting.join()
            print(answers[0], held.call(lambda: threading.current_thread().name))
            held.release()
            print(threading.active_count())
            """)
        self.assertEqual(said, "twistsmtp reactor twistsmtp reactor\n1\n")

    def test_stopped_for_good(self) -> None:
        """By who has it: others are told, and the next gets another."""
        said = python("""
            import threading
            from twisted.internet.defer import Deferred
            from twistsmtp.reactorthread import hold_reactor, lend_reactor

            def run():
                lent = lend_reactor()
                lent.reactor.callWhenRunning(began.set)
                lent.reactor.run(installSignalHandlers=False)
                lent.give_back()

            began = threading.Event()
            thread = threading.Thread(target=run)
            thread.start()
            began.wait()
            held = hold_reactor()
            held.reactor.callFromThread(held.reactor.callLater, 0.1, held.reactor.stop)
            for _ in range(2):
                try:
                    held.call(Deferred)
                except RuntimeError as error:
                    print(error)
            thread.join()
            held.release()
            with hold_reactor() as another:
                print(another.reactor is held.reactor, another.call(lambda: 1))
            """)
        self.assertEqual(said, "the reactor has stopped\n" * 2 + "False 1\n")


class ForkTests(SynchronousTestCase):
    """A process that was forked has none of its parent's threads."""

    def test_child(self) -> None:
        """It gets a reactor of its own, and the parent's goes on."""
        said = python("""
            import os, sys
            from twisted.internet.threads import deferToThread
            from twistsmtp.reactorthread import hold_reactor

            held = hold_reactor()
            held.call(deferToThread, lambda: None)
            for turn in range(2):
                pid = os.fork()
                if not pid:
                    with hold_reactor() as mine:
                        pid = mine.call(deferToThread, os.getpid)
                        print(pid == os.getpid(), mine.reactor is held.reactor)
                    sys.exit()
                _, status = os.waitpid(pid, 0)
                print(status, held.call(deferToThread, lambda: "parent"), flush=True)
            held.release()
            """)
        self.assertEqual(said, "True False\n0 parent\n" * 2)

    def test_at_rest(self) -> None:
        """A parent's reactor that nobody runs is not the child's either: they would share what it watches."""
        said = python("""
            import os, sys
            from twistsmtp.reactorthread import hold_reactor

            with hold_reactor() as held:
                pass
            pid = os.fork()
            if not pid:
                with hold_reactor() as mine:
                    print(mine.call(lambda: 1), mine.reactor is held.reactor)
                sys.exit()
            os.waitpid(pid, 0)
            """)
        self.assertEqual(said, "1 False\n")

    def test_daemon(self) -> None:
        """A reactor that the child runs itself is its own, though it was installed by the parent."""
        said = python("""
            import os, sys
            from twisted.internet import reactor
            from twistsmtp.reactorthread import hold_reactor

            def work():
                with hold_reactor() as held:
                    print(held.reactor is reactor, held.call(lambda: 1))
                reactor.callFromThread(reactor.stop)

            pid = os.fork()
            if not pid:
                reactor.callInThread(work)
                reactor.run()
                sys.exit()
            os.waitpid(pid, 0)
            """)
        self.assertEqual(said, "True 1\n")


class HereTests(SynchronousTestCase):
    """Under trial, whose reactor is at rest in a synchronous test."""

    def test_call(self) -> None:
        with hold_reactor() as held:
            self.assertEqual(held.call(pow, 2, 3), 8)
            self.assertFalse(held.here)
            self.assertRaises(ZeroDivisionError, held.call, lambda: 1 // 0)

    def test_too_long(self) -> None:
        with hold_reactor() as held:
            error = self.assertRaises(TimeoutError, held.call, Deferred, timeout=0.01)
            self.assertEqual(str(error), "no answer from the reactor's thread in 0.01 seconds")

    def test_its_own_timeout(self) -> None:
        """A `TimeoutError` of the function is that one."""

        def fail() -> None:
            raise TimeoutError("mine")

        with hold_reactor() as held:
            self.assertEqual(str(self.assertRaises(TimeoutError, held.call, fail)), "mine")


class RunningTests(TestCase):
    """Under trial, whose reactor runs in an asynchronous test."""

    async def test_used(self) -> None:
        from twisted.internet import reactor

        def work() -> tuple[bool, int]:
            with hold_reactor() as held:
                return held.reactor is reactor, held.call(lambda: 1)

        self.assertEqual(await deferToThread(work), (True, 1))

    async def test_its_own_thread(self) -> None:
        """It cannot wait for itself, and says so."""
        await deferToThread(lambda: None)
        with hold_reactor() as held:
            self.assertTrue(held.here)
            with self.assertRaisesRegex(RuntimeError, "cannot wait for itself"):
                held.call(lambda: None)
