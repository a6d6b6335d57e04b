import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from cli_helpers import QUICK
from transformers import AutoModel

import dsformer
