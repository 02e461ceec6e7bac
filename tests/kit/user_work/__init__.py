"""A user's process whose pipeline works somewhere else, until somebody lets it go."""

from user_work._client import Client

__all__ = ["Client"]
