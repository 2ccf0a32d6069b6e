"""Target "openai-server": iterations of a continuous-batching server, timed from outside by gaps of its streams.

Every running request of such a server gets a token in each iteration, so the time between two tokens of a stream is
the time of an iteration, with all that the server does between two of them. A burst of requests is sent, and the
gaps are kept in which all of them were decoding. What comes before the first iteration (the connection, the words
made tokens) is no part of them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError, MissingExtra
from qmodel.measure.failure import TrialFailed
from qmodel.measure.targets.base import Levels, Trial
from qmodel.measure.targets.device import cpu_name
from qmodel.measure.targets.levels import check_factors, whole

if TYPE_CHECKING:
    import aiohttp
    from numpy.typing import NDArray

    from qmodel.openai_client.sending import Outcome
    from qmodel.openai_client.server import Server

    Floats = NDArray[np.float64]

GROWTH = 32
"""Tokens that each stream of a burst makes: contexts are centred on their level."""
CLASS = "profile"
BURSTS = 3
"""So many bursts may pass without an iteration in which all streams decode."""
PIECE = 0.1
"""Tokens closer than this share of the median gap, or than `PIECE_S` seconds, came in one piece."""
PIECE_S = 5e-5
SHARE_OF_GAP = 0.5
"""A prompt's token belongs to the iteration whose end is no further from it than this share of the iteration."""


