"""What people read: colours and tables on a terminal, plain lines everywhere else."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_STYLES = {"good": "green", "bad": "bold red", "note": "yellow", "quiet": "dim", "title": "bold cyan", "": ""}


class Screen:
    """Prints to stdout, and errors to stderr. ``plain``: no colour, one line an entry, never wrapped."""

    def __init__(self, plain: bool | None = None) -> None:
        self._out = Console(highlight=False, soft_wrap=True)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)
        self.plain = not self._out.is_terminal if plain is None else plain

    def line(self, text: str, style: str = "") -> None:
        """One line; ``style`` is good, bad, note, quiet, title or nothing."""
        self._write(self._out, text, style)

    def error(self, text: str, style: str = "bad") -> None:
        """One line on stderr."""
        self._write(self._err, text, style)

    def json_line(self, text: str) -> None:
        """One line exactly as it is, for programs."""
        self._write(self._out, text, "")

    def parts(self, *parts: tuple[str, str]) -> None:
        """One line of (text, style) parts with a blank between them."""
        if self.plain:
            self._write(self._out, " ".join(text for text, _ in parts), "")
            return
        self._out.print(Text(" ").join(Text(text, _STYLES.get(style, style)) for text, style in parts))

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table; plain, its columns are aligned by blanks. The first column is left-aligned."""
        lines = [list(columns), *(list(row) for row in rows)]
        if self.plain:
            widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
            self.line(title)
            for cells in lines:
                self.line(
                    "  " + "  ".join(_padded(c, w, at) for at, (c, w) in enumerate(zip(cells, widths, strict=True)))
                )
            return
        table = Table(title=escape(title), title_style="bold", title_justify="left", header_style="bold")
        for at, column in enumerate(columns):
            table.add_column(escape(column), justify="right" if at else "left")
        for cells in lines[1:]:
            table.add_row(*(escape(cell) for cell in cells))
        self._out.print(table)

    def _write(self, console: Console, text: str, style: str) -> None:
        if self.plain or not console.is_terminal:
            console.file.write(text + "\n")
            console.file.flush()
        else:
            console.print(Text(text, _STYLES.get(style, style)))


def _padded(text: str, width: int, at: int) -> str:
    return text.rjust(width) if at else text.ljust(width)
