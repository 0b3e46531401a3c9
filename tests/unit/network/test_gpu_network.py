"""The whole network on the GPU kernels: forward, backward, precision, and who takes which path."""

import copy
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.network import kernels, operators
from atdsr.network.backend import select_backend
from atdsr.network.config import ATDConfig, LayerConfig
from atdsr.network.fused_gpu import GPUBackend
from atdsr.network.kernels import gpu
from atdsr.network.model import ATD, Layer
from atdsr.training.config import OptimizerConfig, Precision
from atdsr.training.step import StepConfig, TrainStep, build_optimizers
from helpers.gpu_tests import DEVICE, difference
from helpers.networks import TINY, lively

pytestmark = pytest.mark.slow

# windows small enough for an interpreter, and a last run that is short
CONFIG = replace(TINY, window=4, depths=(2,), heads=(2,), category_size=20, dictionary_size=6)
STATIC = replace(CONFIG, code_width=3, ffn_ratio=1.5)


@pytest.fixture(autouse=True)
def _kernels_run() -> Iterator[None]:
    torch.manual_seed(0)
    with gpu.interpreted():
        yield


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(2, 3, 8, 12, device=DEVICE)


@pytest.fixture
def picture() -> Tensor:
    return torch.rand(1, 3, 4, 8, device=DEVICE)


@pytest.fixture
def network() -> ATD:
    return lively(CONFIG).to(DEVICE)


def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the kernels that are launched from now on."""
    names: list[str] = []
    launch = gpu.launch

    def note(kernel, grid, *arguments, **how) -> None:
        names.append(kernel.__name__)
        launch(kernel, grid, *arguments, **how)

    monkeypatch.setattr(gpu, "launch", note)
    return names


def gradients(network: ATD, pictures: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The output, and the gradient of every parameter that is trained."""
    out = network(pictures)
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    grads = torch.autograd.grad(out.square().mean(), list(trained.values()))
    return out, dict(zip(trained, grads, strict=True))


@pytest.mark.parametrize("config", [CONFIG, STATIC], ids=["v1", "v2"])
def test_it_computes_what_the_plain_network_does(
    config: ATDConfig, pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, names = lively(config).to(DEVICE), launched(monkeypatch)
    with torch.no_grad():
        expected = copy.deepcopy(network).double()(pictures.double())
        assert difference(network(pictures), expected) <= 1e-5
    assert {"look_up", "_spread", "mix_kernel"} <= set(names)


def test_tokens_are_sorted_in_blocks(pictures: Tensor) -> None:
    network = lively(replace(CONFIG, category_block=5)).to(DEVICE)
    with torch.no_grad():
        expected = copy.deepcopy(network).double()(pictures.double())
        assert difference(network(pictures), expected) <= 1e-5


@pytest.mark.parametrize("config", [CONFIG, STATIC], ids=["v1", "v2"])
def test_every_parameter_gets_its_gradient(config: ATDConfig) -> None:
    network = lively(config).to(DEVICE)
    pictures = torch.rand(2, 3, 4, 8, device=DEVICE)
    out, found = gradients(network, pictures)
    _, expected = gradients(copy.deepcopy(network).double(), pictures.double())
    assert out.requires_grad
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert difference(gradient, expected[name]) <= 1e-4, name


def test_recomputed_layers_give_the_same_gradients(network: ATD, picture: Tensor) -> None:
    again = ATD(CONFIG, activation_checkpointing=True).to(DEVICE)
    again.load_state_dict(network.state_dict())
    (_, one), (_, other) = (gradients(each, picture) for each in (network, again))
    for name, gradient in one.items():  # summed in another order
        assert difference(other[name], gradient) <= 1e-5, name


@pytest.mark.parametrize("shifted", [False, True])
def test_a_layer_of_an_atd_u(shifted: bool) -> None:
    """No map of it has a bias."""
    config = LayerConfig(
        width=12,
        heads=2,
        window=4,
        category_size=20,
        category_block=None,
        dictionary_size=6,
        reduced_width=4,
        ffn_kernel=3,
        hidden=31,
        code_width=3,
        bias=False,
    )
    layer = Layer(config, shifted=shifted, refines=False).to(DEVICE)
    exact = copy.deepcopy(layer).double()
    x, dictionary, upstream = (torch.randn(n, 4, 8, 12, device=DEVICE) for n in (2, 1, 2))
    dictionary = dictionary.flatten(1, 2)[:, :6]
    assert isinstance(select_backend(x, [layer]), GPUBackend)
    out, _ = layer(x, dictionary, GPUBackend())
    expected, _ = exact(x.double(), dictionary.double())
    assert difference(out, expected) <= 1e-5
    found = torch.autograd.grad(out, list(layer.parameters()), upstream)
    sought = torch.autograd.grad(expected, list(exact.parameters()), upstream.double())
    for gradient, of_plain in zip(found, sought, strict=True):
        assert difference(gradient, of_plain) <= 1e-4


@pytest.mark.parametrize("config", [CONFIG, STATIC], ids=["v1", "v2"])
def test_bf16_is_as_near_as_the_plain_path_in_bf16(config: ATDConfig, pictures: Tensor) -> None:
    network = lively(config).to(DEVICE)
    expected = copy.deepcopy(network).double()(pictures.double())
    with torch.autocast(DEVICE, torch.bfloat16):
        fused = network(pictures)
        with kernels.plain():
            plain = network(pictures)
    errors = [(out.double() - expected).square().mean().sqrt() for out in (fused, plain)]
    assert 0 < errors[0] <= 1.5 * errors[1]


def test_tokens_stay_in_float32_under_autocast(network: ATD, picture: Tensor) -> None:
    seen: list[torch.dtype] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: seen.append(out[0].dtype))
        for layer in network.layers
    ]
    with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16):
        network(picture)
        with kernels.plain():
            network(picture)
    for hook in hooks:
        hook.remove()
    assert set(seen) == {torch.float32}


