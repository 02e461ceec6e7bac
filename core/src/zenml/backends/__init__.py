"""Every installed backend class by name: ``from zenml.backends.training import …``.

Which names there are depends on what is installed. A type checker cannot know them; the typed
import is the plugin's own, such as ``from zenml.local import …``.
"""

from zenml.core.backends._facade import offer_names

__getattr__, __dir__ = offer_names(__name__, None)
