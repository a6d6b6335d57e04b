"""The runtime without PyTorch, under this package's name: the public names of :mod:`dsformer_runtime`."""

from dsformer_runtime import Classifier as Classifier
from dsformer_runtime import QuestionAnswerer as QuestionAnswerer
from dsformer_runtime import Reranker as Reranker
from dsformer_runtime import RuntimeInputError as RuntimeInputError
from dsformer_runtime import SentenceEncoder as SentenceEncoder
from dsformer_runtime import TokenClassifier as TokenClassifier
from dsformer_runtime import UnsupportedModelError as UnsupportedModelError
from dsformer_runtime import load as load
from dsformer_runtime import load_model as load_model
from dsformer_runtime import open_backend as open_backend
