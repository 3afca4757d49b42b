"""`mammo-aln` command lines inside shell code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

OPERATORS = set("();<>|&")
INLINE = re.compile(r"`(mammo-aln [^`]+)`")


def command_lines(code: str) -> Iterator[list[str]]:
    """Words behind each `mammo-aln` (or `python -m mammo_aln`), up to the next operator of the shell."""
    for line in code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.wordchars += "[]{}$=:,%@!+*"
        words = list(lexer)
        for start, word in enumerate(words):
            if word == "mammo-aln" or (word == "mammo_aln" and words[start - 1] == "-m"):
                command: list[str] = []
                for following in words[start + 1 :]:
                    if set(following) <= OPERATORS:
                        break
                    command.append(re.sub(r"\$\{?\w+\}?", "0", following))
                yield command


def inline_commands(text: str) -> Iterator[list[str]]:
    """Words of each `mammo-aln ...` with options that stands within a sentence."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    for hit in INLINE.finditer(prose):
        command = " ".join(hit[1].split())
        if " --" in command and "..." not in command:
            yield from command_lines(command)
