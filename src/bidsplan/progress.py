"""A progress bar over events."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from bidsplan.events import Digesting, Failed, Finished, Progressed, Resumed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from bidsplan.events import Event
    from bidsplan.plan import Planned


def draw(
    events: Iterable[Event], plan: Planned, *, enabled: bool, position: int | None = None
) -> Generator[Event, None, None]:
    """Draw a bar on standard error, with a plan's total, while events pass unchanged.

    Of several bars each has a line, its `position`, counted from 0.
    """
    if not enabled:
        yield from events
        return
    from tqdm import tqdm  # only where there is a bar

    header = plan.header
    done = 0
    moved: dict[str, int] = {}
    total = header.bytes
    with tqdm(total=total, unit="B", unit_scale=True, dynamic_ncols=True, position=position) as bar:
        for event in events:
            match event:
                case Progressed(entry=entry, bytes=number) | Resumed(entry=entry, bytes=number):
                    moved[entry.path] = moved.get(entry.path, 0) + number
                    bar.update(number)
                case Finished(entry=entry):
                    # What was kept, or only read, did not come a piece at a time.
                    bar.update(entry.size - moved.pop(entry.path, 0))
                case Failed(entry=entry):
                    bar.update(-moved.pop(entry.path, 0))
                case _:
                    pass
            if isinstance(event, Finished | Failed):
                done += 1
                bar.set_postfix_str(f"{done:,}/{header.files:,} files", refresh=False)
            yield event


@contextmanager
def drawn_digests(*, enabled: bool) -> Iterator[Callable[[Event], None]]:
    """Draw a bar on standard error while a compilation reads sources for their digests.

    Yields what takes the compilation's events, one at a time.
    """
    with ExitStack() as stack:
        bar: Any = None

        def add_event(event: Event) -> None:
            nonlocal bar
            if isinstance(event, Digesting):
                from tqdm import tqdm  # only where there is a bar

                made = tqdm(total=event.bytes, desc="digests", unit="B", unit_scale=True)
                bar = stack.enter_context(made)
            elif isinstance(event, Progressed) and bar is not None:
                bar.update(event.bytes)

        yield add_event if enabled else lambda _: None
