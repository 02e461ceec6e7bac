"""Every installed training backend class by name, found through the registry."""

from zenml.core.backends._facade import offer_names

__getattr__, __dir__ = offer_names(__name__, "training")
