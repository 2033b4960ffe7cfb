"""The options for reaching storage, which a manifest can't set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bidsplan.errors import Choice
from bidsplan.storage.retry import READ_SECONDS
from bidsplan.urls import untrusted_by_default

AUTO_JOBS = 512
"""Most connections by default: enough for small objects at a round trip of 100 ms.

Runs open only as many as they measure to help.
"""


class Transport(Choice):
    """The library that lists and reads storage.

    Attributes
    ----------
    AUTO
        Use obstore for object stores, and fsspec for all other storage.
    OBSTORE, FSSPEC
        Use this library. A URL that the library can't reach is refused.
    """

    AUTO = "auto"
    OBSTORE = "obstore"
    FSSPEC = "fsspec"


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """The options that say how bidsplan may reach storage.

    Parameters
    ----------
    transport : Transport or str
        The library that lists and reads storage.
    endpoint_url : str, optional
        The S3 endpoint, which overrides the AWS configuration.
    region : str, optional
        The AWS region, which overrides the AWS configuration.
    profile : str, optional
        The name of an AWS profile.
    anonymous : bool, optional
        Whether requests to sources are unsigned, which overrides the manifest or plan. Requests to
        a destination are always signed.
    requester_pays : bool
        Whether you agree to pay for requests to requester-pays buckets.
    allow_protocols : frozenset of str
        fsspec protocols to allow in addition to the usual ones.
    untrusted : bool
        Whether to refuse everything that an untrusted manifest could abuse: local files, memory,
        loopback and private hosts, and credentials. The default is taken from the environment
        variable ``BIDSPLAN_UNTRUSTED``.
    dest_endpoint_url, dest_profile : str, optional
        The S3 endpoint and the AWS profile of a destination in storage, if they differ from those
        of the sources.
    jobs : int
        The maximum number of open connections to one store.
    timeout : float
        Seconds after which a connection that sends nothing is closed.
    limit_rate : int, optional
        The maximum number of bytes a second for all connections together.
    for_destination : bool
        Whether a destination is reached. `at_destination` sets it, so that errors can name the
        option that chose the endpoint or the profile.
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
    for_destination: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "transport", Transport(self.transport))

    def at_destination(self) -> Access:
        """Return the options for reaching the destination.

        Returns
        -------
        Access
            With the endpoint and profile of the destination, and signed requests.
        """
        return replace(
            self,
            endpoint_url=self.dest_endpoint_url or self.endpoint_url,
            profile=self.dest_profile or self.profile,
            for_destination=True,
            anonymous=False,
        )
