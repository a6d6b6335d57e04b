"""What a search works on: a block's stacked weight in its metric, or a long table of which a sample stands for all."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.factorization import dense_sparse
from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.least_squares import LeastSquares, pose_input_problem, pose_output_problem
from dsformer.factorization.low_rank import fit_low_rank
from dsformer.factorization.metric import Metric
from dsformer.format.form import Form
from dsformer.format.indices import sort_entries
from dsformer.format.quantized import QuantizedForm
from dsformer.format.row_spans import RowSpan, stack_spans
from dsformer.format.spec import FormSpec, Orientation

# Rows of a table that its dictionary is learned on, and rows coded at once with the finished dictionary.
SAMPLE_ROWS = 4096
CHUNK_ROWS = 8192


@dataclass(frozen=True)
class Target:
    """A block's stacked weight and its metric.

    Attributes:
        members: output features of the stacked layers.
        free: rows whose order costs nothing, all of them; None: rows change places within a layer, and it is stored.
    """

    matrix: Float[Tensor, "out in"]
    metric: Metric
    members: tuple[int, ...]
    free: tuple[RowSpan, ...] | None = field(default=None, kw_only=True)

    @property
    def spans(self) -> tuple[RowSpan, ...]:
        """Rows that may share a group."""
        return self.free or stack_spans(self.members)

    @cached_property
    def input(self) -> LeastSquares:
        return pose_input_problem(self.matrix, self.metric, self.spans)

    @cached_property
    def output(self) -> LeastSquares:
        return pose_output_problem(self.matrix, self.metric)

    def problem(self, orientation: Orientation) -> LeastSquares:
        return self.input if orientation == "input" else self.output

    @property
    def narrow(self) -> Orientation:
        """The orientation whose atoms are shorter: there low rank takes the smaller eigenproblem."""
        return "output" if self.matrix.shape[1] > self.matrix.shape[0] and len(self.members) == 1 else "input"

    @property
    def spectrum(self) -> Float[Tensor, " rank"]:
        """Squared singular values of the whitened weight, descending."""
        return self.problem(self.narrow).principal[0]

    def low_rank(self, rank: int) -> tuple[Form, float]:
        """The optimum of a rank."""
        rows, columns = self.matrix.shape
        spec = FormSpec(self.narrow, rows, columns, atoms=rank, core=rank)
        return fit_low_rank(self.problem(self.narrow), spec)

    def error(self, form: Form | QuantizedForm) -> float:
        """Relative whitened error of a form made in another way."""
        metric = self.metric
        energy = metric.weighed(self.matrix).norm().clamp_min(1e-30)
        return float(metric.weighed(self.matrix - form.dense()).norm() / energy)

    @cached_property
    def of_inputs(self) -> "Target":
        """The same with outputs that matter alike: shapes rank about the same, and a fit costs a third."""
        return replace(self, metric=replace(self.metric, output=None)) if self.metric.curved else self

    def suited(self, spec: FormSpec) -> FormSpec:
        """A spec whose units may have different numbers of codes, where the metric knows which of them matter. By that
        of the inputs alone small rows would have few, however much the model makes of them."""
        return spec.with_ragged_rows() if self.metric.curved else spec

    def screen(self, spec: FormSpec, effort: Effort) -> float:
        """Error after a short run, in the metric of the inputs alone."""
        return dense_sparse.screen_shape(self.of_inputs.problem(spec.orientation), self.suited(spec), effort.screening)

    def trial(self, spec: FormSpec, effort: Effort) -> float:
        """Error of a short fit."""
        return self._fitted(spec, effort, effort.screening)[1]

    def fit(self, spec: FormSpec, effort: Effort) -> tuple[Form, float]:
        """The fitted form and its error."""
        form, error = self._fitted(spec, effort, effort.final(spec, self.metric.curved))
        return sort_entries(form, self.members), error

    def _fitted(self, spec: FormSpec, effort: Effort, iterations: int) -> tuple[Form, float]:
        return dense_sparse.fit(self.problem(spec.orientation), self.suited(spec), iterations, effort.tolerance)


@dataclass(frozen=True)
class EmbeddingTarget(Target):
    """A long embedding table: its dictionary is learned on a sample of rows, then all rows are coded.

    Attributes:
        row_weights: how much each row's error counts.
    """

    row_weights: Float[Tensor, " out"]
    _samples: dict[int, LeastSquares] = field(init=False, default_factory=dict, compare=False, repr=False)

    @cached_property
    def input(self) -> LeastSquares:
        return pose_input_problem(self.matrix, self.metric, unit_weights=self.row_weights)

    def sample(self, group: int) -> LeastSquares:
        """Rows drawn by the root of their weight and weighted by its other root: unbiased, with less variance. As many
        as can be divided into groups of a size."""
        count = _whole(min(SAMPLE_ROWS, len(self.matrix)), group)
        if count not in self._samples:
            root = self.row_weights.sqrt()
            rows = torch.multinomial(root, count, generator=torch.Generator().manual_seed(0)).sort().values
            self._samples[count] = pose_input_problem(self.matrix[rows], self.metric, unit_weights=root[rows])
        return self._samples[count]

    def _sampled(self, spec: FormSpec) -> tuple[LeastSquares, FormSpec]:
        sample = self.sample(spec.pattern.group)
        return sample, replace(spec, out_features=len(sample.target))

    def screen(self, spec: FormSpec, effort: Effort) -> float:
        return dense_sparse.screen_shape(*self._sampled(spec), effort.screening)

    def fit(self, spec: FormSpec, effort: Effort) -> tuple[Form, float]:
        learned, _ = dense_sparse.fit(*self._sampled(spec), effort.final(spec, False), effort.tolerance)
        norm = learned.dictionary.norm(dim=1, keepdim=True).clamp_min(1e-9)
        forms, size = [], _whole(CHUNK_ROWS, spec.pattern.group)
        for start in range(0, spec.units, size):
            rows = slice(start, min(start + size, spec.units))
            part = replace(spec, out_features=rows.stop - rows.start)
            problem = pose_input_problem(self.matrix[rows], self.metric, unit_weights=self.row_weights[rows])
            forms.append(dense_sparse.fit(problem, part, effort.screening, 0.0, learned.dictionary / norm)[0])
        form = _stacked(spec, forms, size)
        return form, self.error(form)

    def error(self, form: Form | QuantizedForm) -> float:
        residual = (self.matrix - form.dense()) * self.row_weights.sqrt()[:, None]
        return float(residual.norm()) / max(self.input.energy, 1e-30) ** 0.5


def _whole(rows: int, group: int) -> int:
    """So many rows, but for those that make no whole group; one group at least."""
    return max(rows // group, 1) * group


def _stacked(spec: FormSpec, forms: list[Form], size: int) -> Form:
    """One form of the rows coded in chunks of a size with one dictionary."""
    orders = [form.permutation for form in forms]
    starts = range(0, spec.units, size)
    shifted = [order + start for order, start in zip(orders, starts, strict=True) if order is not None]
    values = torch.cat([form.values for form in forms])
    indices = torch.cat([form.indices for form in forms])
    return Form(spec, forms[0].dictionary, values, indices, torch.cat(shifted) if shifted else None)
