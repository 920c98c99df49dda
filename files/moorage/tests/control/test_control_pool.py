"""Threads for calls: never more than said, and no more jobs waiting than said."""

import threading

from moorage.control.pool import Pool


def test_so_many_run_so_many_wait_and_the_next_is_told_no() -> None:
    pool = Pool("test", threads=2, backlog=3)
    go, began, ended = threading.Event(), threading.Semaphore(0), threading.Semaphore(0)
    lock, at_work, most = threading.Lock(), 0, 0

    def job() -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        began.release()
        go.wait(60)
        with lock:
            at_work -= 1
        ended.release()

    for batch in range(3):
        # What one batch left idle serves the next one and is no thread more.
        assert pool.submit(job) and pool.submit(job)
        for _ in range(2):
            assert began.acquire(timeout=60)
        assert [pool.submit(job) for _ in range(5)] == [True] * 3 + [False] * 2, batch
        go.set()
        for _ in range(5):
            assert ended.acquire(timeout=60)
        for _ in range(3):
            assert began.acquire(timeout=60)
        go.clear()
    assert most == 2
