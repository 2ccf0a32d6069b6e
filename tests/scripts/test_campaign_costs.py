"""What cells cost on paper, against counts made another way."""

import pytest
from campaign import stages
from campaign.costs import UNetSize, of_decoder, of_unet
from campaign.forecast import CAUTION, Forecast, roofline_s
from campaign.plan import Cell
from campaign.shapes import LLAMA_1B, LLAMA_8B, TINY, WORKSPACE_BYTES, Cost
from campaign.timing import H200, Ceilings

H200_BYTES = 143_771 * 2**20


def test_published_sizes():
    """Llama 3.2 1B and Llama 3.1 8B, as their model cards and weight files say."""
    assert LLAMA_1B.parameters == 1_235_814_400
    assert LLAMA_8B.parameters == 8_030_261_248


def test_a_decode_step_of_the_large_model_reads_its_weights_in_3_5_ms():
    """15.01 GB without the embedding, at 4.3 TB/s; 64 x 8192 tokens of context add 68.7 GB."""
    alone, full = LLAMA_8B.decode_cost(1, 128), LLAMA_8B.decode_cost(64, 8192)
    assert alone.moved_bytes == pytest.approx(15.0e9, rel=0.01)
    assert full.moved_bytes - alone.moved_bytes == pytest.approx(68.7e9, rel=0.001)
    assert alone.moved_bytes / H200.bytes_per_s == pytest.approx(3.5e-3, rel=0.01)


def test_cells_that_cannot_fit_in_an_h200_are_known_beforehand():
    """Keys and values of 2^20 tokens in the 8 B shape take 137 GB beside 16 GB of weights."""
    fits = {
        (name, *levels): cost.held_bytes < H200_BYTES
        for name, shape in {"1b": LLAMA_1B, "8b": LLAMA_8B}.items()
        for levels in [(64, 8192), (32, 32_768), (256, 16_384), (256, 32_768)]
        for cost in [shape.decode_cost(*levels)]
    }
    assert [key for key, fit in fits.items() if not fit] == [
        ("1b", 256, 32_768),
        ("8b", 32, 32_768),
        ("8b", 256, 16_384),
        ("8b", 256, 32_768),
    ]


def test_exit_layers_precision_and_graphs_change_the_cost():
    cost = of_decoder(LLAMA_1B)
    whole = cost(Cell("decode", {"batch_size": 1, "context_tokens": 512}))
    half = cost(Cell("decode", {"batch_size": 1, "context_tokens": 512, "exit_layer": 8}))
    wide = cost(Cell("decode", {"batch_size": 1, "context_tokens": 512, "precision": "float32"}))
    graph = cost(Cell("decode", {"batch_size": 1, "context_tokens": 512, "execution": "graph"}))
    head = 2 * LLAMA_1B.vocabulary * LLAMA_1B.hidden
    assert half.moved_bytes - head == pytest.approx((whole.moved_bytes - head) / 2)
    assert wide.moved_bytes == 2 * whole.moved_bytes
    assert graph.launches < whole.launches == 24 * 16
    assert wide.operations > 10 * whole.operations


@pytest.mark.torch
@pytest.mark.parametrize("layers", [1, 4])
def test_operations_of_a_prefill_are_those_that_torch_counts(layers):
    torch = pytest.importorskip("torch")
    from campaign.decoder import Decoder
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    model = Decoder(TINY, torch.device("cpu"), torch.float32, longest=64)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.prefill(model.tokens(3, 16), model.cache(3, 16), layers)
    cost = TINY.prefill_cost(3, 16, layers)
    attention = 2 * 3 * 16**2 * TINY.hidden * layers  # causal: torch counts the whole square
    norms = 2 * 3 * 16 * layers * 2 * TINY.hidden  # no products
    assert counter.get_total_flops() == cost.operations + attention - norms


@pytest.mark.torch
def test_memory_of_a_decoder_is_its_tensors():
    torch = pytest.importorskip("torch")
    from campaign.decoder import Decoder

    model = Decoder(TINY, torch.device("cpu"), torch.bfloat16, longest=64)
    parts = [model.embedding, model.norm, *(w for layer in model.layers for w in vars(layer).values())]
    cache = [part for pair in model.cache(2, 33) for part in pair]
    bytes_held = sum(part.numel() * part.element_size() for part in [*parts, *cache])
    logits = 2 * TINY.vocabulary * 4
    assert TINY.decode_cost(2, 32).held_bytes == bytes_held + logits + WORKSPACE_BYTES
    assert sum(part.numel() for part in parts) == TINY.parameters


def test_the_large_unet_is_of_a_realistic_size():
    size = UNetSize.of(**stages.LATENT_DIFFUSION)
    assert 4e8 < size.parameters < 9e8
    assert 3e11 < size.operations < 1.2e12
    cost = of_unet(stages.LATENT_DIFFUSION, "bfloat16")
    one, many = (cost(Cell("denoise", {"batch_size": b, "steps": n})) for b, n in ((1, 1), (4, 10)))
    assert many.operations == 40 * one.operations
    assert many.held_bytes < H200_BYTES


@pytest.mark.torch
@pytest.mark.parametrize(
    "size",
    [
        {},
        stages.TINY_UNET,
        {
            "image_size": 16,
            "in_channels": 3,
            "channels": (16, 24, 32),
            "blocks": 2,
            "classes": 5,
            "attention": True,
        },
    ],
)
def test_the_size_of_a_unet_is_what_torch_counts(size):
    torch = pytest.importorskip("torch")
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from qmodel.measure.targets.unet import UNet, UNetConfig

    config = UNetConfig(**size)
    network, counted = UNet(config), UNetSize.of(**size)
    assert counted.parameters == sum(weight.numel() for weight in network.parameters())
    sample = torch.zeros(1, config.in_channels, config.image_size, config.image_size)
    index = torch.zeros(1, dtype=torch.int64)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(sample, index, index)
    assert counter.get_total_flops() == counted.operations


def test_roofline_takes_the_slowest_of_arithmetic_memory_and_launching():
    ceilings = Ceilings(1e12, 1e9)
    assert roofline_s(Cost(7e11, 0, 0, 0), ceilings) == pytest.approx(1.0)
    assert roofline_s(Cost(7e11, 1.6e9, 0, 0), ceilings) == pytest.approx(2.0)
    assert roofline_s(Cost(0, 0, 0, 1000), ceilings) == pytest.approx(6e-3)


def test_a_forecast_learns_from_the_cell_and_from_its_phase():
    forecast = Forecast(Ceilings(1e12, 1e9), overhead_s=0.5)
    one, two = (Cell("decode", {"batch_size": b}) for b in (1, 2))
    cost = Cost(7e11, 0, 0, 0)
    assert forecast.call_s(one, cost) == pytest.approx(CAUTION)
    assert forecast.overhead_s == 0.5
    for seconds in (3.0, 2.0, 2.5):
        forecast.learn_call(one, cost, seconds)
    forecast.learn_overhead(0.1)
    assert forecast.call_s(one, cost) == 2.5
    assert forecast.call_s(two, cost) == pytest.approx(3.0 * CAUTION)
    assert forecast.call_s(Cell("prefill", {"batch_size": 1}), cost) == pytest.approx(CAUTION)
    assert forecast.overhead_s == 0.1
