"""Pictures, sound, arrays, plain text: read as described, encoded anew as in training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from panformer.core.errors import InputError
from panformer.data.audio import log_mel, resample
from panformer.data.images import read_image, resize
from panformer.data.open import open_data, records
from panformer.data.prepare import Preparation, load_prepare

RNG = np.random.default_rng(0)


def reload(prepare: Preparation) -> Preparation:
    again = load_prepare(json.loads(json.dumps(prepare.dump())))
    assert again == prepare
    return again


# ---- pictures -----------------------------------------------------------------------------------------------


def pictures(root: Path, sizes: list[tuple[int, int]], mode: str = "RGB", count: int = 8) -> Path:
    image = pytest.importorskip("PIL.Image", reason="pictures need Pillow")
    for k, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            w, h = sizes[(i + k) % len(sizes)]
            pixels = RNG.integers(0, 100 + 100 * k, (h, w, 3), dtype=np.uint8)
            image.fromarray(pixels).convert(mode).save(root / name / f"{i}.png")
    return root


def test_a_folder_of_pictures_by_class(tmp_path: Path) -> None:
    data = open_data(str(pictures(tmp_path / "set", [(12, 10)])))
    task = data.task
    assert (task.kind, task.reads, task.channels, task.grid, task.classes) == (
        "classification",
        "image",
        3,
        (10, 12),
        ("cat", "dog"),
    )
    x = torch.stack(list(data.train.inputs))
    assert x.shape[1:] == (3, 10, 12)
    assert x.mean((0, 2, 3)).abs().max() < 1e-5
    assert (x.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5
    prepare = reload(data.prepare)
    new = dict(records(str(tmp_path / "set"), prepare))
    assert len(new) == 16
    for x, source in zip(data.test.inputs, data.test.source, strict=True):
        assert torch.equal(prepare.encode(new[source]), x)
    ((_, one),) = records(str(tmp_path / "set/cat/0.png"), prepare)
    assert prepare.encode(one).shape == (3, 10, 12)


def test_sizes_are_made_one_and_said(tmp_path: Path) -> None:
    data = open_data(str(pictures(tmp_path / "set", [(40, 30), (36, 50)])))
    assert data.task.grid == (32, 32)
    assert any("2 sizes -> resized to 32x32" in w for w in data.facts["why"])
    assert open_data(str(tmp_path / "set"), image_size=16).task.grid == (16, 16)


def test_grey_pictures_have_one_channel(tmp_path: Path) -> None:
    assert open_data(str(pictures(tmp_path / "set", [(9, 9)], "L"))).task.channels == 1


def test_unreadable_pictures_are_left_out_by_name(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", [(9, 9)])
    (root / "cat" / "bad.png").write_bytes(b"not a picture")
    (root / "cat" / "notes.txt").write_text("hello")
    (root / "stray.png").write_bytes((root / "cat" / "0.png").read_bytes())
    (root / "cat" / ".hidden").write_text("x")
    data = open_data(str(root))
    assert any("bad.png: cannot be read as a picture" in r for r in data.refused)
    assert any("notes.txt: is no image file" in r for r in data.refused)
    assert any("stray.png: lies beside" in r for r in data.refused)
    assert any("1 of 17 image files" in w for w in data.facts["warnings"])
    assert len(data.refused) == 3


def test_folders_name_classes_also_where_they_are_numbers_or_empty(tmp_path: Path) -> None:
    for i in range(25):
        for j in range(3):
            (tmp_path / f"set/{i}").mkdir(parents=True, exist_ok=True)
            Image.fromarray((RNG.random((9, 9)) * 255).astype(np.uint8)).save(tmp_path / f"set/{i}/{j}.png")
    (tmp_path / "set" / "none").mkdir()
    data = open_data(str(tmp_path / "set"))
    assert (data.task.kind, len(data.task.classes)) == ("classification", 25)
    assert data.facts["why"][0] == "75 image files in 25 subfolders -> classification by subfolder"
    assert not any("distinct" in line for line in data.facts["why"])
    assert data.facts["warnings"] == ["no class is made of 'none': no image files are in there"]


def test_a_picture_of_fractions_is_refused(tmp_path: Path) -> None:
    Image.fromarray(RNG.random((9, 9)).astype(np.float32), "F").save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match=r"a\.tiff: cannot be read as a picture \(its pixels are fractions"):
        read_image(tmp_path / "a.tiff")


def test_copied_pictures_stay_in_one_split(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", [(9, 9)])
    for i in range(6):
        (root / "cat" / f"copy{i}.png").write_bytes((root / "cat" / "0.png").read_bytes())
    data = open_data(str(root))
    held = [any("copy" in s or s.endswith("cat/0.png") for s in p.source) for p in (data.train, data.valid, data.test)]
    assert sum(held) == 1
    assert data.facts["duplicates"] == 6


def test_resize_averages_areas() -> None:
    x = RNG.random((16, 16, 2))
    assert resize(x, (16, 16)) is x
    assert np.allclose(resize(np.full((9, 7, 1), 0.3), (4, 4)), 0.3)
    assert resize(x, (4, 4)).mean() == pytest.approx(x.mean(), abs=0.02)


# ---- sound --------------------------------------------------------------------------------------------------


def tone(rate: int, hertz: float, seconds: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def sounds(root: Path, rates: list[int]) -> Path:
    sf = pytest.importorskip("soundfile", reason="sound needs soundfile")
    for name, hertz in (("low", 300), ("high", 1500)):
        (root / name).mkdir(parents=True)
        for i in range(8):
            rate = rates[i % len(rates)]
            sf.write(root / name / f"{i}.{'flac' if i % 2 else 'wav'}", tone(rate, hertz + 5 * i, 0.3 + 0.02 * i), rate)
    return root


def test_a_folder_of_sound_by_class(tmp_path: Path) -> None:
    data = open_data(str(sounds(tmp_path / "set", [8000, 8000, 22050])))
    task = data.task
    assert (task.reads, task.channels, task.vocab, task.classes) == ("values", 40, 0, ("high", "low"))
    assert any("8,000 Hz" in w and "22,050 Hz" in w for w in data.facts["why"])
    assert task.max_length == 1 + (round(0.44 * 8000) - 200) // 80
    assert data.facts["lengths"]["max"] == task.max_length
    prepare = reload(data.prepare)
    new = dict(records(str(tmp_path / "set"), prepare))
    for x, source in zip(data.train.inputs, data.train.source, strict=True):
        assert torch.equal(prepare.encode(new[source]), x)


@pytest.mark.parametrize(("rate", "to"), [(8000, 16000), (16000, 8000), (22050, 16000)])
def test_resampling_keeps_a_tone(rate: int, to: int) -> None:
    got = resample(tone(rate, 500, 1.0), rate, to)
    assert len(got) == to
    assert np.abs(got - tone(to, 500, 1.0)).max() < 1e-3


def test_log_mel_finds_the_band_of_a_tone() -> None:
    corner = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 42) / 2595) - 1)
    for band in (12, 25, 38):
        frames = log_mel(tone(8000, corner[band + 1], 0.5), 8000)
        assert frames.shape == (1 + (4000 - 200) // 80, 40)
        assert set(frames.argmax(1).tolist()) == {band}
    assert log_mel(np.zeros(10), 8000).shape == (1, 40), "shorter than a window"


# ---- arrays -------------------------------------------------------------------------------------------------


def saved(tmp_path: Path, **arrays: np.ndarray) -> str:
    np.savez(tmp_path / "a.npz", **arrays)
    return str(tmp_path / "a.npz")


Y = np.arange(30) % 3


@pytest.mark.parametrize(
    ("x", "y", "kind", "reads", "channels", "shape"),
    [
        (RNG.normal(size=(30, 4)), Y, "classification", "values", 2, (4, 2)),
        (RNG.normal(size=(30, 4)), RNG.normal(size=30), "regression", "values", 2, (4, 2)),
        (RNG.normal(size=(30, 9, 5)), Y, "classification", "values", 5, (9, 5)),
        (RNG.integers(0, 255, (30, 8, 6), dtype=np.uint8), Y, "classification", "image", 1, (1, 8, 6)),
        (RNG.integers(0, 255, (30, 8, 6, 3)), Y, "classification", "image", 3, (3, 8, 6)),
        (RNG.random((30, 3, 8, 6)), np.array(list("abc") * 10), "classification", "image", 3, (3, 8, 6)),
    ],
    ids=["table", "regression", "sequences", "grey", "colour", "channels first"],
)
def test_arrays_are_read_by_their_shape(
    tmp_path: Path, x: np.ndarray, y: np.ndarray, kind: str, reads: str, channels: int, shape: tuple[int, ...]
) -> None:
    source = saved(tmp_path, x=x, y=y)
    data = open_data(source)
    assert (data.task.kind, data.task.reads, data.task.channels) == (kind, reads, channels)
    assert data.train.inputs[0].shape == shape
    prepare = reload(data.prepare)
    new = dict(records(source, prepare))
    assert all(torch.equal(prepare.encode(new[s]), v) for s, v in zip(data.test.source, data.test.inputs, strict=True))


def test_lengths_cut_one_long_array_into_sequences(tmp_path: Path) -> None:
    lengths = RNG.integers(3, 12, 30)
    data = open_data(saved(tmp_path, X=RNG.normal(size=(lengths.sum(), 2)), y=Y, lengths=lengths))
    assert data.task.max_length == lengths.max()
    for x, source in zip(data.train.inputs, data.train.source, strict=True):
        assert len(x) == lengths[int(source.rpartition(":")[2])]


def test_arrays_of_another_form_are_refused(tmp_path: Path) -> None:
    prepare = open_data(saved(tmp_path, x=RNG.normal(size=(30, 9, 5)), y=Y)).prepare
    with pytest.raises(InputError, match=r"a\.npz: x of shape \(3, 4\) holds rows; the model reads frames"):
        list(records(saved(tmp_path, x=np.ones((3, 4))), prepare))
    with pytest.raises(InputError, match=r"shape \(9, 4\); the model reads \(T, 5\)"):
        prepare.encode(np.ones((9, 4)))


# ---- plain text ---------------------------------------------------------------------------------------------

LINES = "".join(f"line {i} of a small text\n" for i in range(100))


def test_one_text_is_split_by_place(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n").encode())
    data = open_data(str(tmp_path / "t.txt"))
    assert (data.task.kind, data.task.reads, data.task.vocab, data.task.measure) == (
        "language",
        "tokens",
        258,
        "bits_per_byte",
    )
    parts = [data.prepare.decode(part.inputs[0]) for part in (data.train, data.valid, data.test)]
    assert "\n".join(parts) + "\n" == LINES, "nothing is lost, and parts end with a line"
    assert [len(p) / len(LINES) for p in parts] == pytest.approx([0.7, 0.15, 0.15], abs=0.02)
    assert data.facts["bytes"] == {k: len(p) + 1 for k, p in zip(("train", "valid", "test"), parts, strict=True)}
    n = data.facts["bytes"]["train"]
    assert data.facts["bytes_per_token"]["train"] == pytest.approx(n / (n + 1))


def test_a_folder_of_texts_is_split_by_file(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i}.txt").write_text(f"file {i}\n" * (10 + i))
    (tmp_path / "copy.txt").write_text("file 3\n" * 13)
    (tmp_path / "bad.txt").write_bytes(b"\xff" * 20)
    data = open_data(str(tmp_path))
    parts = [set(p.source) for p in (data.train, data.valid, data.test)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 21
    assert sum(bool({str(tmp_path / "3.txt"), str(tmp_path / "copy.txt")} & p) for p in parts) == 1
    assert any("bad.txt, line 1: byte 0" in r for r in data.refused)


def test_texts_by_class_when_asked(tmp_path: Path) -> None:
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        for i in range(6):
            (tmp_path / name / f"{i}.txt").write_text(f"a {name} text, number {i}")
    data = open_data(str(tmp_path), task="classification")
    assert (data.task.kind, data.task.reads, data.task.classes) == ("classification", "tokens", ("bad", "good"))
    ((_, record),) = records(str(tmp_path / "good/1.txt"), data.prepare)
    assert data.prepare.input.text(data.prepare.encode(record).tolist()) == "a good text, number 1"


def test_language_with_a_bpe(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="BPE needs tokenizers")
    (tmp_path / "t.txt").write_text(LINES * 5)
    data = open_data(str(tmp_path / "t.txt"), tokens="bpe")
    assert data.facts["bytes_per_token"]["test"] > 2
    assert reload(data.prepare).decode(data.train.inputs[0]) + "\n" == (LINES * 5)[: data.facts["bytes"]["train"]]
