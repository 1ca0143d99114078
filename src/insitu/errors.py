"""The one family of errors that a user's request can cause; the command line turns them into exit code 2."""


class InsituError(Exception):
    """A request that was refused.

    The message is one line that names the thing, the place and the reason, and ends with the remedy:
    ``data 'mnist' was not found in /data: no such folder. Pass --data-dir or set INSITU_DATA.``
    """


class DataError(InsituError):
    """Data that are missing, damaged or do not fit the network."""


class ConfigError(InsituError):
    """A configuration, name or option that cannot be used."""


class NetworkError(InsituError):
    """A network that cannot be captured, or not be served by a rule."""


class StepError(InsituError):
    """A step program that is not well formed."""


class CheckpointError(InsituError):
    """A run folder or checkpoint that cannot be read or written."""


class InsituWarning(UserWarning):
    """A note about something that changes no result; the command line prints it as one line."""
