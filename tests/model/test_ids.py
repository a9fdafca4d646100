import os
import re
import signal
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery.model import ids


def clock_of(milliseconds):
    """A time_ns that returns the given milliseconds in turn."""
    readings = iter(milliseconds)
    return lambda: next(readings) * 1_000_000


def test_a_run_id_has_its_documented_form():
    assert re.fullmatch(r"run_[0-9a-v]{26}", ids.run_id())
    assert re.fullmatch(r"batch_[0-9a-v]{26}", ids.batch_id())
    assert re.fullmatch(r"worker_[0-9a-v]{26}", ids.session_id())


def test_a_run_id_carries_the_wall_clock_in_its_first_48_bits():
    before = time.time_ns() // 1_000_000
    made = ids.run_id()
    after = time.time_ns() // 1_000_000
    number = int(made.removeprefix("run_"), 32)
    assert before <= number >> 82 <= after


@given(st.lists(st.integers(0, 2**47), min_size=2, max_size=50))
def test_ids_rise_whatever_the_clock_does(readings):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids.time, "time_ns", clock_of(readings))
        made = [ids.run_id() for _ in readings]
    assert made == sorted(set(made))
    ids._reset()


def test_ids_of_one_millisecond_rise(monkeypatch):
    ids._reset()
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_700_000_000_000_000_000)
    made = [ids.run_id() for _ in range(10_000)]
    assert made == sorted(set(made))
    ids._reset()


@pytest.mark.parametrize("make", [ids.run_id, ids.op_id])
def test_threads_never_get_the_same_id(make):
    made = []

    def work():
        mine = [make() for _ in range(5000)]
        if make is ids.run_id:
            assert mine == sorted(mine)
        made.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 40_000


@pytest.mark.parametrize("make", [ids.run_id, ids.op_id])
def test_a_forked_child_makes_other_ids_even_with_the_lock_held(make):
    make()
    reader, writer = os.pipe()
    with ids._lock:
        child = os.fork()
        if child == 0:
            os.write(writer, make().encode())
            os._exit(0)
    os.close(writer)
    of_child = os.read(reader, 100).decode()
    os.close(reader)
    os.waitpid(child, 0)
    of_parent = {make() for _ in range(100)}
    assert len(of_child) == len(make())
    assert of_child not in of_parent
    if make is ids.op_id:
        assert of_child[:10] != make()[:10]


def test_a_signal_handler_may_ask_for_an_id_in_the_middle_of_one():
    made = []
    previous = signal.signal(signal.SIGUSR1, lambda *_: made.append(ids.run_id()))
    try:
        with ids._lock:
            os.kill(os.getpid(), signal.SIGUSR1)
            made.append(ids.run_id())
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert len(set(made)) == 2


def test_an_op_id_has_16_characters_and_takes_a_new_prefix_when_its_numbers_run_out(monkeypatch):
    first = ids.op_id()
    monkeypatch.setattr(ids, "_op_ids", iter(()))
    second = ids.op_id()
    assert len(first) == len(second) == 16
    assert first[:10] != second[:10]


@pytest.mark.parametrize(
    "other",
    [None, 1, b"run_", "", "run_", "run_" + "0" * 25, "run_" + "w" * 26, "run_" + "A" * 26],
)
def test_what_is_not_a_run_id_is_told_apart(other):
    assert not ids.is_run_id(other)
    assert not ids.is_run_id(ids.batch_id())
    assert not ids.is_run_id(ids.run_id() + "\n")
    assert ids.is_run_id(ids.run_id())


def test_a_token_is_the_one_that_scripts_make_in_every_release():
    # redis.sha1hex("user:42") and redis.sha1hex("é"), cut
    assert ids.token("user:42") == "adf14d23d3caa1297fd8"
    assert ids.token("é") == "bf15be717ac1b080b4f1"


@given(st.text(st.characters()), st.text(st.characters()))
def test_a_token_is_20_hex_digits_and_differs_for_different_text(one, other):
    assert re.fullmatch(r"[0-9a-f]{20}", ids.token(one))
    assert (ids.token(one) == ids.token(other)) == (one == other)


def test_a_token_takes_text_that_is_not_valid_unicode():
    assert ids.token("\ud800") != ids.token("\ud801")
