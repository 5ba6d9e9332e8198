"""Phases that go into the ledger, too, for what is no plan of actions."""

import contextlib
from collections.abc import Iterator

from provisioner.execution.ledger import Ledger
from provisioner.progress import Progress


class NotedPhases:
    """A Progress that shows what another one shows, and writes down when each phase began and ended."""

    def __init__(self, shown: Progress, ledger: Ledger) -> None:
        self._shown = shown
        self._ledger = ledger

    def line(self, text: str, host: str = "") -> None:
        self._shown.line(text, host)

    @contextlib.contextmanager
    def phase(self, title: str) -> Iterator[None]:
        self._ledger.write("begun", action=title, what=title)
        try:
            with self._shown.phase(title):
                yield
        except Exception as error:
            self._ledger.write("failed", action=title, what=title, why=str(error))
            raise
        self._ledger.write("done", action=title, what=title)

    def end(self) -> None:
        self._shown.end()
