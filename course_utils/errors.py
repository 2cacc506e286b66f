"""What can go wrong between a model's name and a loaded pair, each error also of Python's own kind."""

OFFLINE_ADVICE = "use load_pair('pebble'), which needs no download, or a local folder."


class PairError(RuntimeError):
    """A model or a pair could not be loaded or compared; the message says why and what to do."""


class NoNetworkError(PairError, ConnectionError):
    """The model hub cannot be reached and the model is not on this computer."""


class GatedError(PairError, PermissionError):
    """The model is there, but its owner wants a licence accepted and a token shown."""


class NotFoundError(PairError, OSError):
    """The hub has no such model (or hides it), or no such revision of it."""


class NotACausalLMError(PairError, ValueError):
    """The model is no causal language model: it does not predict the next token."""


class MissingTokenizerError(PairError, OSError):
    """The model comes without tokenizer files."""


class BadFolderError(PairError, OSError):
    """A local folder is missing or does not hold a whole model."""


class BadOptionError(PairError, ValueError):
    """A device that this computer does not have, or a dtype that no model can be loaded in."""


class MissingPackageError(PairError, ImportError):
    """The model is of a kind that takes a further package, which is not installed."""


class NotDownloadedError(NoNetworkError):
    """The model is not on this computer, and downloading it was not asked for."""


class VocabularyMismatch(PairError, ValueError):
    """The two variants number their tokens differently, so token ids cannot be compared."""
