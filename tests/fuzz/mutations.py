"""Ways to damage a directory. Each is told by a random generator what exactly to do, and says what it did."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file, save_file

CONFIG, INDEX = "config.json", "model.safetensors.index.json"
Mutation = Callable[[Random, Path, Path], str]

_NUMBERS = [0, 1, -1, 2, 3, 7, 2**31 - 1, 2**31, 2**63, 10**30, -(10**9), 0.5, -0.5, 1e-30, 1e308]
_OTHERS = [None, True, False, "", "free", "grouped(8)", "2:4", "input", "output", "float16", [], {}, [1], {"a": 1}]
_ADDED = {
    "is_decoder": True,
    "tie_word_embeddings": False,
    "num_labels": 3,
    "pruned_heads": {"0": [1]},
    "chunk_size_feed_forward": 1,
    "output_hidden_states": True,
    "return_dict": False,
    "dtype": "float16",
    "attn_implementation": "eager",
    "_attn_implementation": "eager",
    "hidden_act": "relu",
    "auto_map": {"AutoModel": "model.Model"},
}
_BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.int16: torch.int16}
_SPECIAL = [float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 1e30, 1e-45, 0.0]
_FILES = [b"", b"\0", b"{}", b"[]", b"\xff" * 40, bytes(range(256)) * 30, b'{"a": ']


def mutate(random: Random, directory: Path, others: Path) -> str:
    """Damage the directory, mostly once.

    Args:
        random: says how.
        directory: changed in place.
        others: a folder of directories, to take files from.

    Returns:
        What was done.
    """
    done = []
    for _ in range(2 if random.random() < 0.1 else 1):
        (way,) = random.choices(list(MUTATIONS), list(MUTATIONS.values()))
        try:
            done.append(f"{way.__name__}: {way(random, directory, others)}")
        except Exception as error:
            # The first one may have left nothing for the second.
            done.append(f"{way.__name__}: nothing to do ({type(error).__name__})")
    return "; ".join(done)


def _weights(random: Random, directory: Path) -> Path:
    return random.choice(sorted(directory.glob("*.safetensors")))


def change_bytes(random: Random, directory: Path, others: Path) -> str:
    """Flips and runs of constant bytes in the header, the numbers or the configuration."""
    file = random.choice([_weights(random, directory)] * 4 + [directory / CONFIG])
    data = bytearray(file.read_bytes())
    header = min(len(data), 8 + struct.unpack("<Q", data[:8])[0]) if file.suffix == ".safetensors" else len(data)
    start, end = random.choice([(0, 8), (8, header), (header, len(data)), (0, len(data))])
    if end <= start:
        start, end = 0, len(data)
    place = random.randrange(start, end)
    if random.random() < 0.6:
        data[place] ^= 1 << random.randrange(8)
        what = "bit"
    else:
        length, value = random.choice([1, 2, 4, 16]), random.choice([0x00, 0x7F, 0x80, 0xFF, random.randrange(256)])
        data[place : place + length] = bytes([value]) * len(data[place : place + length])
        what = f"{length} bytes {value:#x}"
    file.write_bytes(data)
    return f"{file.name} at {place}, {what}"


def cut(random: Random, directory: Path, others: Path) -> str:
    """A file with fewer or more bytes."""
    file = random.choice(sorted(path for path in directory.iterdir() if path.is_file()))
    data = file.read_bytes()
    length = random.choice([random.randrange(len(data) + 1), len(data) - random.randrange(1, 20), len(data)])
    more = random.randbytes(random.choice([0, 1, 8, 100])) if length == len(data) else b""
    file.write_bytes(data[: max(0, length)] + more)
    return f"{file.name} to {length} of {len(data)} bytes and {len(more)} more"


def exchange_files(random: Random, directory: Path, others: Path) -> str:
    """A file that is gone, another's, or something else."""
    file = random.choice(sorted(path for path in directory.iterdir() if path.name != "README.md"))
    way = random.choice(["gone", "another's", "twice", "other bytes", "a directory"])
    if way == "another's":
        found = sorted(others.glob(f"*/{file.name}"))
        other = random.choice(found)
        shutil.copyfile(other, file)
        return f"{file.name} of {other.parent.name}"
    if way == "twice":
        shutil.copyfile(file, directory / random.choice(["model.safetensors", "copy.safetensors", INDEX]))
        return f"{file.name} twice"
    file.unlink()
    if way == "other bytes":
        file.write_bytes(random.choice(_FILES))
    elif way == "a directory":
        file.mkdir()
    return f"{file.name}: {way}"


