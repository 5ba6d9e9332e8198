"""
Memory that was needed for a moment goes back to the system: start-up, and lists of many objects, leave gaps behind.
"""

import asyncio
import ctypes
import gc
import logging

log = logging.getLogger(__name__)

FIRST, INTERVAL = 5.0, 60.0
"""Seconds after the start, and between two times."""


async def run() -> None:
    """For ever; ends at once where the C library has no malloc_trim."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        log.debug("this C library keeps what it has")
        return
    await asyncio.sleep(FIRST)
    # What start-up made stays: full collections need not look at it again.
    gc.collect()
    gc.freeze()
    while True:
        trim(0)
        await asyncio.sleep(INTERVAL)
