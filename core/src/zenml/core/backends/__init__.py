"""Every installed backend class by name; the name under which the first documents knew it."""

from zenml.core.backends._facade import offer_names

__getattr__, __dir__ = offer_names(__name__, None)