def edit_header(random: Random, directory: Path, others: Path) -> str:
    """What a weight file says of its tensors."""
    file = _weights(random, directory)
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    name, other = random.choice(sorted(header)), random.choice(sorted(header))
    entry = header[name]
    way = random.choice(["dtype", "shape", "offsets", "swap", "rename", "drop", "metadata", "value"])
    if way == "dtype":
        entry["dtype"] = random.choice(["F32", "F16", "BF16", "I16", "I8", "U8", "I64", "F64", "BOOL", "F8_E4M3", "X"])
    elif way == "shape":
        shape = entry["shape"]
        entry["shape"] = random.choice([shape[::-1], [*shape, 1], shape[:-1], [2**62, *shape], [-1], [0], [2**33] * 2])
    elif way == "offsets":
        entry["data_offsets"] = random.choice([header[other]["data_offsets"], [0, 0], [0, 2**63], [5, 1], [-1, 3]])
    elif way == "swap":
        header[name], header[other] = header[other], entry
    elif way == "rename":
        header[random.choice([f"{name}x", other, name.rpartition(".")[2], f"base.{name}", ""])] = header.pop(name)
    elif way == "drop":
        del header[name]
    elif way == "metadata":
        metadata = random.choice([{}, {"format": "tf"}, {"format": ""}, {"format": "pt", "more": "x"}, None, {"a": 1}])
    else:
        entry[random.choice(sorted(entry))] = random.choice(_OTHERS)
    text = json.dumps({"__metadata__": metadata, **header}).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return f"{file.name}: {way} of {name!r} ({other!r})"


def edit_tensors(random: Random, directory: Path, others: Path) -> str:
    """Other tensors, in a file that is whole."""
    file = _weights(random, directory)
    tensors = load_file(file)
    name = random.choice(sorted(tensors))
    tensor = tensors[name]
    way = random.choice(["drop", "rename", "double", "add", "swap", "cast", "shape", "fill", "shuffle", "constant"])
    other = random.choice([one for one in sorted(tensors) if tensors[one].shape == tensor.shape])
    if way == "drop":
        del tensors[name]
    elif way == "rename":
        parts = name.split(".")
        place = random.randrange(len(parts))
        parts[place] = random.choice(["0", "1", "2", "x", "weight", "bias", "dictionary", "support", "permutation"])
        tensors[".".join(parts)] = tensors.pop(name)
    elif way == "double":
        tensors[random.choice([f"base.{name}", name.partition(".")[2], f"{name}.weight", "x"])] = tensor.clone()
    elif way == "add":
        owner = name.rpartition(".")[0]
        key = random.choice(["dictionary", "support", "permutation", "weight_scale", "dictionary_support", "bias", "x"])
        tensors.setdefault(f"{owner}.{key}", torch.zeros(random.choice([1, 3, 32]), dtype=torch.uint8))
    elif way == "swap":
        tensors[name], tensors[other] = tensors[other], tensor
    elif way == "cast":
        tensors[name] = tensor.to(random.choice([torch.float32, torch.float16, torch.int8, torch.uint8, torch.int16]))
    elif way == "shape":
        flat = tensor.reshape(-1)
        tensors[name] = random.choice([flat, flat[:-1].clone(), tensor[None], torch.cat([flat, flat])])
    elif way == "shuffle":
        order = torch.randperm(tensor.numel(), generator=torch.Generator().manual_seed(random.randrange(2**31)))
        tensors[name] = tensor.reshape(-1)[order].view(tensor.shape)
    else:
        _fill(random, tensor.view(-1), whole=way == "constant")
    save_file(tensors, file, {"format": "pt"})
    return f"{file.name}: {way} {name} ({other})"


def _fill(random: Random, flat: torch.Tensor, whole: bool) -> None:
    """One number, or all, of any kind; 16 bits of a scale are those of a floating-point number too."""
    place = slice(None) if whole else slice(place := random.randrange(len(flat)), place + 1)
    if flat.is_floating_point():
        flat[place] = random.choice(_SPECIAL)
    elif flat.dtype == torch.int16:
        flat[place] = torch.tensor(random.choice(_SPECIAL), dtype=torch.bfloat16).view(torch.int16)
    else:
        flat[place] = random.randrange(127)


