"""Target of a factorization: a block's stacked weight with its metric, or an embedding table fitted on a sample."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.factorization import dense_sparse
from dsformer.factorization.banks import suit_banked
from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.least_squares import LeastSquares, pose_input_problem, pose_output_problem
from dsformer.factorization.low_rank import fit_low_rank
from dsformer.factorization.metric import Metric
from dsformer.format.form import Form
from dsformer.format.indices import sort_entries
from dsformer.format.quantized import QuantizedForm
from dsformer.format.row_spans import RowSpan, stack_spans
from dsformer.format.spec import FormSpec, Orientation

# Rows of an embedding table on which its dictionary is learned, and rows that are coded at once with that dictionary.
SAMPLE_ROWS = 4096
CHUNK_ROWS = 8192


@dataclass(frozen=True)
class Target:
    """The stacked weight of a block and the metric in which it is approximated.

    Attributes:
        matrix: weights of the block's layers, stacked row-wise.
        metric: metric of the error.
        members: output features of each stacked layer.
        free: spans of rows whose order costs no bits, because the layer that reads them is permuted too; together they
            are all rows. None: rows are permuted within a layer, and the permutation is stored.
    """

    matrix: Float[Tensor, "out in"]
    metric: Metric
    members: tuple[int, ...]
    free: tuple[RowSpan, ...] | None = field(default=None, kw_only=True)

    @property
    def spans(self) -> tuple[RowSpan, ...]:
        """Spans of rows that may share a group."""
        return self.free or stack_spans(self.members)

    @cached_property
    def input(self) -> LeastSquares:
        """Least-squares problem of an input dictionary, whose units are output rows."""
        return pose_input_problem(self.matrix, self.metric, self.spans)

    @cached_property
    def output(self) -> LeastSquares:
        """Least-squares problem of an output dictionary, whose units are input columns."""
        return pose_output_problem(self.matrix, self.metric)

    def problem(self, orientation: Orientation) -> LeastSquares:
        """Return the least-squares problem of an orientation."""
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
        """Compute the optimal form of a rank. Returns it and its relative whitened error."""
        rows, columns = self.matrix.shape
        spec = FormSpec(self.narrow, rows, columns, atoms=rank, core=rank)
        return fit_low_rank(self.problem(self.narrow), spec)

    def error(self, form: Form | QuantizedForm) -> float:
        """Compute the relative whitened error of a form, however it was made."""
        metric = self.metric
        energy = metric.weighed(self.matrix).norm().clamp_min(1e-30)
        return float(metric.weighed(self.matrix - form.dense()).norm() / energy)

    @cached_property
    def of_inputs(self) -> "Target":
        """The same target without a metric of the outputs. Shapes rank about the same; a fit costs a third."""
        return replace(self, metric=replace(self.metric, output=None)) if self.metric.curved else self

    def suited(self, spec: FormSpec) -> FormSpec:
        """Return a spec with ragged rows (units with different numbers of codes) where outputs have a metric.

        Without it the spec stays as it is: in the metric of the inputs alone, rows of small norm would get few codes,
        however much they matter to the model.
        """
        if spec.pattern.bank:
            return suit_banked(spec, self.members, even=not self.metric.curved)
        return spec.with_ragged_rows() if self.metric.curved else spec

    def screen(self, spec: FormSpec, effort: Effort) -> float:
        """Compute the relative error after a few alternations, in the metric of the inputs alone.

        Arguments are as of :meth:`fit`.
        """
        return dense_sparse.screen_shape(self.of_inputs.problem(spec.orientation), self.suited(spec), effort.screening)

    def trial(self, spec: FormSpec, effort: Effort) -> float:
        """Compute the relative error of a short fit in the full metric. Arguments are as of :meth:`fit`."""
        return self._fitted(spec, effort, effort.screening)[1]

    def fit(self, spec: FormSpec, effort: Effort) -> tuple[Form, float]:
        """Fit a form with full effort.

        Args:
            spec: shape of the form.
            effort: how many alternations it may take.

        Returns:
            The form and its relative whitened error.
        """
        form, error = self._fitted(spec, effort, effort.final(spec, self.metric.curved))
        return sort_entries(form, self.members), error

    def _fitted(self, spec: FormSpec, effort: Effort, iterations: int) -> tuple[Form, float]:
        return dense_sparse.fit(self.problem(spec.orientation), self.suited(spec), iterations, effort.tolerance)


@dataclass(frozen=True)
class EmbeddingTarget(Target):
    """A long embedding table: its dictionary is learned on a sample of rows, then all rows are coded with it.

    Attributes:
        row_weights: weight of each row's squared error.
    """

    row_weights: Float[Tensor, " out"]
    _samples: dict[int, LeastSquares] = field(init=False, default_factory=dict, compare=False, repr=False)

    @cached_property
    def input(self) -> LeastSquares:
        """Least-squares problem of the whole table, with rows weighted by ``row_weights``."""
        return pose_input_problem(self.matrix, self.metric, unit_weights=self.row_weights)

    def sample(self, group: int) -> LeastSquares:
        """Draw a weighted sample of the rows and pose its least-squares problem.

        Rows are drawn with probabilities proportional to the square root of their weight, and weighted by the same
        root. That is unbiased, with less variance. The number of rows is a multiple of ``group``, the rows that share a
        support.
        """
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
        """Compute the relative error on the sample after a few alternations."""
        return dense_sparse.screen_shape(*self._sampled(spec), effort.screening)

    def fit(self, spec: FormSpec, effort: Effort) -> tuple[Form, float]:
        """Learn the dictionary on the sample, then code all rows with it in chunks. Returns as :meth:`Target.fit`."""
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
        """Compute the relative error of a form, with rows weighted by ``row_weights``."""
        residual = (self.matrix - form.dense()) * self.row_weights.sqrt()[:, None]
        return float(residual.norm()) / max(self.input.energy, 1e-30) ** 0.5


def _whole(rows: int, group: int) -> int:
    """Round a number of rows down to whole groups, but to one group at least."""
    return max(rows // group, 1) * group


def _stacked(spec: FormSpec, forms: list[Form], size: int) -> Form:
    """Stack the forms of successive chunks of ``size`` rows that share one dictionary."""
    orders = [form.permutation for form in forms]
    starts = range(0, spec.units, size)
    shifted = [order + start for order, start in zip(orders, starts, strict=True) if order is not None]
    values = torch.cat([form.values for form in forms])
    indices = torch.cat([form.indices for form in forms])
    return Form(spec, forms[0].dictionary, values, indices, torch.cat(shifted) if shifted else None)
