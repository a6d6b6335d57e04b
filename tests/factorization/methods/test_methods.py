"""What all methods promise, and the reference behaviour of each."""

from dataclasses import replace

import pytest
import torch

from dsformer.errors import InputError
from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.methods import METHODS, fit_weight
from dsformer.factorization.methods.baselines.oats import spec_within
from dsformer.factorization.methods.baselines.sparsegpt import inverse_factor, prune
from dsformer.factorization.metric import Metric
from dsformer.factorization.search import Budget
from dsformer.factorization.target import EmbeddingTarget, Target
from dsformer.format.pattern import Pattern
from dsformer.format.precision import SCALE_BITS, Precision
from dsformer.format.quantized import QuantizedForm
from dsformer.format.ragged import pack_ragged_support, unpack_ragged_support
from dsformer.format.spec import FormSpec
from dsformer.format.support_codec import pack_support, unpack_support
from dsformer.recipe import Recipe

QUICK = Effort(iterations=10, screening=4)
PATTERNS = {"free": "free", "grouped": "grouped(4)", "n:m": "1:4", "banked": "banked(16)"}
ALONE = {name: method for name, method in METHODS.items() if not method.structured}
CASES = [(name, PATTERNS[kind]) for name, method in ALONE.items() for kind in (method.patterns or ("free",))]


