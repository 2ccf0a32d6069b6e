"""Prompts of a wanted number of tokens: random common words.

No two prompts are alike, in a run or in another with the same seed, so that no prefix cache helps.

How many words make how many tokens depends on the server's tokenizer (and, in a chat, on its template). A server
with `/tokenize` is asked about two prompts; another is sent two small requests, and what it says it counted
(`usage`) is read; tokens are taken as linear in words. Where neither is told a word counts as a token, which is
true of common English words in the vocabularies of today's models to within a few per cent. What a server counted
goes into the log.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WORDS = (
    "the of and to in is was for on that with as it be are this from or by an have not you which at one "
    "had but all they were their we can more if about when what up out so some them time into only other "
    "two than its over also new first may like these any my now such our even most me after years many "
    "where well through back much before go good how down long should people day still work life own "
    "world year last never under while here place both"
).split()
CALIBRATION = (8, 136)
"""Words of the two prompts whose tokens are asked for."""


@dataclass(frozen=True)
class WordCount:
    """Tokens = overhead + ratio * words; `known` says whether the server's tokenizer told so.

    >>> WordCount(4.0, 1.25, True).words_for(104)
    80
    """

    overhead: float = 0.0
    ratio: float = 1.0
    known: bool = False

    def words_for(self, tokens: int) -> int:
        """Words of a prompt of so many tokens, at least one."""
        return max(1, round((tokens - self.overhead) / self.ratio))


def calibrated(counts: tuple[int, int]) -> WordCount:
    """From the tokens that prompts of `CALIBRATION` words have.

    >>> calibrated((9, 137))
    WordCount(overhead=1.0, ratio=1.0, known=True)
    """
    few, many = CALIBRATION
    ratio = (counts[1] - counts[0]) / (many - few)
    return WordCount(counts[0] - few * ratio, ratio, True) if ratio > 0 else WordCount()


def text(words: int, rng: np.random.Generator) -> str:
    """So many random words.

    >>> len(text(5, np.random.default_rng(1)).split())
    5
    """
    return " ".join(WORDS[i] for i in rng.integers(len(WORDS), size=words))
