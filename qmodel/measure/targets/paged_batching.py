"""The one module that touches transformers' continuous batching: its manager, run one iteration at a time.

`ContinuousBatchingManager` keeps a paged KV cache and runs, in each iteration, the tokens of many requests as one
batch. A scheduler class of ours, registered in its `SCHEDULER_MAPPING`, asks a `Chooser` who goes next and leaves
everything else (budgets, blocks, states) to the library's own code. The generation loop is that of the manager,
without its thread: who calls `iterate` decides when an iteration begins, and sees its error.

The surface is not a public one; it was read in transformers 5.23 and is the same since 5.16 (`LIBRARY`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from qmodel.errors import InputError, MissingExtra

LIBRARY = ">=5.16,<6"
NAME = "qmodel"
"""Our entry in the library's mapping of schedulers."""
SPARE = 0.05
"""Share of the KV blocks that is kept free of what nobody uses, where blocks are shared."""


class Chooser(Protocol):
    """Says who takes part in the next iteration; requests are named by their ids."""

    def choose(self, budget: int) -> Sequence[str]:
        """Ids in the order in which they may take tokens from the budget."""

    def took(self, computed: Sequence[str]) -> dict[str, int]:
        """These are computed now; returns new limits of output tokens for requests among them that have one."""

    def found(self, request_id: str, tokens: int) -> None:
        """So many tokens of this request's prompt were in the cache, computed for another."""

    def displaced(self) -> Sequence[str]:
        """Requests that are to give their KV cache up before the next iteration."""

    def spare(self) -> str | None:
        """A request that is not computed and holds memory which others lack, if there is one."""

    def evicted(self, request_id: str) -> None:
        """The KV cache of this request was dropped for want of memory; it must be chosen again."""


class PagedBatching:
    """A language model behind the library's manager, with room for so much.

    `max_batch` requests and `max_batched_tokens` tokens an iteration; `blocks` KV blocks of `block_tokens` tokens.
    `shares`: a block is found again by the tokens that led to it, by whoever begins with them; while less than
    `SPARE` of the memory is free, the library forgets the blocks that nobody uses.
    Raises MissingExtra without transformers, InputError for a version that this module does not know.
    """

    def __init__(
        self,
        model: Any,
        chooser: Chooser,
        *,
        max_batch: int,
        max_batched_tokens: int,
        blocks: int,
        block_tokens: int,
        shares: bool = False,
    ) -> None:
        library = _library()
        library.mapping[NAME] = scheduler_class()
        self._manager = model.init_continuous_batching(
            generation_config=library.generation(do_sample=False, eos_token_id=-1, pad_token_id=0),
            continuous_batching_config=library.config(
                page_size=block_tokens,
                num_blocks=blocks,
                max_batch_tokens=max_batched_tokens,
                max_requests_per_batch=max_batch,
                scheduler_type=NAME,
                safety_margin=SPARE if shares else 0.0,
                allow_block_sharing=shares,
                use_async_batching=False,
                use_cuda_graph=False,
                auto_switch_to_flash=False,
            ),
        )
        self._model = model
        self._processor = self._manager._create_batch_processor()
        self._manager.batch_processor = self._processor
        self._scheduler = self._processor.scheduler
        self.chooser = chooser

    @property
    def chooser(self) -> Chooser:
        """Who says who goes next."""
        found: Chooser = self._scheduler.chooser
        return found

    @chooser.setter
    def chooser(self, chooser: Chooser) -> None:
        self._scheduler.chooser = chooser

    def add(self, request_id: str, prompt: Sequence[int], output_tokens: int) -> None:
        """A request; it makes `output_tokens` tokens whatever they say."""
        self._manager.add_request(prompt, request_id=request_id, max_new_tokens=output_tokens)

    def cancel(self, request_id: str) -> None:
        """Drop a request before the next iteration."""
        self._manager.cancel_request(request_id)

    def pause(self, request_id: str, kv: str) -> None:
        """This request is not chosen until it is extended; its KV cache stays, is given up ("discard"), or moves
        to the host ("swap").

        It must have been added with the output tokens of all its services.
        """
        if kv == "discard":
            self._scheduler.give_up(request_id)
        elif kv == "swap":
            self._scheduler.swap_out(request_id)

    def extend(self, request_id: str, tokens: Sequence[int]) -> None:
        """A request that paused has more to read after what it said."""
        self._scheduler.extend(request_id, tokens)

    @property
    def swap_s(self) -> float:
        """Seconds in which KV caches were moved to the host and back."""
        return float(self._scheduler.swap_s)

    def iterate(self) -> list[tuple[str, int]]:
        """One iteration; returns who was computed, with tokens each. Empty: nobody could be.

        When it returns, the tokens of the iteration are on the host. Raises what the model raises; the requests of
        the iteration are dropped then.
        """
        self._scheduler.computed = []
        if not self._processor.prepare_next_batch():
            return []
        try:
            self._processor._generation_step(self._model)
            self._processor.update_batch()
        except Exception as error:
            with suppress(Exception):
                self._processor.handle_batch_error(error)
            raise
        self._manager.output_router.output_queue.queue.clear()
        computed: list[tuple[str, int]] = self._scheduler.computed
        return computed

    def left(self, request_id: str) -> bool:
        """Whether a request is done or was dropped."""
        return request_id not in self._scheduler.states

    def tokens(self, request_id: str) -> list[int]:
        """What a request that is under way has said so far."""
        return list(self._scheduler.get_active_request_static_outputs(request_id))

    @property
    def memory_used(self) -> float:
        """Share of the KV cache that requests hold."""
        return 1.0 - float(self._processor.cache.compute_free_capacity())

    def close(self) -> None:
        """Give the cache's memory back; the model stays."""
        self._processor = self._manager.batch_processor = self._scheduler = None
        self._manager.destroy()


