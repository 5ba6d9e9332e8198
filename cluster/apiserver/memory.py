"""
Memory that was needed for a moment goes back to the system: start-up, and lists of many objects, leave gaps behind.
"""

import asyncio
import ctypes
import gc
from collections.abc import Callable

FIRST, INTERVAL = 5.0, 60.0
"""Seconds after the start, and between two times."""


async def run(sweep: Callable[[], None]) -> None:
    """For ever. `sweep` lets go of what was kept in case it is asked for again and was not."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    await asyncio.sleep(FIRST)
    # What start-up made stays: full collections need not look at it again.
    gc.collect()
    gc.freeze()
    while True:
        sweep()
        if trim is not None:  # this C library can
            trim(0)
        await asyncio.sleep(INTERVAL)
