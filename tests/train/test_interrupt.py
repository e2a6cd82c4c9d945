import os
import signal
import threading

import pytest

from laconic.train.interrupt import held_interrupts


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_ctrl_c_is_noted_and_the_second_is_raised() -> None:
    with held_interrupts() as pressed:
        assert not pressed()
        press()
        assert pressed()
        with pytest.raises(KeyboardInterrupt):
            press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_user_s_stays() -> None:
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: heard.append(number))
    try:
        with held_interrupts() as pressed:
            press()
            assert not pressed()
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT]


def test_outside_the_main_thread_nothing_is_touched() -> None:
    def enter() -> None:
        with held_interrupts() as pressed:
            seen.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler and not pressed())

    seen: list[bool] = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [True]
