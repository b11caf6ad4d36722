"""What a tokenizer keeps of pictures, told by source, and what fast mode costs in codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.models.weights import set_options
from medmax_pipeline.tokens.image import Pixels, normalise, preprocess, to_levels
from medmax_pipeline.tokens.likeness import psnr_db, ssim
from medmax_pipeline.tokens.preview import MEASURED, SHEET_IMAGES, reconstruct, with_exact
from medmax_pipeline.tokens.steps import image_codes_step
from medmax_pipeline.tokens.store import CodeStore
from tests.tokens.small import VQGAN_N, image_id, picture, write_tokenizer, write_vqgan
from tests.tokens.test_steps import make_line

COUNT = MEASURED + 3
IDS = sorted(image_id(number) for number in range(COUNT))
DATA = {one: picture(number) for number, one in enumerate(IDS)}


def prepare(one: str) -> Pixels:
    return preprocess(DATA[one], 16)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vqgan(tmp_path_factory.mktemp("weights") / "vqgan")


@pytest.fixture(scope="module")
def vqgan(tokenizer: Path) -> VQGAN:
    return VQGAN.load(tokenizer)


@pytest.fixture
def store(tmp_path: Path, vqgan: VQGAN) -> CodeStore:
    """The codes of all pictures."""
    made = CodeStore(tmp_path / "codes", VQGAN_N)
    values = torch.from_numpy(np.stack([normalise(prepare(one)) for one in IDS])).permute(0, 3, 1, 2).contiguous()
    made.add(IDS, vqgan.encode(values).numpy(), credentialed=False)
    return made


def decoded(vqgan: VQGAN, store: CodeStore, one: str) -> Pixels:
    codes = torch.from_numpy(store.get_many([one]).astype(np.int64))
    return to_levels(vqgan.decode(codes)[0].permute(1, 2, 0).numpy())


def test_figures_are_the_means_over_a_sources_first_pictures(vqgan: VQGAN, store: CodeStore, tmp_path: Path) -> None:
    kept = reconstruct(vqgan, store, {"many": IDS, "one": IDS[-1:], "none": []}, prepare, tmp_path / "sheet.png")
    pairs = [(prepare(one), decoded(vqgan, store, one)) for one in IDS[:MEASURED]]
    assert set(kept) == {"many", "one"}
    assert kept["many"].pictures == MEASURED
    assert kept["many"].psnr_db == pytest.approx(np.mean([psnr_db(*pair) for pair in pairs]), abs=0.01)
    assert kept["many"].ssim == pytest.approx(np.mean([ssim(*pair) for pair in pairs]), abs=1e-4)
    assert kept["one"].pictures == 1


def test_the_sheet_shows_every_source_before_any_shows_twice(vqgan: VQGAN, store: CodeStore, tmp_path: Path) -> None:
    reconstruct(vqgan, store, {"b": IDS[:5], "a": IDS[5:]}, prepare, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        sheet = np.asarray(image)
    assert sheet.shape == (2 * 16, SHEET_IMAGES * 16, 3)
    upper = [sheet[:16, 16 * column : 16 * column + 16] for column in range(3)]
    lower = [sheet[16:, 16 * column : 16 * column + 16] for column in range(3)]
    for place, one in enumerate((IDS[5], IDS[0], IDS[6])):
        assert np.array_equal(upper[place], prepare(one))
        assert np.array_equal(lower[place], decoded(vqgan, store, one))


def test_no_pictures_make_no_sheet(vqgan: VQGAN, store: CodeStore, tmp_path: Path) -> None:
    assert reconstruct(vqgan, store, {"none": []}, prepare, tmp_path / "sheet.png") == {}
    assert not (tmp_path / "sheet.png").exists()


def test_a_tokenizer_without_a_decoder_draws_no_sheet(vqgan: VQGAN, store: CodeStore, tmp_path: Path) -> None:
    bare = VQGAN(vqgan.config, decoder=False)
    assert reconstruct(bare, store, {"one": IDS[:1]}, prepare, tmp_path / "sheet.png") == {}
    assert not (tmp_path / "sheet.png").exists()


def test_a_picture_of_two_sources_is_compared_once(tokenizer: Path) -> None:
    fast = VQGAN.load(tokenizer, "fast")
    found = with_exact(fast, tokenizer, {"a": IDS[:4], "b": IDS[2:6]}, prepare)
    assert found.compared == 6
    assert 0 < found.codes <= 1


def test_a_build_in_fast_mode_says_what_it_costs_in_codes(tmp_path: Path) -> None:
    """Its codes are the fast ones, in a store of their own; an exact build has neither the figure nor those codes."""
    summaries, found = {}, {}
    for mode in ("exact", "fast"):
        weights = tmp_path / mode
        write_tokenizer(weights / "text")
        set_options(write_vqgan(weights / "vqgan"), {"numeric_mode": mode})
        (tmp_path / f"store_{mode}").mkdir()
        _, made = make_line(weights).run(tmp_path / f"store_{mode}", [image_codes_step(["vqa", "cxr"], ["vqa", "cxr"])])
        summaries[mode] = made["image_codes"].manifest.summary
        found[mode] = {path.name for path in (tmp_path / f"store_{mode}" / "codes").iterdir()}
    assert "agreement_with_exact" not in summaries["exact"]
    agreed = summaries["fast"]["agreement_with_exact"]
    assert isinstance(agreed, dict)
    assert agreed["compared"] == 4
    assert 0.5 < agreed["codes"] <= 1  # type: ignore[operator]
    assert not found["exact"] & found["fast"]
