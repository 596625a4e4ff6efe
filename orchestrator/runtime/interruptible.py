"""Runs a coroutine that Ctrl-C ends in two steps: the first asks it to end, the second ends it.

A pipeline may compute on the event loop, or in threads, for as long as it likes: neither keeps the
second Ctrl-C from ending the run.
"""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

#: A loop that has not turned so long after the second Ctrl-C is computing something.
_TURN_SECONDS = 1.0
#: What is cancelled then gets so long to clean up.
_CLEAN_UP_SECONDS = 1.0
_THREADS = 32


def run_interruptibly(
    main: Coroutine[Any, Any, None],
    stop: threading.Event,
    noticed: Callable[[], None] = lambda: None,
) -> None:
    """``asyncio.run``, but the first Ctrl-C only sets ``stop``, where this is the main thread.

    ``noticed`` is called then, on a thread of its own: this one may be computing.

    Raises:
        KeyboardInterrupt: at the second. What still computes in threads is left to itself.
    """
    loop, threads = asyncio.new_event_loop(), _Threads(_THREADS)
    loop.set_default_executor(threads)
    task = loop.create_task(main)
    hurried = False
    try:
        with _two_steps(loop, task, stop, noticed):
            try:
                loop.run_until_complete(task)
            except (asyncio.CancelledError, KeyboardInterrupt):
                hurried = True
                raise KeyboardInterrupt("interrupted twice") from None
            finally:
                left = asyncio.all_tasks(loop)
                for one in left:
                    one.cancel()
                if left:
                    limit = _CLEAN_UP_SECONDS if hurried else None
                    loop.run_until_complete(asyncio.wait(left, timeout=limit))
                loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        threads.shutdown(wait=not hurried)
        loop.close()


@contextlib.contextmanager
def _two_steps(
    loop: asyncio.AbstractEventLoop,
    task: "asyncio.Task[None]",
    stop: threading.Event,
    noticed: Callable[[], None],
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's affair
        return
    interrupt = _Interrupt(loop, task, stop, noticed)
    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        with _woken_by_signals(loop):
            yield
    finally:
        interrupt.turned()
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def _woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """A handler runs between two steps of the main thread, and a loop that waits takes none.

    The signal itself wakes it, but for one that another thread got, or that came just before.
    """
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        loop.add_reader(near, near.recv, 1024)
        before = signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(near)


class _Interrupt:
    """The handler: it runs in the main thread, between two steps of whatever that computes."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        task: "asyncio.Task[None]",
        stop: threading.Event,
        noticed: Callable[[], None],
    ) -> None:
        self._loop, self._task, self._stop, self._noticed = loop, task, stop, noticed
        self._seen = 0
        self._turned, self._lock = threading.Event(), threading.Lock()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._seen += 1
        self._stop.set()
        if self._seen == 1:
            threading.Thread(target=self._noticed, daemon=True).start()
        elif self._seen == 2:
            self._loop.call_soon_threadsafe(self._cancel)
            threading.Thread(target=self._watch, daemon=True).start()
        else:
            raise KeyboardInterrupt("interrupted twice")

    def turned(self) -> None:
        """The loop turns, or is over: a third one comes before this or not at all."""
        with self._lock:
            self._turned.set()

    def _cancel(self) -> None:
        self.turned()
        self._task.cancel()

    def _watch(self) -> None:
        if self._turned.wait(_TURN_SECONDS):
            return
        main = threading.main_thread().ident
        assert main is not None, "it runs"
        with self._lock:
            if not self._turned.is_set():
                signal.pthread_kill(main, signal.SIGINT)


class _Threads(ThreadPoolExecutor):
    """Threads that the end of the process does not wait for, as it does for any other pool's."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._most, self._idle = most, threading.Semaphore(0)
        self._ours: list[threading.Thread] = []

    def submit(
        self,
        fn: Callable[..., Any],
        /,
        *args: Any,  # noqa: ANN401 - as they are called with
        **kwargs: Any,  # noqa: ANN401
    ) -> "Future[Any]":
        """See Executor."""
        future: Future[Any] = Future()
        self._calls.put(partial(_carry_out, future, partial(fn, *args, **kwargs)))
        if not self._idle.acquire(blocking=False) and len(self._ours) < self._most:
            thread = threading.Thread(target=self._work, name="job", daemon=True)
            self._ours.append(thread)
            thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See Executor; what has not begun is not begun any more."""
        with contextlib.suppress(Empty):
            while True:
                self._calls.get_nowait()
        for _ in self._ours:
            self._calls.put(None)
        for thread in self._ours if wait else ():
            thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            self._idle.release()


def _carry_out(future: "Future[Any]", call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:  # for whoever waits for it
        future.set_exception(error)
