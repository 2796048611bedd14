"""Progress of long work: rich bars in a terminal, a small table in a notebook, or nothing."""

from __future__ import annotations

import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType


class Progress:
    """One bar for each task, used as a context manager.

    Parameters
    ----------
    tasks : list of str
        A name for each bar.
    total : int
        Steps of each task.
    show : bool
        False shows nothing.
    unit : str, default "draws"
        What a step is called.
    """

    def __init__(self, tasks: list[str], total: int, *, show: bool, unit: str = "draws") -> None:
        self.tasks, self.totals, self.unit = tasks, [total] * len(tasks), unit
        self.done, self.notes = [0] * len(tasks), [""] * len(tasks)
        self._show, self._face = show, "none"
        self._handle: Any = None
        self._bars: Any = None
        self._started = self._drawn = 0.0

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        if not self._show:
            return self
        if _in_notebook():
            self._face = "notebook"
            shown: Any = import_module("IPython.display")  # only where it runs
            self._handle = shown.display(shown.HTML(self._html()), display_id=True)
        else:
            self._face = "terminal"
            self._start_bars()
        return self

    def _start_bars(self) -> None:
        # Imported when a bar is shown.
        from rich import progress  # noqa: PLC0415
        from rich.console import Console  # noqa: PLC0415

        self._bars = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[note]}"),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),  # standard output is for what a program says
        )
        for name in self.tasks:
            self._bars.add_task(name, total=self.totals[0], note="", rate="")
        self._bars.start()

    def update(self, task: int, done: int, note: str = "", total: int | None = None) -> None:
        """Say that `done` steps of a task are done; `note` stands beside the bar.

        `total` corrects the task's number of steps, where it is not known before.
        """
        self.done[task], self.notes[task] = done, note
        if total is not None:
            self.totals[task] = total
        if self._face == "terminal":
            rate = self._rate(task)
            total = self.totals[task]
            self._bars.update(task, completed=done, total=total, note=note, rate=rate)
        elif self._face == "notebook" and time.perf_counter() - self._drawn > 0.25:
            self._redraw()

    def _rate(self, task: int) -> str:
        elapsed = time.perf_counter() - self._started
        rate = self.done[task] / max(elapsed, 1e-9)
        return f"{rate:.0f} {self.unit}/s" if rate >= 1 else f"{60 * rate:.1f} {self.unit}/min"

    def _redraw(self) -> None:
        self._drawn = time.perf_counter()
        if self._handle is not None:
            self._handle.update(import_module("IPython.display").HTML(self._html()))

    def _html(self) -> str:
        elapsed = time.perf_counter() - self._started
        rows = []
        for task, name in enumerate(self.tasks):
            done, total = self.done[task], self.totals[task]
            left = f"{elapsed * (total - done) / done:.0f} s left" if done else ""
            rows.append(
                f"<tr><td>{name}</td>"
                f"<td><progress value='{done}' max='{total}'></progress></td>"
                f"<td>{done:,}/{total:,}</td><td>{self.notes[task]}</td>"
                f"<td>{self._rate(task)}</td><td>{left}</td></tr>"
            )
        return f"<table>{''.join(rows)}</table>"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._face == "terminal":
            self._bars.stop()
        elif self._face == "notebook":
            self._redraw()


class Search:
    """Say how a search by validation goes, whose number of fits is not known beforehand.

    Parameters
    ----------
    progress : Progress
        With one task, that counts fits.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress, self._fits = progress, 0

    def tick(self, rmse: float) -> None:
        """One more fit has this error; there is always another one to come, the final one."""
        self._fits += 1
        self._progress.update(0, self._fits, f"validation RMSE {rmse:.4f}", total=self._fits + 1)

    def finish(self, rmse: float) -> None:
        """Say that the final fit is done, by settings that had this error."""
        self._progress.update(0, self._fits + 1, f"validation RMSE {rmse:.4f}")


def _in_notebook() -> bool:
    # Never imports IPython: a shell that runs has imported it already.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    # A shell with a kernel has a front end that shows HTML; that of a terminal has none.
    return getattr(shell, "kernel", None) is not None
