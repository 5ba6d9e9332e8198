"""
Carry a runbook's mitigation out: probes, then commands and gates in the order of the page, and rollbacks when it fails.

Commands are the page's own, for bash, on the operator's machine; nothing is made of what they print.
"""

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provisioner.errors import InventoryError, ProvisionError
from provisioner.progress import Progress
from provisioner.runbooks.page import Block, Purpose, Runbook

ASK_AGAIN = 1.0  # seconds between two questions of a gate


@dataclass(frozen=True, slots=True)
class Ended:
    """One block's end."""

    exit_code: int
    output: str
    """Both streams, as they came."""


async def carry_out(runbook: Runbook, variables: Mapping[str, str], progress: Progress) -> None:
    """
    Raises:
        InventoryError: a variable is missing or not asked for; the page is about something else than what is there.
        ProvisionError: a command or gate failed; what the page says to roll back was rolled back.
    """
    environment = _environment(runbook, variables)
    for block in runbook.mitigation:
        if block.purpose is Purpose.PROBE and (ended := await _run(block, environment)).exit_code:
            raise InventoryError(
                f"runbook {runbook.name} is not about this", why=_last_line(ended) or f"a probe says {ended.exit_code}",
                next_step="Nothing was done. `provision runbook list` has others.",
            )  # fmt: skip
    rollback: Block | None = None
    for block in runbook.mitigation:
        if block.purpose is Purpose.ROLLBACK:
            rollback = block
        elif block.purpose is not Purpose.PROBE:
            with progress.phase(_title(block)):
                try:
                    await _perform(runbook, block, environment)
                except ProvisionError:
                    if rollback is not None:
                        await _roll_back(rollback, environment, progress)
                    raise


def _environment(runbook: Runbook, variables: Mapping[str, str]) -> dict[str, str]:
    if missing := [name for name in runbook.needs if not variables.get(name)]:
        told = "; ".join(f"{name}: {runbook.needs[name]}" for name in missing if runbook.needs[name])
        raise InventoryError(
            f"runbook {runbook.name} needs {', '.join(missing)}", why=told or "its commands name them",
            next_step=f"Give them, as in --set {missing[0]}=VALUE.",
        )  # fmt: skip
    if strange := [name for name in variables if name not in runbook.needs]:
        raise InventoryError(
            f"runbook {runbook.name} does not know {', '.join(strange)}", why=f"it needs {', '.join(runbook.needs)}",
            next_step="Leave it away.",
        )  # fmt: skip
    return {**os.environ, **variables}


async def _perform(runbook: Runbook, block: Block, environment: Mapping[str, str]) -> None:
    end = time.monotonic() + block.patience
    while (ended := await _run(block, environment)).exit_code:
        if block.purpose is Purpose.GATE and time.monotonic() < end:
            await asyncio.sleep(ASK_AGAIN)
            continue
        kind = f"its gate does not hold after {block.patience} s" if block.patience else "a command failed"
        raise ProvisionError(
            f"runbook {runbook.name}: {kind}", why=_last_line(ended) or f"exit code {ended.exit_code}",
            next_step=f"Read the page (`provision runbook show {runbook.name}`); it stopped at: {_title(block)}.",
        )  # fmt: skip


async def _roll_back(block: Block, environment: Mapping[str, str], progress: Progress) -> None:
    with progress.phase(f"Roll back: {_title(block)}"):
        ended = await _run(block, environment)
        if ended.exit_code:
            progress.line(f"rolling back failed: {_last_line(ended)}")


async def _run(block: Block, environment: Mapping[str, str]) -> Ended:
    argv: Sequence[str] = ["bash", "-euo", "pipefail", "-c", block.commands]
    process = await asyncio.create_subprocess_exec(
        *argv, env=dict(environment), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        os.killpg(process.pid, signal.SIGTERM)
        await process.wait()
        raise
    assert process.returncode is not None  # noqa: S101 - communicate waits for its end
    return Ended(process.returncode, output.decode(errors="replace"))


def _title(block: Block) -> str:
    first = block.commands.strip().splitlines()[0] if block.commands.strip() else ""
    return (block.about.rstrip(".:") or first)[:100]


def _last_line(ended: Ended) -> str:
    lines = [line.strip() for line in ended.output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
