"""The lock of an emulated card: one at a time, in the order of asking."""

import threading
from contextlib import suppress

from actors.emulator.handover import Handover


def test_it_is_handed_over_in_the_order_of_asking() -> None:
    lock, order = Handover(), []

    def take(number: int) -> None:
        with lock:
            order.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(5)]
    with lock:
        for number, thread in enumerate(threads):
            thread.start()
            while lock.waiting <= number:
                pass
    for thread in threads:
        thread.join()
    assert order == list(range(5))


def test_one_thread_holds_it_at_a_time_whatever_fails_inside() -> None:
    lock, inside, most = Handover(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with suppress(ValueError), lock:
                inside += 1
                most = max(most, inside)
                inside -= 1
                raise ValueError

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert lock.waiting == 0
