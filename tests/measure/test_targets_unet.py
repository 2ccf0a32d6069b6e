"""The U-Net: its shape rules, that rows and conditions act as they should, and that ONNX says the same."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest

from qmodel.errors import InputError

torch = pytest.importorskip("torch")
unet = pytest.importorskip("qmodel.measure.targets.unet")
pytestmark = pytest.mark.torch
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def inputs(count, channels=1, size=8):
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn((count, channels, size, size), generator=generator)
    return sample, torch.arange(count) * 100 + 7, torch.arange(count) % 10


@torch.no_grad()
def test_default_network_is_the_digits_one():
    model = unet.UNet()
    assert sum(p.numel() for p in model.parameters()) == 635_553
    assert model(*inputs(3)).shape == (3, 1, 8, 8)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize(("channels", "blocks"), [((8,), 1), ((8, 16, 24), 2), ((64, 128), 1)])
@torch.no_grad()
def test_any_shape_gives_noise_of_the_samples_shape(channels, blocks, attention):
    model = unet.UNet(unet.UNetConfig(16, 3, channels, blocks, attention=attention)).eval()
    sample, timestep, label = inputs(2, channels=3, size=16)
    assert model(sample, timestep, label).shape == sample.shape


@torch.no_grad()
def test_rows_are_independent_and_every_input_matters():
    model = unet.UNet(unet.UNetConfig(channels=(8, 16), attention=True)).eval()
    sample, timestep, label = inputs(4)
    eps = model(sample, timestep, label)
    torch.testing.assert_close(model(sample[2:3], timestep[2:3], label[2:3]), eps[2:3], atol=1e-6, rtol=1e-5)
    for changed in ((sample + 1, timestep, label), (sample, timestep + 50, label), (sample, timestep, 9 - label)):
        assert (model(*changed) - eps).abs().amax(dim=(1, 2, 3)).min() > 1e-4


@torch.no_grad()
def test_time_embedding_is_sines_and_cosines():
    embedding = unet.TimeEmbedding(4, 8)
    waves = []
    embedding.first.register_forward_pre_hook(lambda module, arguments: waves.append(arguments[0]))
    embedding(torch.tensor([3]), torch.float32)
    expected = [np.sin(3), np.sin(0.03), np.cos(3), np.cos(0.03)]  # frequencies 1 and 10000^(-1/2)
    np.testing.assert_allclose(waves[0][0].numpy(), expected, rtol=1e-5)


@torch.no_grad()
def test_attention_equals_softmax_over_positions():
    layer = unet.Attention(8, groups=4)
    x = torch.randn(2, 8, 3, 3)
    query, key, value = (part.flatten(2).transpose(1, 2) for part in layer.qkv(layer.norm(x)).chunk(3, dim=1))
    mixed = torch.softmax(query @ key.transpose(1, 2) / np.sqrt(8), dim=-1) @ value
    expected = x + layer.out(mixed.transpose(1, 2).reshape(2, 8, 3, 3))
    torch.testing.assert_close(layer(x, None), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"image_size": 6, "channels": (8, 8, 8)}, "halved 2 times"),
        ({"channels": (8, 12)}, "multiple of groups"),
        ({"channels": ()}, "empty"),
        ({"channels": (0,)}, "multiple of groups"),
        ({"blocks": 0}, "blocks"),
    ],
)
def test_impossible_shapes_are_refused(options, word):
    with pytest.raises(InputError, match=word):
        unet.UNetConfig(**options)


def training_script():
    spec = importlib.util.spec_from_file_location("training", ROOT / "scripts/train_digits_diffusion.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def test_exported_network_equals_torch_at_any_batch_size(tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = unet.UNet(unet.UNetConfig(channels=(8, 16))).eval()
    path = tmp_path / "tiny.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        training_script().export(model, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 2, 7):
        batch = inputs(count)
        feeds = dict(zip(("sample", "timestep", "label"), (part.numpy() for part in batch), strict=True))
        (eps,) = session.run(["eps"], feeds)
        np.testing.assert_allclose(eps, model(*batch).numpy(), atol=2e-6)
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.onnx"]


@torch.no_grad()
def test_shipped_weights_in_torch_say_what_the_shipped_file_says():
    onnx = pytest.importorskip("onnx")
    from qmodel.measure.targets.digits import MODEL, DigitsDiffusion

    pytest.importorskip("onnxruntime")
    graph = onnx.load(MODEL).graph
    weights = {w.name: torch.from_numpy(onnx.numpy_helper.to_array(w).copy()) for w in graph.initializer}
    model = unet.UNet()
    # The exporter folds scale and shift of each norm into unnamed (c, 1, 1) constants, in the order they are used.
    norms = [name for name in model.state_dict() if "norm" in name]
    folded = [w.flatten() for w in weights.values() if w.ndim == 3]
    weights |= dict(zip(norms, folded, strict=True))
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    sample, timestep, label = inputs(5)
    (eps,) = DigitsDiffusion().session.run(
        ["eps"], {"sample": sample.numpy(), "timestep": timestep.numpy(), "label": label.numpy()}
    )
    np.testing.assert_allclose(eps, model(sample, timestep, label).numpy(), atol=5e-6)


def test_training_lowers_the_loss_and_is_reproducible():
    pytest.importorskip("sklearn")
    script = training_script()
    _, early = script.train(steps=3, seed=5, batch=32)
    model, late = script.train(steps=40, seed=5, batch=32)
    again, _ = script.train(steps=40, seed=5, batch=32)
    assert late < 0.8 * early
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
