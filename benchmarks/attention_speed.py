"""What attention costs in training on a CPU: torch's fused one in bf16, and in float32 as DSFormer trains it.

    python benchmarks/attention_speed.py

Forward and gradient of one layer of attention (12 heads of 32, batches of about 1,000 to 4,000 tokens), in turn in one
run: medians, and how many times as long bf16 takes (quartiles over the rounds).
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch.nn.functional import scaled_dot_product_attention

from dsformer.benchmarking.timing import Ratio, in_turn, timed
from dsformer.training.attention import SinglePrecisionAttention

HEADS, WIDTH = 12, 32
SHAPES = ((32, 16), (32, 32), (32, 64), (32, 128), (8, 384), (2, 1024))


def bf16(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return scaled_dot_product_attention(query, key, value, attn_mask=mask)


def single(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    with SinglePrecisionAttention():
        return bf16(query, key, value, mask)


def both_ways(attend: Callable[..., torch.Tensor], inputs: list[torch.Tensor], mask: torch.Tensor) -> None:
    output = attend(*inputs, mask)
    torch.autograd.grad(output, inputs, torch.ones_like(output))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=3.0, help="for every shape")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print("| texts x tokens | bf16 | float32 | ratio |")
    print("|---|---|---|---|")
    for texts, tokens in SHAPES:
        shape = (texts, tokens, HEADS, WIDTH)
        inputs = [torch.randn(shape).bfloat16().transpose(1, 2).requires_grad_() for _ in range(3)]
        mask = torch.zeros(texts, 1, tokens, tokens, dtype=torch.bool)
        mask[..., : tokens - tokens // 4] = True
        runs = [partial(timed, partial(both_ways, attend, inputs, mask)) for attend in (bf16, single)]
        plain, ours = in_turn(runs, args.seconds)
        ratio, times = Ratio.of(plain, ours), f"{1e3 * median(plain):.1f} ms | {1e3 * median(ours):.1f} ms"
        print(f"| {texts} x {tokens} | {times} | {ratio} |")


if __name__ == "__main__":
    main()
