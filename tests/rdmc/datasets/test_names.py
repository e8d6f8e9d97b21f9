"""Words, roles and splits in the names of files and folders."""

from __future__ import annotations

import unicodedata

import pytest

from rdmc.datasets.names import (
    as_words,
    file_role,
    folder_role,
    of_folder,
    of_video,
    split_of,
    without_common,
    without_ends,
    without_roles,
    words,
)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(
            (name, "")
            for name in ("GTRain", "gtrain", "GTrain", "LightRain", "latest", "contest", "terrain", "interval", "eval")
        ),
        *((name, "") for name in ("train_and_test", "trainval", "Attestation", "strain", "backtest", "")),
        *((name, "train") for name in ("train", "TRAIN", "RainTrainH", "GT-RAIN_train", "train_set", "trainset", "Rain12600")),
        *((name, "train") for name in ("rain_data_train_Heavy", "train2017", "Training Data", "raintrainl", "GTRain_train")),
        *((name, "test") for name in ("Test100", "rain_heavy_test", "real_test_1000", "TESTdata", "testing")),
        *((name, "validation") for name in ("val", "GT-RAIN_val", "validation_set", "Valid")),
    ],
)
def test_a_split_is_named_by_whole_words(name: str, split: str) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *(
            (name, "clean")
            for name in ("norain", "gt", "train_clean", "clean_images", "GT images", "no_rain", "rain-free", "hq")
        ),
        *((name, "rainy") for name in ("rain", "in", "rainy_train", "LQ", "input_images")),
        *((name, "") for name in ("GT-RAIN_train", "Rain100H", "images", "train", "rain_data_heavy", "outdoor")),
    ],
)
def test_a_folder_has_a_role_if_all_its_words_say_so(name: str, role: str) -> None:
    assert folder_role(name) == role


@pytest.mark.parametrize(
    ("stem", "role"),
    [
        *((stem, "rainy") for stem in ("rain-1", "001_in", "5_rainy", "rain_street", "A_0-Webcam-R-007", "x_lq")),
        *(
            (stem, "clean")
            for stem in ("norain-1", "001_GT", "5_clean", "A_0-Webcam-C-000", "gt_12", "norain_x2", "1_rain_free")
        ),
        *((stem, "") for stem in ("teaser", "terrain-1", "12", "brain_1", "street_c")),
        *((stem, "layer") for stem in ("rainstreak-1", "rainregion-001")),
    ],
)
def test_a_file_has_a_role_by_its_words(stem: str, role: str) -> None:
    assert file_role(stem) == role


def test_numbers_are_numbers_and_unicode_has_one_form() -> None:
    assert words("Rain-001") == words("rain_1") == ("rain", 1)
    assert words(unicodedata.normalize("NFD", "été 1")) == words(unicodedata.normalize("NFC", "été 1"))
    assert words("park2") != words("park_2")
    assert words("公园1") != words("河边1")
    assert words("9" * 5000) == ("9" * 5000,)


def test_a_folder_is_compared_without_its_role() -> None:
    assert of_folder("s1_in") == of_folder("S1-gt") == ("s", "+", 1)
    assert of_folder("test_rainy_images") == of_folder("test_GT") == ("test",)
    assert of_folder("rain") == of_folder("clean_images") == ()
    assert of_folder("night images") != of_folder("night")


def test_other_roles_than_r_and_c_do_not_make_frames_of_a_video() -> None:
    assert of_video(["X-rain-007", "X-norain-000"]) == [None, None]


def test_what_is_left_of_a_name_in_each_way() -> None:
    assert as_words(["im_0001_s80"]) == [("im", 1, "s", "+", 80)]
    assert without_ends(["norain-001", "001_GT", "rain7", "in"]) == [(1,), (1,), (7,), ()]
    assert without_common(["photo_5", "photo_6"]) == [(5,), (6,)]
    assert without_common(["photo_5"]) == [("photo", 5)]
    assert without_common(["5_sharp", "6_sharp"]) == [(5,), (6,)]
    assert without_roles(["pie-rd-rain-5", "pie-norain-5"]) == [("pie", 5), ("pie", 5)]
    assert of_video(["X-Webcam-R-007", "X-Webcam-C-000", "X_7"]) == [("x", "webcam"), ("x", "webcam"), None]
