"""Whether whoever opened a stream that has no end would still be let in."""

from collections.abc import Iterable, Mapping

from mesh.errors import CredentialsInvalid
from mesh.identity import Authenticator, caller


class Admission:
    """Asks anew who the caller is, as the call's own step did when it began."""

    def __init__(self, authenticators: Iterable[Authenticator]) -> None:
        self._authenticators = tuple(authenticators)

    async def check(self, metadata: Mapping[str, str]) -> None:
        """Raises CredentialsInvalid when the key was revoked or the token has ended; DependencyUnavailable.

        A service's token lives for a minute and opens streams for as long as they last: nobody revokes those.
        """
        if caller().kind == "service":
            return
        for authenticator in self._authenticators:
            if await authenticator.authenticate(metadata) == caller():
                return
        raise CredentialsInvalid
