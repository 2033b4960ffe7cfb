"""What takes an entry's bytes as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.errors import StorageError
from bidsplan.transfer.targets import Target

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from bidsplan.storage import Upload

__all__ = ["Delivery", "Nowhere", "UndeliveredError"]


class Nowhere(Target):
    """Takes bytes that are only looked at."""

    def write(self, data: Buffer) -> None:
        """Take the next bytes."""

    def restart(self) -> None:
        """Forget what was taken."""


class UndeliveredError(Exception):
    """Bytes could not be passed on, which is no fault of where they come from.

    Parameters
    ----------
    why : StorageError
        What the destination said.
    """

    def __init__(self, why: StorageError) -> None:
        super().__init__(str(why))
        self.why = why


class Delivery(Target):
    """Passes bytes on, so that its own trouble is not taken for the source's and tried again.

    Parameters
    ----------
    upload : Upload
    """

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    def write(self, data: Buffer) -> None:
        """Take the next bytes."""
        try:
            self._upload.write(data)
        except StorageError as error:
            raise UndeliveredError(error) from error

    def restart(self) -> None:
        """Forget what was taken."""
        self._upload.restart()
