"""A report of fraud."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo that its reporter has: SHA-256 of the file, and its media type."""

    sha256: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was seen. `code` is what stands where a code of ours should, '' if nothing does or it is a product's.

    `contact` and `country_code` are '' when they were not told.
    """

    kind: str
    text: str
    product_id: UUID | None
    code: str
    contact: str
    photo: Photo | None
    country_code: str
