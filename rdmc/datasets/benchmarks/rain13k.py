"""The collection Rain13K: one training set and the folders that papers test on, each a separate dataset here."""

from __future__ import annotations

from rdmc.datasets.benchmarks.facts import MEASURED, Benchmark, Copy, Note
from rdmc.datasets.benchmarks.synthetic import COUNTED, FOLDERS, MET, NONE_STATED, on_rain13k
from rdmc.datasets.layouts import Hints

MPRNET_23, MPRNET_74 = "issue 23 of swz30/MPRNet", "issue 74 of swz30/MPRNet"
MSPFN_2 = "issue 2 of kuijiang94/MSPFN"

RAIN13K = (
    Benchmark(
        "rain13k",
        "Rain13K, training set of MSPFN and MPRNet (tests: rain100h, rain100l, test100, test1200, test2800)",
        "synthetic",
        "https://github.com/swz30/MPRNet",
        "Jiang et al., Multi-scale progressive fusion network, CVPR 2020; Zamir et al., CVPR 2021",
        NONE_STATED,
        "Deraining/Datasets/README.md of swz30/MPRNet",
        (f"{FOLDERS}: input and target",),
        "13,711 or 13,712 training pairs; name each test set's folder as a dataset of its own",
        (
            Copy("as downloaded", {"train": 13711}, MPRNET_74),
            Copy("as the papers count it", {"train": 13712}, MPRNET_74),
        ),
        (
            Note("one pair was removed because its sizes differ", MPRNET_74),
            Note("made of parts of Rain800, Rain1400, Rain100H, Rain100L and others: it leaks where those do", MSPFN_2),
        ),
        (),
        Hints(split="train"),
    ),
    Benchmark(
        "test100",
        "Test100 of Rain13K, Rain800's test set in folders",
        "synthetic",
        "https://github.com/swz30/MPRNet",
        "Zamir et al., Multi-stage progressive image restoration, CVPR 2021 (the collection)",
        NONE_STATED,
        "Deraining/Datasets/README.md of swz30/MPRNet",
        (f"{FOLDERS}: input and target",),
        "98 test pairs, called 100",
        (
            Copy("as distributed", {"test": 98}, MPRNET_23),
            Copy("with all of Rain800's", {"test": 100}, COUNTED, {"test": 22.59}, MEASURED),
        ),
        (Note("it shares an image with Test2800", MET),),
        on_rain13k(("FSNet", 31.05)),
        Hints(split="test"),
    ),
    Benchmark(
        "test1200",
        "Test1200 of Rain13K, Rain1200's test set in folders",
        "synthetic",
        "https://github.com/swz30/MPRNet",
        "Zhang and Patel, CVPR 2018",
        NONE_STATED,
        "Deraining/Datasets/README.md of swz30/MPRNet",
        (f"{FOLDERS}: input and target",),
        "1,200 test pairs",
        (Copy("whole", {"test": 1200}, MET),),
        (),
        on_rain13k(("FSNet", 33.08)),
        Hints(split="test"),
    ),
    Benchmark(
        "test2800",
        "Test2800 of Rain13K, scenes of Rain1400",
        "synthetic",
        "https://github.com/swz30/MPRNet",
        "Fu et al., CVPR 2017",
        NONE_STATED,
        "Deraining/Datasets/README.md of swz30/MPRNet",
        (f"{FOLDERS}: input and target",),
        "2,800 test pairs",
        (
            Copy("whole", {"test": 2800}, MPRNET_23),
            Copy("with 926_10 twice", {"test": 2801}, MPRNET_23),
        ),
        (
            Note("half of it is taken from Rain1400's training pairs: models trained on Rain1400 have seen those", MSPFN_2),
            Note("an early copy has 926_10(1).jpg, a duplicate", MPRNET_23),
            Note("it shares an image with Test100", MET),
        ),
        on_rain13k(("FSNet", 33.64)),
        Hints(split="test"),
    ),
)
