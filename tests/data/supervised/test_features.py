import numpy as np
import pytest
import torch

from dsformer.data.supervised import EncodedExamples, Examples, SupervisedTask, collator, encode
from dsformer.errors import InputError


def task(kind: str, examples: Examples, labels: tuple[str, ...] = ()) -> SupervisedTask:
    return SupervisedTask("test", kind, labels, None, examples, "accuracy")


def test_an_encoded_split_is_a_sequence_of_plain_dicts():
    encoded = EncodedExamples({"input_ids": [np.array([1, 2], np.int32), np.array([3], np.int32)], "labels": (0, 1)})
    assert list(encoded) == [{"input_ids": [1, 2], "labels": 0}, {"input_ids": [3], "labels": 1}]
    assert encoded[-1:] == [encoded[1]]


def test_pairs_with_classes(wordpiece):
    examples = Examples(("the river", "a"), ("old bridge .", "by jane"), (1, 0))
    pairs = task("classification", examples, ("no", "yes"))
    encoded = encode(pairs, examples, wordpiece, 6)
    tokens = wordpiece.convert_ids_to_tokens(encoded[0]["input_ids"])
    assert (len(tokens), tokens[0], tokens[-1]) == (6, "[CLS]", "[SEP]")
    assert set(encoded[0]["token_type_ids"]) == {0, 1}
    assert [feature["labels"] for feature in encoded] == [1, 0]
    batch = collator(pairs, wordpiece)(list(encoded))
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 6)
    assert batch["labels"].tolist() == [1, 0]


def test_scores_stay_floats(wordpiece):
    examples = Examples(("the", "a river"), targets=(2.5, 0.0))
    scored = task("regression", examples)
    batch = collator(scored, wordpiece)(list(encode(scored, examples, wordpiece, 8)))
    assert batch["labels"].tolist() == [2.5, 0.0]
    assert batch["labels"].is_floating_point()


def test_the_first_token_of_a_word_carries_its_tag(wordpiece):
    examples = Examples((("jane", "rivers", "\u200b", "by"), ("old", "old", "old")), targets=((1, 2, 0, 0), (0, 0, 1)))
    tagged = task("token_classification", examples, ("O", "B-x", "I-x"))
    encoded = encode(tagged, examples, wordpiece, 6)
    # jane, river, ##s, (nothing for the zero-width space), by
    assert encoded[0]["labels"] == [-100, 1, 2, -100, 0, -100]
    assert encoded.alignment["words"][0].tolist() == [-1, 0, 1, -1, 3, -1]
    batch = collator(tagged, wordpiece)(list(encoded))
    assert batch["labels"][1].tolist() == [-100, 0, 0, 1, -100, -100]


def test_bytes_and_spaces_find_their_words(bytewise):
    examples = Examples((("😂", "ab"),), targets=((1, 2),))
    encoded = encode(task("token_classification", examples, ("O", "B-x", "I-x")), examples, bytewise, 20)
    # four bytes of the emoji, a space, two letters
    assert encoded[0]["labels"] == [1, -100, -100, -100, -100, 2, -100]


def test_padding_is_on_the_right_and_leaves_the_tokenizer_alone(wordpiece):
    examples = Examples((("jane",), ("old", "old")), targets=((1,), (0, 0)))
    tagged = task("token_classification", examples, ("O", "B-x"))
    wordpiece.padding_side = "left"
    batch = collator(tagged, wordpiece)(list(encode(tagged, examples, wordpiece, 8)))
    assert batch["attention_mask"][0].tolist() == [1, 1, 1, 0]
    assert wordpiece.padding_side == "left"


