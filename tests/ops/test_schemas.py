import pytest
import torch
from torch.nn.functional import embedding, linear

from dsformer import ops
from dsformer.format.form import Form
from dsformer.format.spec import FormSpec
from dsformer.format.support_codec import pack_support
from dsformer.ops import reference
from fixtures.forms import all_specs, label, random_form

SPECS = all_specs()
INPUT_SPECS = [spec for spec in SPECS if spec.orientation == "input"]


def tensor(*shape: int, seed: int = 5, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def linear_arguments(form: Form, x: torch.Tensor, bias: torch.Tensor | None) -> tuple:
    spec = form.spec
    dictionary = form.dictionary if spec.atoms else None
    weights = (dictionary, form.values, form.indices, bias, form.permutation)
    output = spec.orientation == "output"
    return (x, *weights, spec.core, spec.pattern.group, spec.canonical, output, spec.out_features)


def codes_arguments(form: Form, x: torch.Tensor, bias: torch.Tensor | None) -> tuple:
    spec = form.spec
    product = linear(x, form.dictionary).detach()
    z = x if spec.canonical else None
    return (product, z, form.values, form.indices, bias, form.permutation, spec.core, spec.pattern.group)


def embedding_arguments(form: Form, ids: torch.Tensor, padding_idx: int = -1) -> tuple:
    spec = form.spec
    dictionary = form.dictionary if spec.atoms else None
    code_of = None if form.permutation is None else form.permutation.argsort()
    settings = (spec.core, spec.pattern.group, spec.canonical, spec.width, padding_idx)
    return (ids, dictionary, form.values, form.indices, code_of, *settings)


def with_gradients(arguments: tuple) -> tuple:
    return tuple(
        a.detach().clone().requires_grad_() if isinstance(a, torch.Tensor) and a.is_floating_point() else a
        for a in arguments
    )


def cases(spec: FormSpec):
    form = random_form(spec, dtype=torch.float64)
    x, bias = tensor(2, 3, spec.in_features), tensor(spec.out_features)
    yield torch.ops.dsformer.dense_sparse_linear, linear_arguments(form, x, bias)
    yield torch.ops.dsformer.dense_sparse_linear, linear_arguments(form, x, None)
    if spec.orientation == "input":
        ids = torch.tensor([[0, 3, 3], [15, 2, 1]])
        yield torch.ops.dsformer.dense_sparse_embedding, embedding_arguments(form, ids)
        yield torch.ops.dsformer.dense_sparse_embedding, embedding_arguments(form, ids, 3)
        if spec.atoms:
            yield torch.ops.dsformer.dense_sparse_codes, codes_arguments(form, x, bias)


@pytest.fixture
def _gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes gathering pay even for the tiny layers of tests."""
    for name in ("BATCHED", "GATHER", "SCATTER", "MOVE"):
        monkeypatch.setattr(reference, name, 0)


@pytest.mark.usefixtures("_gathering")
@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.pattern.group > 1], ids=label)
def test_gathered(spec: FormSpec):
    for shape in ((), (0,), (1,), (300,), (2, 3, 4)):
        test_linear(spec, shape)
    test_gradients(spec)


@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_gradients(spec: FormSpec):
    for operator, arguments in cases(spec):
        if "embedding" in str(operator):
            arguments = (*arguments[:-1], -1)  # that of padding is not the derivative, but zero
        assert torch.autograd.gradcheck(operator, with_gradients(arguments), fast_mode=True)


@pytest.mark.parametrize("spec", [SPECS[i] for i in (11, 19, 27)], ids=label)
@pytest.mark.usefixtures("unchecked")
def test_operators_keep_their_promises(spec: FormSpec):
    for operator, arguments in cases(spec):
        torch.library.opcheck(operator.default, with_gradients(arguments))


@pytest.mark.usefixtures("unchecked")
def test_unpacking_keeps_its_promises():
    spec = FormSpec("input", 16, 12, atoms=8, nonzeros=3)
    form = random_form(spec)
    arguments = (pack_support(spec, form.indices), 16, 8, 3, 0, 0)
    torch.library.opcheck(torch.ops.dsformer.unpack_support.default, arguments)
    first = torch.ops.dsformer.unpack_support(*arguments)
    first.zero_()
    assert torch.equal(torch.ops.dsformer.unpack_support(*arguments).long(), form.indices)


@pytest.mark.parametrize("spec", SPECS, ids=label)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (1,), (300,), (2, 3, 4)], ids=str)
def test_linear(spec: FormSpec, shape: tuple[int, ...]):
    form = random_form(spec, dtype=torch.float64)
    x, bias = tensor(*shape, spec.in_features), tensor(spec.out_features)
    y = ops.dense_sparse_linear(*linear_arguments(form, x, bias))
    torch.testing.assert_close(y, linear(x, form.dense(), bias))


@pytest.mark.parametrize("spec", SPECS[::3], ids=label)
def test_input_of_any_strides(spec: FormSpec):
    form = random_form(spec, dtype=torch.float64)
    x = tensor(spec.in_features, 3, 4)
    for strided in (x.permute(1, 2, 0), x.permute(2, 1, 0)[::2], x[:, :1].permute(1, 2, 0).expand(5, 4, -1)):
        y = ops.dense_sparse_linear(*linear_arguments(form, strided, None))
        torch.testing.assert_close(y, linear(strided, form.dense()))
        assert y.is_contiguous()


@pytest.mark.parametrize("spec", [spec for spec in INPUT_SPECS if spec.atoms], ids=label)
def test_codes_continue_a_product(spec: FormSpec):
    form = random_form(spec, dtype=torch.float64)
    x, bias = tensor(2, 3, spec.in_features), tensor(spec.out_features)
    y = ops.dense_sparse_codes(*codes_arguments(form, x, bias))
    torch.testing.assert_close(y, linear(x, form.dense(), bias))


@pytest.mark.parametrize("spec", INPUT_SPECS, ids=label)
def test_embedding(spec: FormSpec):
    form = random_form(spec, dtype=torch.float64)
    for ids in (torch.tensor([[1, 1, 0]]), torch.tensor(15), torch.empty(0, 2, dtype=torch.long)):
        torch.testing.assert_close(
            ops.dense_sparse_embedding(*embedding_arguments(form, ids)), embedding(ids, form.dense())
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_precision(spec: FormSpec, dtype: torch.dtype):
    form = random_form(spec, dtype=torch.float64)
    low = Form(spec, form.dictionary.to(dtype), form.values.to(dtype), form.indices.int(), form.permutation)
    x, bias = tensor(5, spec.in_features), tensor(spec.out_features)
    arguments = with_gradients(linear_arguments(low, x.to(dtype), bias.to(dtype)))
    y = ops.dense_sparse_linear(*arguments)
    y.sum().backward()
    assert y.dtype == arguments[0].grad.dtype == arguments[2].grad.dtype == dtype
    tolerance = {"rtol": 0.05, "atol": 0.15} if dtype.itemsize == 2 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(y.double(), linear(x, form.dense(), bias), **tolerance)


def test_kernels_do_not_cast_under_autocast():
    form = random_form(SPECS[4])
    arguments = linear_arguments(form, tensor(2, 12, dtype=torch.float32), None)
    with torch.autocast("cpu", torch.bfloat16):
        assert ops.dense_sparse_linear(*arguments).dtype == torch.float32
