"""Data sets to calibrate and to evaluate on, bundled or from a folder of the user's.

The package may import ``nn``, ``ops``, ``format``, ``utils`` and ``errors``; it needs the last two alone. ``sources``
finds the folder or the bundled copy of a data set, and ``reading`` reads its files. ``banking77``, ``stsb`` and
``scifact`` are the data sets that sentence encoders are measured on. ``calibration_text`` reads the texts to calibrate
on, and ``subset`` takes some of many items. ``supervised`` holds the tasks for models with a head. Start reading with
``sources.py``, then ``banking77.py``.
"""

from dsformer.data.banking77 import Banking77 as Banking77
from dsformer.data.banking77 import LabelledTexts as LabelledTexts
from dsformer.data.banking77 import load as load_banking77
from dsformer.data.calibration_text import bundled_passages as bundled_passages
from dsformer.data.calibration_text import read_texts as read_texts
from dsformer.data.scifact import Retrieval as Retrieval
from dsformer.data.scifact import load as load_scifact
from dsformer.data.sources import find_data as find_data
from dsformer.data.stsb import SentencePairs as SentencePairs
from dsformer.data.stsb import load as load_stsb

__all__ = [
    "Banking77",
    "LabelledTexts",
    "Retrieval",
    "SentencePairs",
    "bundled_passages",
    "find_data",
    "load_banking77",
    "load_scifact",
    "load_stsb",
    "read_texts",
]
