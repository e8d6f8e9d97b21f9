"""Benchmarks of real rain, with ground truth from video or controlled scenes, or without ground truth."""

from __future__ import annotations

from rdmc.datasets.benchmarks.facts import Benchmark, Copy, Note, PublishedResult
from rdmc.datasets.benchmarks.synthetic import FOLDERS, MANY, MET, NONE_STATED, ON_TESTS, OWN, RCDNET, RGB, ZOO, published
from rdmc.datasets.layouts import Hints

SPANET = "README of stevewongv/SPANet"
SPANET_23 = "issue 23 of stevewongv/SPANet"
GT_RAIN = "README of UCLA-VMG/GT-RAIN"
REALRAIN = "tables of the RealRain-1k paper and of those that quote it"
RAINDS_5 = "issue 5 of Songforrr/RainDS_CCN"
BSD = "all rights reserved; redistribution and use under the conditions of a BSD licence of three clauses"

REAL = (
    Benchmark(
        "spa-data",
        "SPA-Data",
        "real",
        "https://stevewongv.github.io/derain-project.html",
        "Wang et al., Spatial attentive single-image deraining with a high quality real rain dataset, CVPR 2019",
        BSD,
        "License.txt of stevewongv/SPANet, to which its dataset readmes point",
        ("list: real_world.txt names a rainy and a clean file per line", "list: real_test_1000.txt", FOLDERS),
        "638,492 training crops of 256x256 from about 28,500 pairs, 1,000 test pairs",
        (
            Copy("as RCDNet trains on it", {"train": 638492, "test": 1000}, RCDNET),
            Copy("as listed in real_world.txt", {"train": 638493, "test": 1000}, SPANET_23),
            Copy("as the paper counts it", {"train": 28500, "test": 1000}, SPANET_23),
        ),
        (
            Note("counts in the paper, the archive and the list differ", SPANET_23),
            Note(
                "the list fits the latest archive only; take the pairs from the list and not from the folders",
                "issue 15 of stevewongv/SPANet",
            ),
            Note("its own PSNR and SSIM are those of skimage", SPANET),
        ),
        published(("PReNet", 40.16), ("RCDNet", 43.36), ("MPRNet", 43.64), ("Restormer", 47.98), ("DRSformer", 48.54)),
    ),
    Benchmark(
        "gt-rain",
        "GT-Rain",
        "real",
        "https://github.com/UCLA-VMG/GT-RAIN",
        "Ba et al., Not just streaks: towards ground truth for single image deraining, ECCV 2022, arXiv 2206.10779",
        "research purposes only",
        GT_RAIN,
        (f"{MANY}: a folder per scene, X-Webcam-R-007.png and X-Webcam-C-000.png",),
        "31,524 pairs of 101 videos in GT-RAIN_train, GT-RAIN_val and GT-RAIN_test",
        (),
        (
            Note("frames of one scene are alike: split by scene only", MET),
            Note(
                "the validation scene Gurutto_1-2 has a clean frame for every rainy one", "data loaders in public repositories"
            ),
        ),
    ),
    Benchmark(
        "rainds",
        "RainDS (RainDS_real, RainDS_syn)",
        "real",
        "https://github.com/Songforrr/RainDS_CCN",
        "Quan et al., Removing raindrops and rain streaks in one go, CVPR 2021",
        NONE_STATED,
        "README of Songforrr/RainDS_CCN",
        (f"{MANY}: gt, rainstreak, raindrop and rainstreak_raindrop beside each other",),
        "RainDS_real: 150 training and 98 test scenes, each with streaks, drops and both",
        (Copy("RainDS_real, three rains a scene", {"train": 450, "test": 294}, RAINDS_5),),
        (
            Note("the files released are fewer than the paper's 1,000 real images", RAINDS_5),
            Note("one file of test_set/rainstreak, IMG_7435.png, has no ground truth", "data loaders in public repositories"),
            Note(
                "drops on glass are another task and blur: set prepare.judge_sides: false, or name a folder of streaks alone",
                MET,
            ),
        ),
        hints=Hints(rainy=frozenset({"rainstreak", "raindrop", "rainstreak_raindrop"})),
    ),
    Benchmark(
        "realrain-1k",
        "RealRain-1k (-L and -H)",
        "real",
        "https://github.com/hiker-lw/RealRain-1k",
        "Toward real-world single image deraining: a new benchmark and beyond, arXiv 2206.05514",
        NONE_STATED,
        "README of hiker-lw/RealRain-1k",
        (FOLDERS,),
        "1,120 pairs at each of two densities of rain",
        (),
        (
            Note("the number of pairs of each split was found nowhere", "the abstract gives 1,120 for each density"),
            Note("mean PSNR of the rainy input in RGB: 22.27 dB for -H, 25.93 dB for -L", REALRAIN),
        ),
        (
            PublishedResult("Restormer, -H", 39.57, None, RGB, REALRAIN, f"{OWN}; {ON_TESTS}"),
            PublishedResult("Restormer, -L", 40.90, None, RGB, REALRAIN, f"{OWN}; {ON_TESTS}"),
        ),
    ),
    Benchmark(
        "sirr-real",
        "real rainy photographs of SIRR, Internet-Data",
        "unpaired",
        "https://github.com/wwzjer/Semi-supervised-IRR",
        "Wei et al., Semi-supervised transfer learning for image rain removal, CVPR 2019",
        NONE_STATED,
        RCDNET,
        ("unpaired",),
        "147 photographs, no ground truth",
        (),
        (
            Note(
                "some copies hold the rainy pictures in the clean folder too: prepare finds such pairs identical",
                "issue 1 of rajeevyasarla/Syn2Real",
            ),
        ),
        hints=Hints(split="test"),
    ),
    Benchmark(
        "practical",
        "real rainy photographs of JORDER and of ID-CGAN (Practical)",
        "unpaired",
        "https://github.com/nnUyi/DerainZoo",
        "Yang et al., CVPR 2017; Zhang et al., arXiv 1701.05957",
        NONE_STATED,
        ZOO,
        ("unpaired",),
        "no ground truth, number not known",
        hints=Hints(split="test"),
    ),
)
