"""Patterns as ``.gitignore`` has them, matched as git matches them.

A pattern is asked about one path at a time, never about what lies below it: whoever walks a tree
does not enter a folder that is left out. Written after git's ``dir.c`` and ``wildmatch.c``; the
tests compare it with git itself. Paths are bytes, because to git ``?`` is one byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Pattern", "PatternFile", "last_match", "line_for", "parse_patterns"]

_SPECIAL = b"*?[\\"


class Pattern(NamedTuple):
    """One line of an ignore file.

    Attributes:
        line: Its number, from 1.
        text: The line as it was written.
        negative: Whether it begins with ``!``.
        folders_only: Whether it ends with ``/``.
        anywhere: Whether it has no other ``/``, and so is compared with the last name of a path.
        regex: What a name or path must match as a whole.
        segments: For a negative pattern with a ``/``: one expression for each folder on the way to
            what it names, up to the first ``**``, which is None.
    """

    line: int
    text: str
    negative: bool
    folders_only: bool
    anywhere: bool
    regex: re.Pattern[bytes]
    segments: tuple[re.Pattern[bytes] | None, ...] = ()

    def leads_below(self, folder: bytes) -> bool:
        """Whether the pattern names a place that can lie below ``folder``."""
        parts = folder.split(b"/")
        for part, wanted in zip(parts, self.segments, strict=False):
            if wanted is None:
                return True
            if not wanted.fullmatch(part):
                return False
        return len(parts) < len(self.segments)


class PatternFile(NamedTuple):
    """The patterns of one file.

    Attributes:
        name: How to call the file in messages.
        base: How many leading bytes of a path name the file's own folder.
        patterns: The last line first, because the last match decides.
    """

    name: str
    base: int
    patterns: tuple[Pattern, ...]


def parse_patterns(data: bytes) -> tuple[Pattern, ...]:
    """The patterns of an ignore file, the last line first."""
    found = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if raw.startswith(b"#"):
            continue
        line = _without_trailing_spaces(raw.removesuffix(b"\r"))
        pattern = _parse(number, line)
        if pattern is not None:
            found.append(pattern)
    return tuple(reversed(found))


def last_match(
    files: Iterable[PatternFile], path: bytes, *, folder: bool
) -> tuple[PatternFile, Pattern] | None:
    """The pattern that decides about a path.

    Args:
        files: The nearest file first.
        path: Relative to the folder that every ``base`` counts from.
        folder: Whether the path is a folder (to git, a link to one is not).
    """
    name = path.rpartition(b"/")[2]
    for file in files:
        below = path[file.base :]
        for pattern in file.patterns:
            if pattern.folders_only and not folder:
                continue
            if pattern.regex.fullmatch(name if pattern.anywhere else below):
                return file, pattern
    return None


def line_for(path: str, *, folder: bool = False) -> str:
    """The line that names exactly this path, for messages that say what to add to a file."""
    text = re.sub(r"([*?\[\\]| $)", r"\\\1", path)
    return f"/{text}/" if folder else f"/{text}"


def _parse(number: int, line: bytes) -> Pattern | None:
    body = line
    negative = body.startswith(b"!")
    if negative:
        body = body[1:]
    folders_only = body.endswith(b"/")
    if folders_only:
        body = body[:-1]
    if not body:
        return None
    anywhere = b"/" not in body
    if anywhere:
        regex = _translate(body, in_path=False)
    else:
        body = body.removeprefix(b"/")
        # git compares everything before the first special character literally, and begins to read
        # the pattern behind it: there "**" counts as if it stood behind a slash.
        plain = next((at for at, byte in enumerate(body) if byte in _SPECIAL), len(body))
        rest = _translate(body[plain:], in_path=True)
        regex = None if rest is None else re.escape(body[:plain]) + rest
    if regex is None:
        return None
    segments = _segments(body) if negative and not anywhere else ()
    text = line.decode("utf-8", "replace")
    compiled = re.compile(regex, re.DOTALL)
    return Pattern(number, text, negative, folders_only, anywhere, compiled, segments)


def _segments(body: bytes) -> tuple[re.Pattern[bytes] | None, ...]:
    found: list[re.Pattern[bytes] | None] = []
    for part in body.split(b"/"):
        regex = None if b"**" in part else _translate(part, in_path=True)
        if regex is None:
            return (*found, None)
        found.append(re.compile(regex, re.DOTALL))
    return tuple(found)


def _without_trailing_spaces(line: bytes) -> bytes:
    end = len(line)
    while end and line[end - 1 : end] == b" ":
        end -= 1
    # A backslash keeps the first of them, unless it is itself behind a backslash.
    slashes = len(line[:end]) - len(line[:end].rstrip(b"\\"))
    return line[: end + 1] if slashes % 2 and end < len(line) else line[:end]


def _translate(pattern: bytes, *, in_path: bool) -> bytes | None:
    """A regular expression for a pattern; None for one that matches nothing."""
    out: list[bytes] = []
    at, end = 0, len(pattern)
    while at < end:
        char = pattern[at : at + 1]
        if char == b"*":
            stop = at
            while pattern[stop : stop + 1] == b"*":
                stop += 1
            behind_slash = at == 0 or pattern[at - 1 : at] == b"/"
            following = pattern[stop : stop + 2]
            if not in_path:
                out.append(b".*")
            elif stop - at > 1 and behind_slash and following[:1] == b"/":
                out.append(b"(?:.*/)?")
                stop += 1
            elif stop - at > 1 and behind_slash and following in (b"", b"\\/"):
                out.append(b".*")
            else:
                out.append(b"[^/]*")
            at = stop
        elif char == b"?":
            out.append(b"[^/]")
            at += 1
        elif char == b"[":
            found = _bracket(pattern, at + 1)
            if found is None:
                return None
            regex, at = found
            out.append(regex)
        elif char == b"\\":
            if at + 1 == end:
                return None
            out.append(re.escape(pattern[at + 1 : at + 2]))
            at += 2
        else:
            out.append(re.escape(char))
            at += 1
    return b"".join(out)


_CLASSES = {
    b"alnum": rb"[A-Za-z0-9]",
    b"alpha": rb"[A-Za-z]",
    b"blank": rb"[ \t]",
    b"cntrl": rb"[\x00-\x1f\x7f]",
    b"digit": rb"[0-9]",
    b"graph": rb"[!-~]",
    b"lower": rb"[a-z]",
    b"print": rb"[ -~]",
    b"punct": rb"[!-/:-@\[-`{-~]",
    b"space": rb"[ \t-\r]",
    b"upper": rb"[A-Z]",
    b"xdigit": rb"[0-9A-Fa-f]",
}


def _bracket(pattern: bytes, at: int) -> tuple[bytes, int] | None:
    """The expression for what stands between brackets, and where it ends; None if it does not."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    before: int | None = None  # the character that a range may begin with
    first = True
    while first or pattern[at : at + 1] != b"]":
        first = False
        if at >= len(pattern):
            return None
        char: int | None = pattern[at]
        if pattern[at] == 0x5C:  # backslash
            at += 1
            if at >= len(pattern):
                return None
            char = pattern[at]
            members.add(pattern[at])
        elif pattern[at] == 0x2D and before and pattern[at + 1 : at + 2] not in (b"", b"]"):
            at += 1
            if pattern[at] == 0x5C:
                at += 1
                if at >= len(pattern):
                    return None
            members.update(range(before, pattern[at] + 1))
            char = None
        elif pattern[at : at + 2] == b"[:":
            close = pattern.find(b"]", at + 2)
            if close < 0:
                return None
            name = pattern[at + 2 : close]
            if not name.endswith(b":"):
                members.add(0x5B)
            elif name[:-1] not in _CLASSES:
                return None
            else:
                known = re.compile(_CLASSES[name[:-1]])
                members.update(code for code in range(256) if known.match(bytes([code])))
                at, char = close, None
        else:
            members.add(pattern[at])
        before = char
        at += 1
    chosen = set(range(256)) - members if negated else members
    chosen.discard(0x2F)
    if not chosen:
        return None
    return b"[" + b"".join(b"\\x%02x" % code for code in sorted(chosen)) + b"]", at + 1
