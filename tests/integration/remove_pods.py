"""Ends and removes every pod of one runtime: `python -m tests.integration.remove_pods unix:///path`."""

import asyncio
import sys

from cluster.kubelet.cri_runtime import CriRuntime


async def remove_pods(endpoint: str) -> None:
    async with CriRuntime(endpoint) as runtime:
        for sandbox in await runtime.list_sandboxes():
            await runtime.stop_sandbox(sandbox.id)
            await runtime.remove_sandbox(sandbox.id)


if __name__ == "__main__":
    asyncio.run(remove_pods(sys.argv[1]))
