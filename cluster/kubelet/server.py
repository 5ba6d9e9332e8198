"""stub replaced below"""

import contextlib


@contextlib.asynccontextmanager
async def serving(kubelet):
    yield None
