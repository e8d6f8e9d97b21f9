"""Benchmarks of rendered rain. Every fact has its source beside it."""

from __future__ import annotations

from rdmc.datasets.benchmarks.facts import MEASURED, Benchmark, Copy, Note, PublishedResult
from rdmc.datasets.layouts import Hints

PKU = "http://www.icst.pku.edu.cn/struct/Projects/joint_rain_removal.html"
JORDER = "Yang et al., Deep joint rain detection and removal from a single image, CVPR 2017"
JORDER_E = "Yang et al., Joint rain detection and removal from a single image with contextualized deep networks, TPAMI 2019"
PRENET, PRENET_DATA = "README of csdwren/PReNet", "datasets/readme.txt of csdwren/PReNet"
RECDERAIN, RCDNET, ZOO = "README of csdwren/RecDerain", "README of hongwang01/RCDNet", "README of nnUyi/DerainZoo"
TOOLBOX = "tables of biubiubiiu/derain-toolbox"
TABLES = "tables of the DRSformer (CVPR 2023) and NeRD-Rain (CVPR 2024) papers"
PUBLISHED = "tables of several papers, which agree"
COUNTED = "counted in the files as published"
NONE_STATED = "none stated"
Y, Y_CUT, RGB = "luma", "luma of outputs cut to whole levels (y-cut)", "RGB"
Y8 = "luma rounded to whole levels (y8)"
OWN, RAIN13K = "the benchmark's own training pairs", "Rain13K"
ON_TESTS = "step chosen on the test images"
FSNET, ALL_IN_ONE = "tables of the FSNet paper (TPAMI 2024)", "tables of the AdaIR paper (ICLR 2025)"
FOLDERS, SIDES, MANY = "folder", "side-by-side", "one-clean-many-rainy"
MET = "copies met by this project"


def published(*rows: tuple[str, float]) -> tuple[PublishedResult, ...]:
    """Return the luma PSNR of methods, from the tables that are quoted most."""
    return tuple(
        PublishedResult(method, psnr, None, Y, TABLES, f"{OWN}; {ON_TESTS}" if method == "Restormer" else OWN)
        for method, psnr in rows
    )


def on_rain13k(*rows: tuple[str, float]) -> tuple[PublishedResult, ...]:
    """Return the luma PSNR of methods trained on Rain13K, by the MATLAB script of MPRNet, which most of them use."""
    return tuple(
        PublishedResult(method, psnr, None, Y8, FSNET, f"{RAIN13K}; {ON_TESTS}" if method == "Restormer" else RAIN13K)
        for method, psnr in rows
    )


