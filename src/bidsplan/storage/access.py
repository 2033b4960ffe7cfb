"""How storage may be reached: what the environment and the command line say, never a manifest."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bidsplan.errors import Choice
from bidsplan.storage.retry import READ_SECONDS
from bidsplan.urls import untrusted_by_default

AUTO_JOBS = 512
"""Connections of which as many are used as measured to help: enough for small objects at 100 ms."""


class Transport(Choice):
    """Which library moves the bytes.

    Attributes
    ----------
    AUTO
        obstore for object stores, fsspec for all others.
    OBSTORE, FSSPEC
        That one, or an error where it can't.
    """

    AUTO = "auto"
    OBSTORE = "obstore"
    FSSPEC = "fsspec"


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """What the person who runs the command allows and asks for.

    Parameters
    ----------
    transport : Transport or str
    endpoint_url : str, optional
        Instead of what the AWS configuration says.
    region : str, optional
        Instead of what the AWS configuration says.
    profile : str, optional
        Name of an AWS profile.
    anonymous : bool, optional
        Instead of what the manifest or plan says.
    requester_pays : bool
        Agree to pay for requests.
    allow_protocols : frozenset of str
        fsspec protocols beyond the usual ones.
    untrusted : bool
        Refuse all that a stranger's manifest could abuse: local files, memory, loopback and
        private hosts, and credentials. The default is what ``BIDSPLAN_UNTRUSTED`` says.
    dest_endpoint_url, dest_profile : str, optional
        Of a destination in storage, where they are not those of the sources.
    jobs : int
        The most connections that a store may hold open.
    timeout : float
        Seconds without a byte after which a connection is given up.
    limit_rate : int, optional
        The most bytes a second that all connections together may transfer.
    """

    transport: Transport | str = Transport.AUTO
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    anonymous: bool | None = None
    requester_pays: bool = False
    allow_protocols: frozenset[str] = frozenset()
    untrusted: bool = field(default_factory=untrusted_by_default)
    dest_endpoint_url: str | None = None
    dest_profile: str | None = None
    jobs: int = AUTO_JOBS
    timeout: float = READ_SECONDS
    limit_rate: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "transport", Transport(self.transport))

    def at_destination(self) -> Access:
        """Return how a destination in storage may be reached.

        Returns
        -------
        Access
        """
        return replace(
            self,
            endpoint_url=self.dest_endpoint_url or self.endpoint_url,
            profile=self.dest_profile or self.profile,
        )