@pytest.mark.parametrize("value_bits", [32, 16, 8])
@pytest.mark.parametrize(("method", "pattern"), CASES)
def test_forms_fit_the_budget_and_can_be_stored(tall: Target, method: str, pattern: str, value_bits: int):
    budget = Budget(tall.matrix.numel() * value_bits // 2, value_bits)
    found = fit_weight(tall, budget, Pattern.parse(pattern), method, QUICK)
    spec = found.form.spec
    precision = found.form.precision if isinstance(found.form, QuantizedForm) else value_bits
    parts = spec.split(tall.members)
    again = 8 * (spec.dictionary_bytes(precision) + spec.dictionary_support_bytes)
    again += SCALE_BITS * spec.dictionary_scales(Precision.of(precision)) if Precision.of(precision).rounded else 0
    stored = sum(part.stored_bits(precision) for part in parts) - (len(parts) - 1) * again
    assert stored <= budget.bits
    assert found.error == pytest.approx(tall.error(found.form), rel=1e-3, abs=1e-4)
    indices = found.form.indices
    if spec.pattern.bank:
        assert torch.equal(
            unpack_ragged_support(spec, pack_ragged_support(spec, indices, found.form.cells))[0], indices
        )
        return
    assert torch.equal(unpack_support(spec, pack_support(spec, indices)).long(), indices.long())


@pytest.mark.parametrize("method", ["double_sparse", "dense_sparse", "low_rank", "pruning"])
def test_stronger_methods_have_lower_errors(tall: Target, method: str):
    rivals = {"low_rank": ("svd", "asvd"), "pruning": ("magnitude", "wanda", "sparsegpt")}
    budget = Budget(tall.matrix.numel() * 16 // 2, 16)
    errors = {name: fit_weight(tall, budget, method=name).error for name in ALONE}
    all_dense = [name for name in ALONE if not (METHODS[name].quantizes or METHODS[name].sparse_dictionary)]
    weaker = rivals.get(method, all_dense)
    assert errors[method] <= min(errors[name] for name in weaker) + 1e-4


def test_error_compensation_compensates(tall: Target):
    form = fit_weight(tall, Budget(tall.matrix.numel() * 16 // 2, 16), method="sparsegpt").form
    only_left_out = tall.matrix * (form.dense() != 0)
    form_error, bare = tall.error(form), (tall.matrix - only_left_out) @ tall.metric.factor
    assert form_error < float(bare.norm() / (tall.matrix @ tall.metric.factor).norm())


def test_plain_svd_attains_its_optimum(tall: Target):
    budget = Budget(tall.matrix.numel() * 32 // 2, 32)
    form = fit_weight(tall, budget, method="svd").form
    tail = torch.linalg.svdvals(tall.matrix.double())[form.spec.atoms :]
    assert float((tall.matrix - form.dense()).norm()) == pytest.approx(float(tail.norm()), rel=1e-4)


def test_whitened_svd_attains_its_optimum(tall: Target):
    budget = Budget(tall.matrix.numel() * 32 // 2, 32)
    found = fit_weight(tall, budget, method="low_rank")
    values = torch.linalg.svdvals((tall.matrix @ tall.metric.factor).double())
    tail = values[found.form.spec.atoms :].norm() / values.norm()
    assert found.error == pytest.approx(float(tail), rel=1e-4)


def test_fwsvd_is_the_optimum_for_weighted_rows(tall: Target):
    importance = torch.rand(len(tall.matrix), generator=torch.Generator().manual_seed(2)) + 0.1
    output = Metric.from_gram(torch.diag(importance), 1e-6)
    weight = replace(tall, metric=replace(tall.metric, output=output))
    form = fit_weight(weight, Budget(tall.matrix.numel() * 16, 32), method="fwsvd").form
    root = output.gram.diagonal().sqrt()[:, None]
    tail = torch.linalg.svdvals((root * tall.matrix).double())[form.spec.atoms :]
    assert float((root * (tall.matrix - form.dense())).norm()) == pytest.approx(float(tail.norm()), rel=1e-4)


def test_scales_do_not_matter_where_inputs_are_alike():
    matrix = torch.randn(40, 24, generator=torch.Generator().manual_seed(1))
    weight, budget = Target(matrix, Metric.identity(24), (40,)), Budget(40 * 24 * 16, 32)
    for one, other in (
        ("svd", "low_rank"),
        ("asvd", "svd"),
        ("fwsvd", "svd"),
        ("wanda", "magnitude"),
        ("sparsegpt", "magnitude"),
    ):
        forms = [fit_weight(weight, budget, method=name).form.dense() for name in (one, other)]
        torch.testing.assert_close(*forms, rtol=1e-3, atol=1e-4)


def test_what_is_pruned_is_made_up_for_as_brute_force_would(tall: Target):
    gram, width = tall.metric.gram[:12, :12], 12
    matrix = tall.matrix[:6, :12].clone()
    matrix[:, 0] = 1e-3 * matrix[:, 0]
    spec = FormSpec("input", 6, width, 0, 0, width - 1, True)
    values, kept = prune(matrix, gram, spec)
    assert not kept[:, 0].any()
    assert int(kept.sum()) == 6 * (width - 1)
    damped = gram.double() + 0.01 * gram.diagonal().mean() * torch.eye(width, dtype=torch.float64)
    rest = damped[1:, 1:]
    best = torch.linalg.solve(rest, (matrix.double() @ damped)[:, 1:].T).T
    torch.testing.assert_close(values[:, 1:].double(), best, rtol=1e-4, atol=1e-5)
    upper = inverse_factor(gram).double()
    torch.testing.assert_close(upper.T @ upper, torch.linalg.inv(damped), rtol=1e-3, atol=1e-4)


def test_sets_are_chosen_once_what_was_left_out_before_is_made_up_for(tall: Target):
    """As in the code of SparseGPT's authors: an n:m set when it is come to, from weights as they are then."""
    matrix, gram = tall.matrix[:5, :16], tall.metric.gram[:16, :16]
    values, kept = prune(matrix, gram, FormSpec("input", 5, 16, 0, 0, 4, True, Pattern(n=1, m=4)))
    damped = gram.double() + 0.01 * gram.diagonal().mean() * torch.eye(16, dtype=torch.float64)
    weight, wanted = matrix.double(), torch.zeros(5, 16, dtype=torch.bool)
    order = [start + 4 * i for start in range(4) for i in range(4)]
    for at in range(0, 16, 4):
        # What leaving a column out costs counts only the columns behind it as able to make up for it.
        inverses = [torch.linalg.inv(damped[order[j:]][:, order[j:]]) for j in range(at, at + 4)]
        costs = torch.stack(
            [weight[:, order[at + i]].square() / inverse[0, 0] for i, inverse in enumerate(inverses)], 1
        )
        wanted[torch.arange(5), torch.tensor(order)[at + costs.argmax(1)]] = True
        for j, inverse in zip(range(at, at + 4), inverses, strict=True):
            wrong = weight[:, order[j]] * ~wanted[:, order[j]] / inverse[0, 0]
            weight[:, order[j:]] -= wrong[:, None] * inverse[0]
    assert torch.equal(kept, wanted)
    torch.testing.assert_close(values.double(), weight * wanted, rtol=1e-3, atol=1e-4)


def test_rounding_takes_the_most_bits_that_fit(tall: Target):
    count = tall.matrix.numel()
    errors: dict[str, list[float]] = {"rtn": [], "gptq": []}
    for bits, scale in ((8, 16 / tall.matrix.shape[1]), (6, 0.5), (4, 0.5), (3, 0.5), (2, 0.5)):
        for method, found in errors.items():
            fitted = fit_weight(tall, Budget(int(count * (bits + scale)), 32), method=method)
            assert fitted.form.precision.codes == bits
            found.append(fitted.error)
    assert errors["rtn"] == sorted(errors["rtn"])
    assert all(one < other for one, other in zip(errors["gptq"], errors["rtn"], strict=True))
    with pytest.raises(InputError, match=r"no rtn form of a .* weight fits"):
        fit_weight(tall, Budget(count * 2, 32), method="rtn")


def test_a_table_is_never_stored_in_the_shape_it_had(tall: Target):
    table = EmbeddingTarget(
        tall.matrix, Metric.identity(tall.matrix.shape[1]), tall.members, torch.ones(len(tall.matrix))
    )
    assert fit_weight(table, Budget(tall.matrix.numel() * 16, 32), method="rtn").form.precision.codes == 7


@pytest.mark.parametrize("fields", [{"factors": "int8"}, {"training": {"train": "fixed", "task": "banking77"}}])
def test_rounding_methods_go_with_neither_factors_nor_training(fields: dict):
    with pytest.raises(InputError, match=r"method gptq (chooses|gives)"):
        Recipe().merged({"method": "gptq", **fields})


def test_n_of_m_keeps_the_largest_of_every_set(tall: Target):
    spec = FormSpec("input", *tall.matrix.shape, 0, 0, tall.matrix.shape[1] // 4, True, Pattern(n=1, m=4))
    found = fit_weight(tall, Budget(spec.stored_bits(32), 32), Pattern(n=1, m=4), "magnitude")
    sets = tall.matrix.view(len(tall.matrix), 4, -1)
    kept = found.form.dense().view_as(sets)
    assert torch.equal(kept.abs().sum(1), sets.abs().amax(1))
    with pytest.raises(InputError, match=r"no magnitude form .* with pattern 2:4 fits"):
        fit_weight(tall, Budget(spec.stored_bits(32), 32), Pattern(n=2, m=4), "magnitude")


def test_alternating_finds_better_sets_than_one_pass(tall: Target):
    pattern = Pattern(n=2, m=8)
    spec = FormSpec("input", *tall.matrix.shape, 0, 0, tall.matrix.shape[1] // 4, True, pattern)
    budget = Budget(spec.stored_bits(32) + 8 * len(tall.members), 32)
    errors = {name: fit_weight(tall, budget, pattern, name).error for name in ("pruning", "sparsegpt", "magnitude")}
    assert errors["pruning"] < errors["sparsegpt"] < errors["magnitude"]


def test_low_rank_plus_sparse_shares_the_bits(tall: Target):
    shape = (tall.matrix.shape[0], tall.matrix.shape[1])
    budget = Budget(tall.matrix.numel() * 16 // 2, 16)
    spec = spec_within(shape, budget)
    assert spec is not None
    assert spec.atoms == spec.core > 0
    assert not budget.holds(replace(spec, nonzeros=spec.nonzeros + 1))
    assert spec_within(shape, Budget(64, 16)) is None


@pytest.mark.parametrize(
    ("method", "pattern", "reason"),
    [
        ("svd", "2:4", "no supports"),
        ("oats", "grouped(8)", "free, not grouped"),
        ("wanda", "grouped(8)", "free or n:m"),
    ],
)
def test_patterns_a_method_has_no_forms_of_are_refused_with_the_recipe(method: str, pattern: str, reason: str):
    with pytest.raises(InputError, match=f"pattern: method {method} .*{reason}"):
        Recipe().merged({"method": method, "pattern": pattern})


def test_one_step_is_between_low_rank_and_the_full_search(tall: Target):
    budget = Budget(tall.matrix.numel() * 16 // 2, 16)
    errors = {name: fit_weight(tall, budget, method=name).error for name in ("low_rank", "rocket", "dense_sparse")}
    assert errors["dense_sparse"] < errors["rocket"] < errors["low_rank"]
    tried = fit_weight(tall, budget, method="rocket").tried
    assert len(tried) > 3
    assert min(error for _, error in tried) == errors["rocket"]