def scheduler_class() -> type:
    """The library's scheduler with the order of candidates that a `Chooser` gives.

    The library's queue of waiting requests is not used: who waits stands in the chooser's own.
    """
    library = _library()

    class ChosenOrder(library.scheduler):  # type: ignore[name-defined]
        """Asks the chooser for candidates; the library's own code fills the batch with them."""

        chooser: Chooser

        def __init__(self, cache: Any, safety_margin: float, max_requests_per_batch: int) -> None:
            super().__init__(cache, safety_margin or 0.0, max_requests_per_batch)
            self.states: dict[str, Any] = {}
            self.computed: list[tuple[str, int]] = []
            self.swapped: dict[str, dict[str, Any]] = {}
            self.swap_s = 0.0

        def add_waiting_request(self, state: Any) -> None:
            """A new request, or one thrown out of memory: the library starts it anew after what it said."""
            self.waiting_requests[state.request_id] = self.states[state.request_id] = state
            if state._true_initial_tokens:
                self.chooser.evicted(state.request_id)

        def schedule_batch(self, token_budget: int, cache_budget: int) -> tuple[list[Any] | None, bool, int, int]:
            states = self.states
            candidates = [states[each] for each in self._chosen(token_budget)]
            if self.block_new_requests:  # somebody was thrown out: nobody new until somebody leaves
                active = [each for each in candidates if each.request_id in self.active_requests]
                candidates = active or candidates  # all others may be away
            ignored: set[str] = set()
            batch, starved, fast, queries, read = self._process_candidates(
                candidates, token_budget, cache_budget, ignored
            )
            self._swap_in(batch)
            self.computed = [(each.state.request_id, each.query_length) for each in batch]
            for request_id, tokens in self.chooser.took([name for name, _ in self.computed]).items():
                states[request_id].max_new_tokens = states[request_id]._new_tokens_limit = tokens
            if not starved or batch:
                return batch, fast, queries, read
            if (spare := self.chooser.spare()) is None:
                return None, fast, 0, 0
            self.chooser.evicted(spare)
            self._drop(spare)
            return self.schedule_batch(token_budget, cache_budget)

        def _chosen(self, token_budget: int) -> Sequence[str]:
            """Who may take part; those displaced for it lose their caches first."""
            chosen = self.chooser.choose(token_budget)
            for request_id in self.chooser.displaced():
                self._drop(request_id)
            return chosen

        def _drop(self, request_id: str) -> None:
            """Give this request's blocks back; it starts anew after what it said, as the library does it."""
            state = self.states[request_id]
            if request_id not in self.active_requests:
                return
            anew = state.create_equivalent_initial_request()
            self.finish_request(request_id)
            self.waiting_requests[request_id] = self.states[request_id] = anew

        def give_up(self, request_id: str) -> None:
            """A request that pauses gives its blocks back, for whoever was kept out."""
            self._drop(request_id)
            self.block_new_requests = False

        def swap_out(self, request_id: str) -> None:
            """Copy a request's blocks to the host and give them back; it comes back as one that waits."""
            begin = time.monotonic()
            state = self.states[request_id]
            anew = state.create_equivalent_initial_request()
            anew.position_offset = state.position_offset
            self.swapped[request_id] = {
                name: each._copy_view.index_select(0, _indices(each, request_id)).to("cpu")
                for name, each in self.cache.cache_allocators.items()
            }
            self.cache.free_blocks(request_id)
            self.active_requests.pop(request_id)
            anew.is_cpu_offloaded = True  # the library then looks for no beginning of it
            self.waiting_requests[request_id] = self.states[request_id] = anew
            self.block_new_requests = False
            self.swap_s += time.monotonic() - begin

        def _swap_in(self, batch: Sequence[Any]) -> None:
            """Copy the blocks of those in the batch back that are on the host, where the library gave them room."""
            for each in batch:
                if (held := self.swapped.pop(each.state.request_id, None)) is None:
                    continue
                begin = time.monotonic()
                for name, blocks in held.items():
                    allocator = self.cache.cache_allocators[name]
                    places = _indices(allocator, each.state.request_id)[: len(blocks)]
                    allocator._copy_view.index_copy_(0, places, blocks.to(places.device))
                    if self.cache.use_prefix_sharing:  # fresh blocks, to be named again
                        whole = each.state.position_offset // allocator.tokens_per_page
                        each.complete_blocks[name] = each.complete_blocks.get(name, 0) + whole
                each.state.is_cpu_offloaded = False
                self.swap_s += time.monotonic() - begin

        def extend(self, request_id: str, tokens: Sequence[int]) -> None:
            """More to read: what was said becomes part of the prompt, of which the cache holds the beginning."""
            state = self.states[request_id]
            if active := request_id in self.active_requests:
                kept, state = state.position_offset, state.create_equivalent_initial_request()
                state.position_offset = kept
            state.initial_tokens = [*state.initial_tokens, *tokens]
            state.remaining_prefill_tokens = state.initial_tokens[state.position_offset :]
            if active:
                state.status = library.reading
            where = self.active_requests if active else self.waiting_requests
            where[request_id] = self.states[request_id] = state

        def _infer_request_tokens(self, state: Any, ignored: set[str]) -> list[int]:
            """The library looks for the beginning of a new request among its blocks."""
            before = state.position_offset
            tokens: list[int] = super()._infer_request_tokens(state, ignored)
            if state.position_offset > before:
                self.chooser.found(state.request_id, state.position_offset - before)
            return tokens

        def finish_request(self, request_id: str) -> None:
            """Done, failed, or out of memory; the latter comes back as a waiting request."""
            super().finish_request(request_id)
            self.states.pop(request_id, None)
            self.swapped.pop(request_id, None)

        def clear_cancelled_requests(self) -> list[Any]:
            """Drop those cancelled."""
            cancelled: list[Any] = super().clear_cancelled_requests()
            for state in cancelled:
                self.states.pop(state.request_id, None)
                self.swapped.pop(state.request_id, None)
            return cancelled

    return ChosenOrder