def test_a_question_with_its_answer(wordpiece):
    context = "the old bridge was built by jane in 1850 ."
    examples = Examples(("   who built the bridge ?",), (context,), ((("jane", context.index("jane")),),))
    asked = task("question_answering", examples)
    encoded = encode(asked, examples, wordpiece, 40)
    assert len(encoded) == 1
    feature = encoded[0]
    answer = feature["input_ids"][feature["start_positions"] : feature["end_positions"] + 1]
    assert wordpiece.convert_ids_to_tokens(answer) == ["jane"]
    begins, ends = encoded.alignment["begins"][0], encoded.alignment["ends"][0]
    start = feature["start_positions"]
    assert context[begins[start] : ends[start]] == "jane"
    assert (begins[0], begins[1], begins[-1]) == (-1, -1, -1)
    assert set(collator(asked, wordpiece)(list(encoded))) >= {"input_ids", "start_positions", "end_positions"}


def test_windows_overlap_and_point_to_the_null_token_without_an_answer(wordpiece):
    context = "the " * 40 + "jane"
    examples = Examples(("who ?", "who ?"), (context, "the river"), ((("jane", 160),), ()))
    encoded = encode(task("question_answering", examples), examples, wordpiece, 32)
    owners = encoded.alignment["example"]
    assert owners == [0, 0, 1]
    assert [feature["start_positions"] > 0 for feature in encoded] == [False, True, False]
    shared = set(encoded.alignment["begins"][0].tolist()) & set(encoded.alignment["begins"][1].tolist()) - {-1}
    assert len(shared) == 8


def test_a_question_longer_than_the_model_reads_is_cut(wordpiece):
    examples = Examples(("who " * 100,), ("the river",), ((),))
    encoded = encode(task("question_answering", examples), examples, wordpiece, 32)
    assert wordpiece.convert_ids_to_tokens(encoded[0]["input_ids"])[-3:-1] == ["the", "river"]
    with pytest.raises(InputError, match="length of at least 32 tokens, not 31"):
        encode(task("question_answering", examples), examples, wordpiece, 31)


def test_running_text_is_cut_into_equal_pieces(bytewise):
    examples = Examples(("abcd", "", "efghij"))
    causal = task("causal_lm", examples)
    encoded = encode(causal, examples, bytewise, 4)
    assert [bytewise.decode(feature["input_ids"]) for feature in encoded] == ["abcd", "efgh"]
    batch = collator(causal, bytewise)(list(encoded))
    assert torch.equal(batch["labels"], batch["input_ids"])
    assert len(encode(causal, Examples(("ab",)), bytewise, 4)[0]["input_ids"]) == 2


def test_masks_for_training_depend_on_the_batch_alone(wordpiece):
    examples = Examples(tuple(" ".join(["a good film"] * n) for n in (9, 9, 7, 8)))
    masked = task("masked_lm", examples)
    features = list(encode(masked, examples, wordpiece, 64))
    collate = collator(masked, wordpiece)
    first = collate(features)["labels"]
    torch.rand(3)
    assert torch.equal(collator(masked, wordpiece)(features)["labels"], first)
    assert not torch.equal(collate(features[::-1])["labels"].flip(0), first)


def test_masks_for_evaluation_do_not_depend_on_the_batch(wordpiece):
    examples = Examples(tuple(f"the old bridge was built by jane in 1850 {'river ' * row}" for row in range(30)))
    masked = task("masked_lm", examples)
    encoded = encode(masked, examples, wordpiece, 64)
    fixed = collator(masked, wordpiece, evaluation=True)
    first, again = fixed(encoded[:4]), fixed(encoded[1:3])
    assert torch.equal(first["labels"][1:3], again["labels"])
    assert torch.equal(first["input_ids"][1:3], again["input_ids"])
    assert not torch.equal(first["labels"][0] < 0, first["labels"][1] < 0)
    share = (collator(masked, wordpiece)(list(encoded))["labels"] >= 0).float().mean()
    assert 0.05 < share < 0.3


def test_tokenizers_that_cannot_serve(bytewise):
    examples = Examples(("a",), targets=(0,))
    with pytest.raises(InputError, match="a tokenizer with a padding token"):
        collator(task("classification", examples, ("x", "y")), bytewise)
    with pytest.raises(InputError, match="a tokenizer with a mask token"):
        collator(task("masked_lm", examples), bytewise)
    with pytest.raises(InputError, match="no examples"):
        encode(task("causal_lm", examples), Examples(()), bytewise, 4)
