"""The one tree of errors that a person can cause, and so mend.

Every message is one line: the value, the rule it breaks, the next command or edit. The command line prints it without a
traceback and leaves with ``exit_code``.
"""

import re

CREDENTIAL = re.compile(r"(?<=//)[^\s/]*@|[^\s/:]+:[^\s/]*@")
"""What stands before the host in a URL, and ``user:password@`` anywhere."""
LONGEST = 300
"""Characters of another program's message that are shown."""


class RdmcError(Exception):
    """Base of every error that is the input's fault and not the program's."""

    exit_code = 1


class ConfigError(RdmcError):
    """A parameter or setting that cannot be used."""


class DataError(RdmcError):
    """Images, pairs, shards or a manifest that cannot be used."""


class SizeError(DataError):
    """A picture with more pixels than may be read."""


class CheckpointError(RdmcError):
    """Weights that are missing, damaged or of another network."""


class TrainingError(RdmcError):
    """A training run that must not go on (a loss that is not finite, for instance)."""


class ServiceError(RdmcError):
    """A service outside this process (Ray, MLflow, S3) that cannot be reached or refuses."""


class MissingError(ServiceError):
    """A service answers, and does not have what it is asked for."""


def one_line(error: object) -> str:
    """An error's text on one line: cut after 300 characters, without passwords in URLs; its class where it has no text."""
    words = CREDENTIAL.sub("", " ".join(str(error).split()))
    return f"{words[:LONGEST]}…" if len(words) > LONGEST else words or type(error).__name__
