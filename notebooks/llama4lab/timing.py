"""A fair race on one CPU thread, and a product of matrices that shows what the processor can do at most."""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch


def fastest_calls(forwards: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of the fastest call of each function on the thread's own CPU clock.

    The functions take turns, so that a busy moment of the machine hits all of them alike.
    """
    seconds = dict.fromkeys(forwards, math.inf)
    for _ in range(rounds):
        for name, forward in forwards.items():
            start = time.thread_time()
            forward()
            seconds[name] = min(seconds[name], time.thread_time() - start)
    return seconds


def square_product(size: int = 1024) -> tuple[Callable[[], torch.Tensor], int]:
    """A function that runs one large product of matrices, and its floating-point operations."""
    left, right, product = torch.ones(size, size), torch.ones(size, size), torch.empty(size, size)
    return partial(torch.mm, left, right, out=product), 2 * size**3