def test_compiled_it_still_runs_the_kernels(
    network: ATD, picture: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.no_grad():
        expected = network(picture)
        names = launched(monkeypatch)
        out = torch.compile(network, backend="aot_eager")(picture)
    assert torch.equal(out, expected)
    assert names


@pytest.mark.parametrize("kind", ["float64", "float16", "autocast to float16", "plain"])
def test_what_the_kernels_do_not_take(
    kind: str, network: ATD, pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpu.supports(pictures)
    names = launched(monkeypatch)
    if kind == "float64":
        assert not gpu.supports(pictures.double())
        network.double()(pictures.double())
    elif kind == "float16":
        assert not gpu.supports(pictures.half())
    elif kind == "plain":
        with kernels.plain():
            network(pictures)
    else:
        with torch.autocast(DEVICE, torch.float16):
            assert not gpu.supports(pictures)
    assert set(names) <= {"_count", "_place"}  # categories are sorted whatever the tokens are


def test_a_picture_of_one_token_in_a_window_of_two() -> None:
    config = replace(CONFIG, window=2)
    network = lively(config).to(DEVICE)
    picture = torch.rand(1, 3, 1, 1, device=DEVICE)
    with torch.no_grad():
        expected = copy.deepcopy(network).double()(picture.double())
        assert difference(network(picture), expected) <= 1e-5


def test_tokens_are_sorted_by_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    names = launched(monkeypatch)
    categories = torch.randint(0, 9, (2, 50), device=DEVICE)
    order = operators.sort_by_category(categories, 9)
    assert torch.equal(order.long(), categories.sort(dim=1, stable=True).indices)
    assert names


# -------------------------------------------------------------------------------------- training


def trained(network: ATD, precision: Precision, steps: int, *, graph: bool) -> list[Tensor]:
    """The parameters and their average after steps on fixed crops."""
    model = copy.deepcopy(network)
    average = copy.deepcopy(model).requires_grad_(False)
    how = StepConfig(F.l1_loss, precision=precision, clip=1.0, cuda_graph=graph)
    stepper = TrainStep(
        model, average, build_optimizers(model, OptimizerConfig(name="muon", lr=1e-3)), how
    )
    generator = torch.Generator().manual_seed(0)
    for step in range(1, steps + 1):
        lr, hr = (
            torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8, generator=generator)
            for side in (4, 8)
        )
        stepper(lr.to(DEVICE), hr.to(DEVICE), 1, 1e-3 / step)
    assert stepper.stats().skipped == 0
    return [p.detach().cpu() for each in (model, average) for p in each.parameters()]


def test_two_runs_have_the_same_bits(network: ATD) -> None:
    one, other = (trained(network, "bf16", 1, graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="no CUDA device")
def test_a_recorded_step_is_the_step(network: ATD) -> None:
    one, other = (trained(network, "bf16", 8, graph=graph) for graph in (True, False))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="no CUDA device")
def test_a_step_does_not_wait_for_the_gpu(network: ATD) -> None:
    model = copy.deepcopy(network)
    average = copy.deepcopy(model).requires_grad_(False)
    how = StepConfig(F.l1_loss, precision="bf16", clip=1.0, cuda_graph=False)
    stepper = TrainStep(
        model, average, build_optimizers(model, OptimizerConfig(name="muon", lr=1e-3)), how
    )
    lr = torch.zeros(1, 3, 8, 8, dtype=torch.uint8, device=DEVICE)
    hr = torch.zeros(1, 3, 16, 16, dtype=torch.uint8, device=DEVICE)
    stepper(lr, hr, 1, 1e-3)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        stepper(lr, hr, 1, 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