class OpenAIServer:
    """Target "openai-server": any server of the OpenAI protocol that batches continuously (vLLM, SGLang, ...).

    Phase "decode": `batch_size` requests decode, each with `context_tokens` in its KV cache. Phase "mixed": beside
    `batch_size` such requests, one prompt of `prefill_tokens` is read whole.

    Options: `url`; `model` (default: the first that the server lists); `vllm` (its field `ignore_eos` may be
    used); `max_batch` and `max_batched_tokens`, those of the server; `device`, the name of its hardware (default:
    this machine's); `timeout_s` of a request. Raises MissingExtra without aiohttp and InputError where nobody
    answers.
    """

    name = "openai-server"
    phases = ("decode", "mixed")
    factors: Mapping[str, tuple[str, ...]] = {
        "decode": ("batch_size", "context_tokens"),
        "mixed": ("batch_size", "context_tokens", "prefill_tokens"),
    }

    def __init__(
        self,
        threads: int = 1,
        *,
        url: str = "",
        model: str | None = None,
        vllm: bool = False,
        max_batch: int = 256,
        max_batched_tokens: int = 2048,
        device: str | None = None,
        timeout_s: float = 120.0,
        api_key: str | None = None,
    ) -> None:
        if not url:
            raise InputError("target openai-server", "has no url", "e.g. url = 'http://127.0.0.1:8000'")
        try:
            from qmodel.openai_client.server import Target
        except ModuleNotFoundError as error:
            raise MissingExtra(str(error.name), "live") from error
        self.device = device or cpu_name()
        self._max_batch, self._max_batched_tokens = max_batch, max_batched_tokens
        self.target = Target(url, model, None, api_key, vllm, timeout_s)
        self._server: Server | None = None
        self._rng = np.random.default_rng()

    def prepare(self, phase: str, levels: Levels) -> Trial:
        """The call that gives the seconds of one more iteration of this cell."""
        check_factors(phase, levels, self.factors)
        batch_size = whole(levels, "batch_size", 1, 1, self._max_batch - 1)
        context = whole(levels, "context_tokens", 64, GROWTH)
        prefill = whole(levels, "prefill_tokens", 16, 1, self._max_batched_tokens - batch_size)
        gaps: list[float] = []

        def trial() -> float:
            for _ in range(BURSTS):
                if gaps:
                    return gaps.pop()
                gaps.extend(asyncio.run(self._burst(batch_size, context, prefill if phase == "mixed" else 0)))
            raise TrialFailed("no iteration was seen in which all streams decoded")

        return trial

    def peak_memory_bytes(self) -> int | None:
        """Not told by the server."""
        return None

    def versions(self) -> dict[str, str]:
        """What the server calls itself."""
        return {"server": self._server.software} if self._server and self._server.software else {}

    def close(self) -> None:
        """Nothing is held: every burst has connections of its own."""

    async def _burst(self, batch_size: int, context: int, prefill: int) -> list[float]:
        """Seconds of iterations in which all streams were decoding. Raises TrialFailed for a failed request."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(limit=0)
        headers = self.target.headers
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
            server = await self._found(session)
            body = [self._body(server, context - GROWTH // 2, GROWTH) for _ in range(batch_size)]
            streams = [asyncio.create_task(self._sent(session, server, each, GROWTH)) for each in body]
            prompts = await self._beside(session, server, streams, prefill) if prefill else []
            outcomes = await asyncio.gather(*streams)
        for outcome in outcomes:
            if outcome.failure:
                raise TrialFailed(outcome.failure)
        ends = together([outcome.token_times for outcome in outcomes])
        gaps = whole_gaps(ends)
        if prefill:
            gaps = gaps[with_prompts([each.token_times[0] for each in prompts if not each.failure], ends)]
        return [float(each) for each in gaps[np.isfinite(gaps)][::-1]]

    async def _found(self, session: aiohttp.ClientSession) -> Server:
        """The server, asked once."""
        from qmodel.openai_client.server import find

        if self._server is None:
            self._server = await find(session, self.target, [CLASS])
        return self._server

    def _body(self, server: Server, tokens: int, output_tokens: int) -> bytes:
        from qmodel.openai_client import prompts

        words = server.words.words_for(tokens)
        return server.body(CLASS, prompts.text(words, self._rng), output_tokens, 0)

    async def _sent(self, session: aiohttp.ClientSession, server: Server, body: bytes, wanted: int) -> Outcome:
        from qmodel.openai_client.sending import send

        return await send(session, server.url, body, wanted, self.target.timeout_s)

    async def _beside(
        self, session: aiohttp.ClientSession, server: Server, streams: Sequence[asyncio.Task[Any]], prefill: int
    ) -> list[Outcome]:
        """Prompts of one output token, one after another for as long as the streams go on.

        That token may be no text (a special one), which a stream does not show: such prompts are left out.
        """
        found = []
        while not any(stream.done() for stream in streams):
            found.append(await self._sent(session, server, self._body(server, prefill, 1), 1))
            await asyncio.sleep(0)
        return found


def together(streams: Sequence[Sequence[float]]) -> Floats:
    """Ends of the iterations between the last stream's first token and the first stream's last one.

    `streams` holds the token times of each (s). They are told by the stream that began last; one that was
    delivered in lumps, several tokens at once, tells fewer tokens than others in the same time and gives way to
    them.

    >>> together([[1.0, 2.0, 3.0, 4.0], [2.1, 3.1, 4.1, 5.1]])
    array([2.1, 3.1])
    """
    begin = max(times[0] for times in streams)
    end = min(times[-1] for times in streams)
    within = [np.array([t for t in times if begin <= t <= end]) for times in streams]
    last = next(i for i, times in enumerate(streams) if times[0] == begin)
    return max([within[last], *within], key=len)


def whole_gaps(ends: Floats) -> Floats:
    """Lengths of iterations (s); NaN where tokens of several came in one piece, and for the long gap before it.

    >>> whole_gaps(np.array([1.0, 2.0, 4.0, 4.0, 5.0, 6.0]))
    array([ 1., nan, nan,  1.,  1.])
    """
    gaps = np.diff(ends)
    if gaps.size:
        piece = gaps <= max(PIECE * np.median(gaps), PIECE_S)
        gaps[piece | np.append(piece[1:], False)] = math.nan
    return gaps


def with_prompts(prompt_times: Sequence[float], ends: Floats) -> list[int]:
    """Which iterations ended with a prompt's token, of all that ended at `ends` (s); the first has index 0.

    >>> with_prompts([3.05], np.array([1.0, 2.0, 3.0, 3.5]))
    [1]
    """
    gaps, chosen = np.diff(ends), set()
    for at in prompt_times if gaps.size else ():
        nearest = int(np.argmin(np.abs(ends[1:] - at)))
        if abs(ends[1:][nearest] - at) <= SHARE_OF_GAP * gaps[nearest]:
            chosen.add(nearest)
    return sorted(chosen)
