"""The one tree of errors that a user can cause, and therefore fix.

Every message is one line: the value, the rule it breaks, the next command or edit. The command line prints the message
without a traceback and exits with ``exit_code``.
"""

import re

CREDENTIAL = re.compile(r"(?<=//)[^\s/]*@|[^\s/:]+:[^\s/]*@")
"""The part before the host in a URL, and ``user:password@`` anywhere."""
LONGEST = 300
"""How many characters of another program's message are shown."""


class RdmcError(Exception):
    """Base of every error that the input causes and not the program."""

    exit_code = 1


class ConfigError(RdmcError):
    """A parameter or setting that cannot be used."""


class DataError(RdmcError):
    """Images, pairs, shards or a manifest that cannot be used."""


class SizeError(DataError):
    """A picture with more pixels than may be read."""


class CheckpointError(RdmcError):
    """Weights that are missing, damaged or from another network."""


class TrainingError(RdmcError):
    """A training run that must not continue (for instance because its loss is not finite)."""


class ServiceError(RdmcError):
    """A service outside this process (Ray, MLflow, S3) that cannot be reached or that refuses a request."""


class MissingError(ServiceError):
    """A service that answers but does not have the requested object."""


def one_line(error: object) -> str:
    """Return an error's text on one line of 300 characters, without credentials in URLs; its class name if it has no text."""
    words = CREDENTIAL.sub("", " ".join(str(error).split()))
    return f"{words[:LONGEST]}…" if len(words) > LONGEST else words or type(error).__name__