def _indices(allocator: Any, request_id: str) -> Any:
    """Blocks of a request, as an index into the cache."""
    import torch

    return torch.as_tensor(allocator.block_table[request_id], dtype=torch.long, device=allocator._copy_view.device)


class _Library:
    """What is used of transformers."""

    def __init__(self) -> None:
        try:
            from transformers import GenerationConfig, __version__
            from transformers.generation.configuration_utils import ContinuousBatchingConfig
            from transformers.generation.continuous_batching.requests import RequestStatus
            from transformers.generation.continuous_batching.scheduler import SCHEDULER_MAPPING, Scheduler
        except ImportError as error:
            if getattr(error, "name", "") == "transformers":
                raise MissingExtra("transformers", "torch") from error
            fault = f"has no continuous batching that is known here ({error})"
            raise InputError("transformers", fault, f"install transformers{LIBRARY}") from error
        check_version(__version__)
        self.generation, self.config = GenerationConfig, ContinuousBatchingConfig
        self.mapping, self.scheduler, self.reading = SCHEDULER_MAPPING, Scheduler, RequestStatus.PREFILLING


def _library() -> _Library:
    return _Library()


def check_version(version: str) -> None:
    """Raise InputError unless the library is one whose surface is known here.

    >>> check_version("5.23.0")
    """
    parts = version.split(".")
    major, minor = int(parts[0]), int(parts[1])
    if major != 5 or minor < 16:
        raise InputError("transformers", f"{version} is not known here", f"install transformers{LIBRARY}")
