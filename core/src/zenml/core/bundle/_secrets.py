"""Likely secrets: what must not leave the machine in a code bundle.

Each rule is one that a published scanner has too, and is narrow on purpose: a rule that cries wolf
is one that people learn to switch off. What is found is named by path and line, never shown.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from zenml.core.bundle._ignore import PatternFile, last_match, line_for, parse_patterns
from zenml.core.bundle._walk import IGNORE_FILE
from zenml.core.errors import Problem

__all__ = ["ALLOW_FILE", "SCANNED", "Allowed", "Finding", "in_content", "in_name"]

ALLOW_FILE = ".zenmlallow"

#: Bytes at the beginning of each file that are looked at.
SCANNED = 2**20


def _any_of(names: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(name) for name in names))


#: Names of files that hold secrets by their purpose, in lower case.
_NAMES = (
    ("an environment file", _any_of((".env", ".env.*", ".envrc"))),
    ("a private SSH key", _any_of(("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*"))),
    (
        "a file of passwords or tokens",
        _any_of(
            (
                ".netrc",
                "_netrc",
                ".pypirc",
                ".pgpass",
                ".htpasswd",
                ".git-credentials",
                ".dockercfg",
            )
        ),
    ),
    (
        "a file of credentials",
        _any_of(
            (
                "credentials*.json",
                "client_secret*.json",
                "service-account*.json",
                "service_account*.json",
                "application_default_credentials.json",
            )
        ),
    ),
    (
        "a store of private keys",
        _any_of(("*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "*.kdbx")),
    ),
)

#: Names that look like those above and say themselves that they are not.
_HARMLESS = _any_of(
    (
        "*.pub",
        ".env*.example",
        ".env*.sample",
        ".env*.template",
        ".env*.dist",
        ".env.example.*",
        "*.py",
        "*.md",
    )
)

#: What a placeholder has and a random token has not: few different characters, or a word for it.
_PLACEHOLDER = re.compile(rb"example|placeholder|redacted|your[_-]", re.IGNORECASE)
_DISTINCT = 8


class _Rule(NamedTuple):
    """A kind of secret.

    Attributes:
        name: What to call it.
        hints: One of these is in every match; looking for them is fast.
        regex: Finds it; its first group is the part that is random.
    """

    name: str
    hints: tuple[bytes, ...]
    regex: re.Pattern[bytes]


def _rule(name: str, hints: str, regex: bytes) -> _Rule:
    return _Rule(name, tuple(hint.encode() for hint in hints.split()), re.compile(regex))


_RULES = (
    _Rule(
        "a private key",
        (b"PRIVATE KEY",),
        re.compile(
            # The key itself must follow: documents name the first line alone. In JSON and in
            # source, line ends are spelled out and each line may stand in quotes.
            rb"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
            rb"(?:[\s\"'+,]|\\[nr]|[A-Z][A-Za-z-]{1,20}: [^\n]{1,100}\n){1,40}"
            rb"([A-Za-z0-9+/=]{24,})"
        ),
    ),
    _rule("an AWS access key", "AKIA ASIA", rb"\b(?:AKIA|ASIA)([A-Z2-7]{16})\b"),
    _rule(
        "an AWS secret key",
        "aws_secret_access_key AWS_SECRET_ACCESS_KEY",
        rb"(?:aws_secret_access_key|AWS_SECRET_ACCESS_KEY)[\"']?\s{0,4}[=:]\s{0,4}[\"']?"
        rb"([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
    ),
    _rule(
        "a GitHub token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        rb"\b(?:gh[pousr]_|github_pat_)([A-Za-z0-9_]{36,255})\b",
    ),
    _rule("a GitLab token", "glpat-", rb"\bglpat-([A-Za-z0-9_-]{20,})"),
    _rule("a Slack token", "xox", rb"\bxox[abeoprs]-([0-9]{6,}-[A-Za-z0-9-]{12,})"),
    _rule("a Google API key", "AIza", rb"\bAIza([A-Za-z0-9_-]{35})(?![A-Za-z0-9_-])"),
    _rule("a Google access token", "ya29.", rb"\bya29\.([A-Za-z0-9_-]{30,})"),
    _rule("a Google client secret", "GOCSPX-", rb"\bGOCSPX-([A-Za-z0-9_-]{28})"),
    _rule("a Stripe key", "_live_", rb"\b[rs]k_live_([A-Za-z0-9]{20,})"),
    _rule("an Azure storage key", "AccountKey=", rb"AccountKey=([A-Za-z0-9+/]{86}==)"),
    _rule("a Hugging Face token", "hf_", rb"\bhf_([A-Za-z]{34})\b"),
    _rule("a PyPI token", "pypi-AgE", rb"\bpypi-(AgE[A-Za-z0-9_-]{50,})"),
    _rule("an npm token", "npm_", rb"\bnpm_([A-Za-z0-9]{36})\b"),
    _rule("an API key", "sk-", rb"\bsk-(?:proj|ant-api03|svcacct)-([A-Za-z0-9_-]{40,})"),
)


class Finding(NamedTuple):
    """A likely secret.

    Attributes:
        path: The file, relative to the repository.
        line: Where in it, from 1; None if its name says enough.
        kind: What it looks like.
    """

    path: str
    line: int | None
    kind: str

    def problem(self) -> Problem:
        """How to say it, and what to do about it. Does not show the secret."""
        where = f"{self.path}:{self.line}" if self.line else self.path
        line = line_for(self.path)
        return Problem(
            where,
            f"looks like {self.kind}",
            f"add {line} to {IGNORE_FILE}, or to {ALLOW_FILE} if it is none",
        )


class Allowed:
    """The files in which somebody has looked and found no secret.

    Args:
        content: The bytes of ``.zenmlallow``: patterns as in ``.gitignore``.
        paths: Further files, named exactly.
    """

    def __init__(self, content: bytes, paths: Iterable[str] = ()) -> None:
        self._files = (PatternFile(ALLOW_FILE, 0, parse_patterns(content)),)
        self._paths = frozenset(paths)

    def __contains__(self, path: str) -> bool:
        if path in self._paths:
            return True
        at = path.find("/")
        while at >= 0:
            if self._says(path[:at], folder=True):
                return True
            at = path.find("/", at + 1)
        return self._says(path, folder=False)

    def _says(self, path: str, *, folder: bool) -> bool:
        match = last_match(self._files, path.encode("utf-8"), folder=folder)
        return match is not None and not match[1].negative


def in_name(path: str) -> Finding | None:
    """What the name of a file says."""
    name = path.rpartition("/")[2].lower()
    for kind, names in _NAMES:
        if names.match(name):
            return None if _HARMLESS.match(name) else Finding(path, None, kind)
    return None


def in_content(path: str, data: bytes) -> Iterator[Finding]:
    """What the beginning of a file shows; the first of each kind.

    Args:
        path: The file, for the findings.
        data: Its first ``SCANNED`` bytes. Files that are not text are passed over.
    """
    if b"\0" in data[:8192]:
        return
    for rule in _RULES:
        if not any(hint in data for hint in rule.hints):
            continue
        for match in rule.regex.finditer(data):
            if len(set(match[1])) < _DISTINCT or _PLACEHOLDER.search(match[1]):
                continue
            yield Finding(path, data.count(b"\n", 0, match.start()) + 1, rule.name)
            break
