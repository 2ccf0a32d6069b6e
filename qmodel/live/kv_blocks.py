"""KV blocks one by one: who has which, and what the free ones still hold (prefix caching, as in vLLM's V1)."""

from __future__ import annotations

from collections import OrderedDict


class KVBlocks:
    """So many blocks; the free ones are a queue, in the order in which they are taken.

    Full blocks join its end when they are given back, those of the end of the context first; others its head. What
    a block holds is named by the number of its request and its place in the context, and lost when it is taken.

    >>> memory = KVBlocks(4)
    >>> held = memory.take(3)
    >>> memory.give_back(7, held, full=2)
    >>> len(memory.found(7)), memory.used
    (2, 0)
    >>> _ = memory.take(3)
    >>> len(memory.found(7))
    1
    """

    def __init__(self, count: int, caching: bool = True) -> None:
        self.count, self._caching = count, caching
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(count))
        self._holds: dict[int, tuple[int, int]] = {}
        self._where: dict[tuple[int, int], int] = {}

    @property
    def used(self) -> int:
        """Blocks that somebody holds."""
        return self.count - len(self._free)

    def take(self, blocks: int) -> list[int]:
        """So many from the head of the queue."""
        taken = [self._free.popitem(last=False)[0] for _ in range(blocks)]
        for block in taken:
            held = self._holds.pop(block, None)
            if held is not None:
                del self._where[held]
        return taken

    def give_back(self, number: int, held: list[int], full: int) -> None:
        """The blocks of this request are free; the first `full` of them hold its context."""
        for place, block in enumerate(held[:full] if self._caching else []):
            self._holds[block], self._where[number, place] = (number, place), block
        for block in reversed(held[:full]):
            self._free[block] = None
        for block in reversed(held[full:]):
            self._free[block] = None
            self._free.move_to_end(block, last=False)

    def found(self, number: int) -> list[int]:
        """The first free blocks that still hold this request's context."""
        again: list[int] = []
        while (number, len(again)) in self._where:
            again.append(self._where[number, len(again)])
        return again

    def take_again(self, number: int) -> list[int]:
        """What is found is the request's own once more."""
        again = self.found(number)
        for place, block in enumerate(again):
            del self._free[block], self._holds[block], self._where[number, place]
        return again
