"""What several processes do together, in real processes."""

import json

from fixtures.processes import together

SHARED = """
import os, json, sys
import torch
from torch import nn
from dsformer.utils import distributed
from dsformer.errors import InputError

# Threads do not get the interpreter's lock by asking: those that still want it at the end must be waited for.
sys.setswitchinterval(100)
rank = int(os.environ["RANK"])
distributed.wait_for_all()
said = {}

def broken():
    raise InputError("no such file")

try:
    distributed.run_on_first_rank(broken)
except InputError as error:
    said["error"] = str(error)

mean = torch.tensor([float(rank), 2.0])
distributed.average_over_ranks([mean])
first = torch.tensor([float(rank)])
distributed.broadcast_from_first([first])
said["mean"], said["first"] = mean.tolist(), first.tolist()

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
part = model[1]
part.register_buffer("residual", torch.zeros(2))
distributed.average_gradients(model, part)
wrapped = nn.parallel.DistributedDataParallel(model)
part.residual += 1 + rank
for batch in range(2):
    wrapped(torch.full((1, 3), float(rank + batch))).sum().backward()
part.weight.data = torch.ones(2, 3)
said["gradient"] = part.weight.grad.tolist()
said["residual"] = part.residual.tolist()
print(json.dumps(said))
"""


def test_two_processes():
    one, other = (json.loads(said) for said in together("-c", SHARED))
    assert one["error"] == other["error"] == "no such file"
    assert one["mean"] == other["mean"] == [0.5, 2.0]
    assert one["first"] == other["first"] == [0.0]
    assert one["gradient"] == other["gradient"]
    # Each keeps its own until the learner averages them.
    assert (one["residual"], other["residual"]) == ([1.0, 1.0], [2.0, 2.0])
