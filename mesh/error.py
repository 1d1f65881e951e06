"""What every error of ours is: a reason, a code, and variables that fill its message.

The docstring of a class is its message for people; `{names}` in it are filled from the metadata.
The names of the reasons are those of `voketag.mesh.v1.Reason`; codes are the numbers of google.rpc.Code.
"""

from typing import ClassVar, NamedTuple

INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED = 3, 4, 5, 6, 7
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 8, 9, 10, 13, 14, 16


class FieldViolation(NamedTuple):
    """A field of the request and what is wrong with it."""

    field: str
    rule: str
    description: str


class VokeTagError(Exception):
    """Something went wrong."""

    reason: ClassVar[str] = "INTERNAL"
    code: ClassVar[int] = INTERNAL
    resource_type: ClassVar[str] = ""

    def __init__(
        self, *, retry_after: float | None = None, violations: tuple[FieldViolation, ...] = (), **metadata: object
    ) -> None:
        self.metadata = {name: str(value) for name, value in metadata.items()}
        self.retry_after = retry_after
        self.violations = violations
        super().__init__((type(self).__doc__ or "").format_map(self.metadata))

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self)
