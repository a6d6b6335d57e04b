"""What became of a damaged directory: refused in one line, loaded with the same outputs, or something worse."""

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from transformers import PreTrainedModel

import dsformer
from dsformer.errors import ArtefactError, InputError
from dsformer.models.artefact import check
from dsformer.models.values import size_of
from dsformer.report.inspection import inspect_directory
from dsformer_runtime import RuntimeInputError, load_model, open_backend
from fuzz.kinds import KINDS, NO_RECORD, build, outputs_of
from fuzz.mutations import CONFIG, mutate

REFUSED, SAME, OTHER = "refused", "same outputs", "other outputs, of a directory without a record"
TRANSFORMERS = "refused by transformers, before it is our turn"
UNUSABLE = "cannot be run, of a directory without a record"
FINE = (REFUSED, SAME, OTHER, TRANSFORMERS, UNUSABLE)
_LONGEST_LINE = 600


@dataclass(frozen=True)
class Verdict:
    """What became of a case. It failed unless the outcome is one of FINE."""

    seed: int
    outcome: str
    case: str
    said: str = ""


class Judge:
    """Makes cases in a scratch folder from whole directories in another.

    Args:
        whole: what ``build`` wrote.
        scratch: for one case at a time.
    """

    def __init__(self, whole: Path, scratch: Path):
        self.whole, self.scratch = whole, scratch
        self._known: dict[tuple[str, str], torch.Tensor] = {}
        torch.set_num_threads(1)
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()

    def judge(self, seed: int) -> Verdict:
        """Make the case of this seed, and try to load it by one road."""
        generator = random.Random(seed)
        kind, record = generator.choice(list(KINDS)), generator.choice(["", "", NO_RECORD])
        way = generator.choice(["load"] * 5 + ["from_pretrained"] * 2 + ["inspect"] + ["runtime"] * 8)
        directory = self.scratch / "case"
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(self.whole / f"{kind}{record}", directory)
        done = mutate(generator, directory, self.whole)
        case = f"{kind}{record}, {way}: {done}"
        recorded = _has_record(directory)
        configured = "edit_config" in done or "edit_blocks" in done or CONFIG in done
        try:
            if way == "inspect":
                inspect_directory(directory)
                check(directory, values=True)
            outputs = WAYS[way](directory)
        except (ArtefactError, InputError, RuntimeInputError) as error:
            said = str(error)
            plain = said and "\n" not in said and len(said) < _LONGEST_LINE
            return Verdict(seed, REFUSED if plain else "an error of many lines", case, said)
        except _CannotRunError as error:
            fine = not recorded and configured
            return Verdict(seed, UNUSABLE if fine else "loads, but cannot be run", case, str(error))
        except Exception as error:
            known = way == "from_pretrained"
            return Verdict(seed, TRANSFORMERS if known else "unclear error", case, f"{type(error).__name__}: {error}")
        expected = self._whole(kind, way)
        if outputs.shape == expected.shape and torch.equal(outputs, expected):
            return Verdict(seed, SAME, case)
        if recorded:
            return Verdict(seed, "OTHER OUTPUTS", case)
        if not torch.isfinite(outputs.float()).all() and not configured and not _has_large_values(directory):
            return Verdict(seed, "NaN or Inf outputs", case)
        return Verdict(seed, OTHER, case)

    def _whole(self, name: str, way: str) -> torch.Tensor:
        """What the whole directory of a kind says."""
        if (name, way) not in self._known:
            self._known[name, way] = WAYS[way](self.whole / name)
        return self._known[name, way]


class _CannotRunError(Exception):
    """The model was loaded, and raises when it is run."""


def _outputs(directory: Path) -> torch.Tensor:
    return _run(dsformer.load(directory))


def _base_outputs(directory: Path) -> torch.Tensor:
    return _run(transformers.AutoModel.from_pretrained(directory))


def _runtime_outputs(directory: Path) -> torch.Tensor:
    """Hidden states of the runtime without PyTorch."""
    encoder = load_model(directory).encoder
    ids, lengths = np.arange(8, dtype=np.int32) % encoder.words.rows, np.array([5, 3])
    return torch.from_numpy(open_backend(encoder, "native", threads=1).run(ids, None, lengths))


WAYS = {"load": _outputs, "inspect": _outputs, "from_pretrained": _base_outputs, "runtime": _runtime_outputs}


def _run(model: PreTrainedModel) -> torch.Tensor:
    try:
        return outputs_of(model)
    except Exception as error:
        raise _CannotRunError(f"{type(error).__name__}: {error}") from error


def _has_large_values(directory: Path) -> bool:
    """Whether some stored number is larger than those of models; products of such may overflow."""
    return any(
        size_of(name, one) > 1e4 for file in directory.glob("*.safetensors") for name, one in load_file(file).items()
    )


def _has_record(directory: Path) -> bool:
    try:
        config = json.loads((directory / CONFIG).read_text())
        return config["quantization_config"].get("written") is not None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True


__all__ = ["FINE", "Judge", "Verdict", "build"]
