"""What keeps the local mesh from standing, in words for the person who started it."""


class LocalError(Exception):
    """The local mesh cannot go on; its text says why and what to do."""


class StartError(LocalError):
    """A server ended or stayed silent instead of becoming ready."""


class NotInstalledError(LocalError):
    """A program that the local mesh runs is not on this machine."""
