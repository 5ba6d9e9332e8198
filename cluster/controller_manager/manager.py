"""
All controllers together, on shared informers. Called by whoever leads: `__main__`, or the single process.
"""

import asyncio
import dataclasses
import logging
from contextlib import AsyncExitStack

from cluster.client.rest import ApiClient
from cluster.controller_manager.catalogue import chosen_controllers
from cluster.controller_manager.context import Context, ManagerSettings, SharedInformers
from cluster.controller_manager.credentials import controller_logins

log = logging.getLogger(__name__)


async def run_controllers(client: ApiClient, settings: ManagerSettings, *, wanted: str, own_accounts: bool) -> None:
    """
    Run until cancelled.

    Args:
        wanted: As the flag --controllers has it: `*`, or names.
        own_accounts: Each controller acts as its own ServiceAccount instead of as `client`.
    """
    makers = chosen_controllers(wanted, settings)
    context = Context(client, SharedInformers(client), settings)
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
        contexts = dict.fromkeys(makers, context)
        if own_accounts:
            logins = await stack.enter_async_context(controller_logins(client, makers))
            tasks.create_task(logins.run(), name="controllers' tokens")
            contexts = {name: dataclasses.replace(context, client=logins.client_of(name)) for name in makers}
        controllers = {name: make(contexts[name]) for name, make in makers.items()}
        tasks.create_task(context.informers.run(), name="informers")
        for recorder in context.recorders():
            tasks.create_task(recorder.run(), name="events")
        await context.informers.wait_synced()
        log.info("running %s", ", ".join(controllers))
        for name, controller in controllers.items():
            tasks.create_task(controller.run(), name=name)
        await asyncio.get_running_loop().create_future()  # until leadership or the process ends