SYNTHETIC = (
    Benchmark(
        "rain100l",
        "Rain100L (training: RainTrainL)",
        "synthetic",
        PKU,
        JORDER,
        NONE_STATED,
        ZOO,
        (FOLDERS, "rain-N, norain-N, rainstreak-N and rainregion-N in one folder", "norain-N beside a folder rainy"),
        "200 training and 100 test pairs",
        (
            Copy(
                "whole, old version",
                {"train": 200, "test": 100},
                PRENET_DATA,
                {"test": 26.90},
                f"{PUBLISHED} (SSIM 0.838), and {MEASURED}",
            ),
            Copy("even-numbered half of the test set", {"test": 50}, COUNTED, {"test": 27.38}, MEASURED, whole=False),
        ),
        (
            Note("not Rain200L: the authors replaced the files on their page by a version of 1,800 and 200 pairs", RECDERAIN),
            Note("its test set and Rain100H's share their clean images, some of them twice", MET),
            Note("copies cropped to 480x320, re-encoded, rotated and partial ones circulate", MET),
        ),
        (
            PublishedResult("PReNet", 37.48, 0.979, Y_CUT, PRENET, OWN),
            PublishedResult("PRN", 36.99, 0.977, Y_CUT, PRENET, OWN),
            PublishedResult("JORDER", 36.61, 0.974, Y_CUT, PRENET),
            *on_rain13k(("FSNet", 38.00), ("Restormer", 38.99)),
            PublishedResult("AdaIR", 38.64, None, Y, ALL_IN_ONE, f"{OWN}, with sets of haze and noise"),
            PublishedResult("PromptIR", 36.37, None, Y, ALL_IN_ONE, f"{OWN}, with sets of haze and noise"),
        ),
        Hints(split="test"),
    ),
    Benchmark(
        "rain100h",
        "Rain100H, old version (training: RainTrainH)",
        "synthetic",
        PKU,
        JORDER,
        NONE_STATED,
        ZOO,
        (FOLDERS, "rain-N, norain-N, rainstreak-N and rainregion-N in one folder"),
        "1,800 training and 100 test pairs; PReNet trains on the 1,254 that do not show test scenes",
        (
            Copy("whole, old version", {"train": 1800, "test": 100}, PRENET_DATA, {"test": 13.56}, PUBLISHED),
            Copy("without the test set's scenes", {"train": 1254}, PRENET_DATA),
        ),
        (
            Note("546 of the 1,800 training images have the scenes of test images", PRENET_DATA),
            Note("a new version with 200 test pairs carries the same name: see rain100h-new", ZOO),
        ),
        (
            PublishedResult("PReNet", 29.46, 0.899, Y_CUT, PRENET, "1,254 of its training pairs, without the tests' scenes"),
            PublishedResult(
                "RESCAN", 28.88, 0.866, Y_CUT, PRENET, "all 1,800 of its training pairs, 546 with the tests' scenes"
            ),
            PublishedResult("JORDER", 26.54, 0.835, Y_CUT, PRENET),
            *on_rain13k(("FSNet", 31.77)),
        ),
        Hints(split="test"),
    ),
    Benchmark(
        "rain100h-new",
        "Rain100H, new version, by its counts the set that others call Rain200H",
        "synthetic",
        PKU,
        JORDER_E,
        NONE_STATED,
        ZOO,
        (FOLDERS,),
        "1,800 training and 200 test pairs",
        (Copy("whole, new version", {"train": 1800, "test": 200}, "issue 3 of flyywh/JORDER-E"),),
        (Note("figures on it do not compare with those on the old version's 100 test pairs", RECDERAIN),),
        (),
        Hints(split="test"),
    ),
    Benchmark(
        "rain200l",
        "Rain200L, RainLight",
        "synthetic",
        PKU,
        JORDER_E,
        NONE_STATED,
        "README of cschenxiang/DRSformer",
        (FOLDERS,),
        "1,800 training and 200 test pairs",
        (Copy("whole", {"train": 1800, "test": 200}, "issue 3 of flyywh/JORDER-E"),),
        (Note("not Rain100L: other counts, other files", RECDERAIN),),
        published(("PReNet", 37.80), ("RCDNet", 39.17), ("MPRNet", 39.47), ("Restormer", 40.99), ("DRSformer", 41.23)),
        Hints(split="test"),
    ),
    Benchmark(
        "rain200h",
        "Rain200H, RainHeavy",
        "synthetic",
        PKU,
        JORDER_E,
        NONE_STATED,
        "README of cschenxiang/DRSformer",
        (FOLDERS, "{train,test}/small/{rain,norain}/norain-N.png"),
        "1,800 training and 200 test pairs",
        (
            Copy("whole", {"train": 1800, "test": 200}, "issue 3 of flyywh/JORDER-E"),
            Copy(
                "sample in the authors' repository",
                {"train": 20, "test": 5},
                COUNTED,
                {"train": 14.64, "test": 13.85},
                MEASURED,
                whole=False,
            ),
        ),
        (Note("not Rain100H: other counts, other files", RECDERAIN),),
        published(("PReNet", 29.04), ("RCDNet", 30.24), ("MPRNet", 30.67), ("Restormer", 32.00), ("DRSformer", 32.17)),
        Hints(split="test"),
    ),
    Benchmark(
        "rain12",
        "Rain12",
        "synthetic",
        "http://yu-li.github.io/paper/li_cvpr16_rain.zip",
        "Li et al., Rain streak removal using layer priors, CVPR 2016",
        NONE_STATED,
        ZOO,
        (FOLDERS,),
        "12 test pairs, no training set; the field tests models of Rain100L on it",
        (Copy("whole", {"test": 12}, PRENET_DATA, {"test": 30.14}, PUBLISHED),),
        (),
        (
            PublishedResult("PReNet", 36.66, 0.961, Y_CUT, PRENET, "Rain100L's training pairs"),
            PublishedResult("JORDER", 33.92, 0.953, Y_CUT, PRENET),
        ),
        Hints(split="test"),
    ),
    Benchmark(
        "rain800",
        "Rain800 (test set: Test100)",
        "synthetic",
        "https://github.com/hezhangsprinter/ID-CGAN",
        "Zhang et al., Image de-raining using a conditional generative adversarial network, arXiv 1701.05957",
        NONE_STATED,
        "README of hezhangsprinter/ID-CGAN",
        (f"{SIDES}, clean on the left, JPEG",),
        "700 training and 100 test pairs",
        (
            Copy(
                "whole",
                {"train": 700, "test": 100},
                COUNTED,
                {"train": 22.94, "test": 22.59},
                f"{MEASURED}; about 22.5 in papers",
            ),
        ),
        (
            Note("training files show far fewer scenes than there are files; some leak into the test sets of others", MET),
            Note(
                "a part of the rain darkens the picture: 40 of the 100 test images are darker than their clean ones", MEASURED
            ),
            Note(
                "59 training and 3 test pairs repeat another pair of their split, pixel by pixel; no pair is in both splits so",
                MEASURED,
            ),
            Note("one training picture has 3907x2211 pixels, far more than the others", MEASURED),
        ),
        (
            PublishedResult("PReNet", 25.18, None, RGB, TOOLBOX, f"{OWN}, again under one protocol"),
            PublishedResult("RCDNet", 27.75, None, RGB, TOOLBOX, f"{OWN}, again under one protocol"),
            PublishedResult("SPDNet", 27.94, None, RGB, TOOLBOX, f"{OWN}, again under one protocol"),
        ),
        Hints(left="clean"),
    ),
    Benchmark(
        "rain1200",
        "Rain1200, DID-Data, Rain12000 (test set: Test1200)",
        "synthetic",
        "https://github.com/hezhangsprinter/DID-MDN",
        "Zhang and Patel, Density-aware single image de-raining using a multi-stream dense network, CVPR 2018",
        NONE_STATED,
        "README of hezhangsprinter/DID-MDN",
        (f"{SIDES}, in folders Rain_Light, Rain_Medium, Rain_Heavy", FOLDERS),
        "3 densities of 4,000 training pairs, 1,200 test pairs",
        (Copy("whole", {"train": 12000, "test": 1200}, MET),),
        (),
        published(("PReNet", 33.17), ("RCDNet", 34.08), ("MPRNet", 33.99), ("Restormer", 35.29), ("DRSformer", 35.35)),
        Hints(),
    ),
    Benchmark(
        "rain1400",
        "Rain1400, DDN-Data, Rain14000 (training: Rain12600)",
        "synthetic",
        "https://xueyangfu.github.io/projects/cvpr2017.html",
        "Fu et al., Removing rain from single images via a deep detail network, CVPR 2017",
        NONE_STATED,
        ZOO,
        (f"{MANY}: rainy_image/N_k.jpg and ground_truth/N.jpg",),
        "scenes 1 to 900 train (12,600 pairs), 901 to 1000 test (1,400); 14 rains a scene",
        (
            Copy("whole", {"train": 12600, "test": 1400}, PRENET_DATA),
            Copy("earlier split of the paper", {"train": 9100, "test": 4900}, "issue 5 of rajeevyasarla/Syn2Real"),
            Copy("scenes 901 and 902", {"test": 28}, COUNTED, {"test": 25.22}, MEASURED, whole=False),
        ),
        (Note("the split was 9,100 and 4,900 pairs before it became 12,600 and 1,400", "issue 5 of rajeevyasarla/Syn2Real"),),
        (
            PublishedResult("PReNet", 32.60, 0.946, Y_CUT, PRENET, OWN),
            *published(("RCDNet", 33.04), ("MPRNet", 33.10), ("Restormer", 34.20), ("DRSformer", 34.35)),
        ),
        Hints(tests_from=901),
    ),
)
