"""The live table, for a terminal. Needs rich, which comes with the extra `embedded`."""

import time

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from peekaping_producer.demo.view import Snapshot

_DRAW_EVERY_S = 0.25


class LiveTable:
    """A table that is redrawn in place, with the events below it."""

    def __init__(self) -> None:
        self._announced: list[Text] = []
        self._live = Live(console=Console(), auto_refresh=False, vertical_overflow="crop")
        self._live.start()
        self._next_at = 0.0

    def show(self, snapshot: Snapshot) -> None:
        """Redraw it, at most four times a second."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + _DRAW_EVERY_S
        footer = Text.assemble(*snapshot.footer)
        self._live.update(Group(_table(snapshot), footer, *self._announced), refresh=True)

    def announce(self, sentence: str) -> None:
        """Show the sentence below the table, with the time of day."""
        self._announced.append(Text.assemble((time.strftime("%H:%M:%S  "), "dim"), (sentence, "bold yellow")))

    def close(self) -> None:
        """Stop redrawing and show the cursor again; the last table stays."""
        self._live.stop()


def _table(snapshot: Snapshot) -> Table:
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # 80 columns are enough
        title=snapshot.title,
        title_justify="left",
        title_style="bold",
    )
    for column in snapshot.columns:
        table.add_column(column.title, justify="right" if column.right else "left", min_width=column.min_width)
    for row in snapshot.rows:
        table.add_row(*(Text.assemble(*cell) for cell in row))
    return table
