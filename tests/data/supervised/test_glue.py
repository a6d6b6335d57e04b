from pathlib import Path

import pytest

from dsformer.data.supervised import load_task
from dsformer.errors import InputError

STSB_HEADER = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
STSB_ROW = "0\tmain\tMSRvid\t2012\t1\tnone\tnone\t{}\t{}\t{}\n"


def test_cola_has_no_header(write, tmp_path: Path):
    write("glue-cola/train.tsv", 'gj04\t1\t\tA "quoted sentence.\ngj04\t0\t*\tBad sentence a.\n')
    write("glue-cola/dev.tsv", "gj04\t1\t\tFine.\n")
    task = load_task("cola", tmp_path)
    assert task.train.texts == ('A "quoted sentence.', "Bad sentence a.")
    assert task.train.targets == (1, 0)
    assert task.train.pairs is None
    assert (task.labels[1], task.metric, task.held_out) == ("acceptable", "matthews", None)


def test_sst2_reads_either_layout(write, tmp_path: Path):
    write("glue-sst2/dev.tsv", "sentence\tlabel\ngood . \t1\nbad . \t0\n")
    assert load_task("sst2", tmp_path).train is None
    write("glue-sst2/label-first/train.tsv", "label\tsentence\r\n0\tbad\r\n")
    write("glue-sst2/label-first/test.tsv", "label\tcontent\n1\tgreat\n")
    task = load_task("sst2", tmp_path)
    assert (task.train.texts, task.train.targets) == (("bad",), (0,))
    assert (task.held_out.texts, task.held_out.targets) == (("great",), (1,))
    write("glue-sst2/train.tsv", "sentence\tlabel\nofficial\t1\n")
    assert load_task("sst2", tmp_path).train.texts == ("official",)


def test_mrpc(write, tmp_path: Path):
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    write("glue-mrpc/mrpc-glue-train.tsv", header + '1\t1\t2\tSaid "one.\tSaid two.\n')
    write("glue-mrpc/dev.tsv", header + "0\t1\t2\ta\tb\n")
    write("glue-mrpc/msr_paraphrase_test.txt", "\ufeff" + header.replace("\n", "\r\n") + "1\t3\t4\tc\td\r\n")
    task = load_task("mrpc", tmp_path)
    assert (task.train.texts, task.train.pairs, task.train.targets) == (('Said "one.',), ("Said two.",), (1,))
    assert (task.evaluation.targets, task.held_out.pairs, task.metric) == ((0,), ("d",), "f1")
    unseen = task.unseen
    assert unseen.pairs == task.evaluation.pairs + task.held_out.pairs
    assert unseen.texts[-1] == task.held_out.texts[-1]
    assert len(unseen.targets) == len(unseen) == len(task.evaluation) + len(task.held_out)


def test_stsb(write, tmp_path: Path):
    original = 'main\tMSRvid\t2012\t24\t2.5\tA "girl\tA boy\nmain\tnews\t2013\t1\t0\tOne\tTwo\tsource\tsource\n'
    write("glue-stsb/original/sts-train.csv", original)
    write("glue-stsb/dev.tsv", STSB_HEADER + STSB_ROW.format("a", "b", "4.750"))
    task = load_task("stsb", tmp_path)
    assert (task.kind, task.labels, task.metric) == ("regression", (), "spearman")
    assert (task.train.texts, task.train.targets) == (('A "girl', "One"), (2.5, 0.0))
    assert (task.evaluation.targets, task.held_out, task.unseen) == ((4.75,), None, task.evaluation)
    write("glue-stsb/train.tsv", STSB_HEADER + STSB_ROW.format("c", "d", "1"))
    write("glue-stsb/sts-test.csv", original)
    task = load_task("stsb", tmp_path)
    assert (task.train.pairs, len(task.held_out)) == (("d",), 2)


def test_qqp_leaves_out_broken_rows(write, tmp_path: Path):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    write("glue-qqp/dev.tsv", header + "1\t2\t3\twhy?\thow?\t0\n2\tbroken\n3\t4\t5\tx?\ty?\t1\n")
    task = load_task("qqp", tmp_path)
    assert (task.evaluation.texts, task.evaluation.targets) == (("why?", "x?"), (0, 1))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "mnli_development_set_number_of_correct_responses.txt",
            "index\tpremise\thypothesis\tgold_label\tnumber of correct responses (out of 100)\n0\tP\tH\tneutral\t9\n",
        ),
        ("dev_matched.tsv", "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\tP\tH\tentailment\tneutral\n"),
    ],
)
def test_mnli(write, tmp_path: Path, name: str, content: str):
    write(f"glue-mnli/{name}", content)
    task = load_task("mnli", tmp_path)
    assert (task.evaluation.texts, task.evaluation.pairs, task.evaluation.targets) == (("P",), ("H",), (1,))


def test_qnli_rte_and_wnli(write, tmp_path: Path):
    write("glue-qnli/dev.tsv", "index\tquestion\tsentence\tlabel\n0\tQ?\tS.\tnot_entailment\n")
    write("glue-rte/dev.tsv", "index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\tentailment\n")
    write("glue-wnli/dev.tsv", "index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\t1\n")
    write("glue-wnli/train.tsv", "index\tsentence1\tsentence2\tlabel\n0\tpart\tB.\t1\n")
    write("glue-wnli/wnli-train.tsv", "index\tsentence1\tsentence2\tlabel\n0\twhole\tB.\t1\n")
    names = [load_task(name, tmp_path) for name in ("qnli", "rte", "wnli")]
    assert [task.labels[task.evaluation.targets[0]] for task in names] == ["not_entailment", "entailment", "entailment"]
    assert names[0].train is None
    assert names[2].train.texts == ("whole",)


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("rte", "train.tsv", "index\tsentence1\tsentence2\tlabel\n", r"glue-rte has no dev\.tsv \(plain or with \.gz"),
        ("rte", "dev.tsv", "index\tsentence1\tlabel\n0\ta\t1\n", "no column 'sentence2'; its columns are: index, sent"),
        ("rte", "dev.tsv", "sentence1\tsentence2\tlabel\n", r"dev\.tsv holds no rows"),
        (
            "rte",
            "dev.tsv",
            "sentence1\tsentence2\tlabel\na\tb\tmaybe\n",
            r"line 2: the label 'maybe' is not one of: 'e",
        ),
        (
            "rte",
            "dev.tsv",
            "sentence1\tsentence2\tlabel\n\na\tb\t\n",
            "line 3: the label is empty; expected one of: 'e",
        ),
        ("rte", "dev.tsv", "sentence1\tsentence2\tlabel\na\tb\t2\n", "line 2: the label '2' is not one of"),
        ("rte", "dev.tsv", "sentence1\tsentence2\tlabel\na\tb\n", "line 2: expected 3 cells, not 2"),
        ("stsb", "dev.tsv", STSB_HEADER + STSB_ROW.format("a", "b", "high"), "line 2: the label must be a number, not"),
    ],
)
def test_errors(write, tmp_path: Path, name: str, file: str, content: str, message: str):
    write(f"glue-{name}/{file}", content)
    with pytest.raises(InputError, match=message):
        load_task(name, tmp_path)