def edit_config(random: Random, directory: Path, others: Path) -> str:
    """Any field of the configuration."""
    path = directory / CONFIG
    config = json.loads(path.read_text())
    quantization = config["quantization_config"]
    part = random.choices([config, quantization, quantization.get("written", config)], [5, 2, 1])[0]
    hidden = {key: part.pop(key) for key in ("quantization_config", "blocks", "written") if key in part}
    what = _edit(random, part)
    part.update({key: value for key, value in hidden.items() if key not in part})
    if random.random() < 0.1:
        key = random.choice(sorted(_ADDED))
        config[key] = _ADDED[key]
        what += f", {key} added"
    path.write_text(json.dumps(config))
    return what


def edit_blocks(random: Random, directory: Path, others: Path) -> str:
    """Any field of the blocks."""
    path = directory / CONFIG
    config = json.loads(path.read_text())
    blocks = config["quantization_config"]["blocks"]
    one, other = random.choice(blocks), random.choice(blocks)
    name = one["members"][0]["name"]
    way = random.choice(["edit"] * 4 + ["field", "field", "members", "double", "drop", "order", "trade"])
    if way == "edit":
        what = _edit(random, one)
    elif way == "field":
        from dsformer.format.schema import BlockConfig

        field = random.choice(sorted(BlockConfig.model_fields))
        one[field] = random.choice([*_NUMBERS, *_OTHERS, other.get(field), True, 4, 8, 32, 64])
        what = f"{field} = {one[field]!r}"
    elif way == "members":
        random.choice([list.reverse, random.shuffle])(one["members"])
        what = "members in another order"
    elif way == "double":
        blocks.append(json.loads(json.dumps(one).replace("lin", random.choice(["lin", "nil"]))))
        what = "a block twice"
    elif way == "drop":
        blocks.remove(one)
        what = "a block dropped"
    elif way == "order":
        random.shuffle(blocks)
        what = "blocks in another order"
    else:
        core = random.choice([1, 2, -1])
        one["core"], one["nonzeros"] = one.get("core", 0) + core, one.get("nonzeros", 0) - core
        what = "core against nonzeros"
    path.write_text(json.dumps(config))
    return f"block of {name}: {what}"


def edit_index(random: Random, directory: Path, others: Path) -> str:
    """What says which file has which tensor."""
    path = directory / INDEX
    index = json.loads(path.read_text())
    what = _edit(random, index["weight_map"] if random.random() < 0.7 else index)
    path.write_text(json.dumps(index))
    return what


def _edit(random: Random, root: Any) -> str:
    """Change something at any depth."""
    where: list[Any] = []
    while True:
        keys = list(root) if isinstance(root, dict) else list(range(len(root)))
        if not keys:
            return "nothing"
        key = random.choice(keys)
        where.append(key)
        deeper = isinstance(root[key], dict | list) and root[key] and random.random() < 0.8
        if not deeper:
            break
        root = root[key]
    before = root[key]
    way = random.choice(["delete", "value", "value", "value", "swap", "rename"])
    if way == "delete":
        del root[key]
        return f"{where} deleted"
    if way == "swap":
        other = random.choice(keys)
        root[key], root[other] = root[other], root[key]
        return f"{where} and {other} swapped"
    if way == "rename" and isinstance(root, dict):
        root[f"{key}{random.choice(['x', '_', ' '])}"] = root.pop(key)
        return f"{where} renamed"
    root[key] = _other(random, before)
    return f"{where}: {str(before)[:60]} to {str(root[key])[:60]}"


def _other(random: Random, value: Any) -> Any:
    choices: list[Any] = [random.choice(_OTHERS), random.choice(_NUMBERS)]
    if isinstance(value, bool):
        choices += [not value] * 4
    elif isinstance(value, int | float):
        choices += [value + 1, value - 1, value * 2, value // 2, -value, float(value), str(value), [value]]
    elif isinstance(value, str):
        choices += [value + "x", value[:-1], value.upper(), value.replace("0", "1"), value * 50]
    elif isinstance(value, list):
        choices += [value[:-1], value[::-1], value * 2, [*value, random.choice(_NUMBERS)]]
    return random.choice(choices)


# And how often each is done.
MUTATIONS: dict[Mutation, int] = {
    change_bytes: 5,
    cut: 2,
    exchange_files: 2,
    edit_header: 4,
    edit_tensors: 6,
    edit_config: 5,
    edit_blocks: 6,
    edit_index: 1,
}
