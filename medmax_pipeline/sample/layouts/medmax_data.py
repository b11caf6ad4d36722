"""The sample's copy of the published MedMax set: finished instructions with their token ids, in the publisher's layout.

The ids are real: text and pictures go through the shipped tokenizers, in the published order of ids, so that whoever
checks them finds agreement. Planted for that check: a row with other codes, one with another word, one without ids; a
chat has a separator after each reply, as the publisher's texts have. The faults: credentialed rows without picture and
ids in all three forms, rows that share a picture, a row without its member, a member without a row, one that cannot be
decoded, palette and transparency; one gzipped tar cut at an arbitrary byte, SLAKE's pictures in a tar of their own.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from medmax_pipeline.records import IMAGE, Turn
from medmax_pipeline.sample.layout import Tree, jpeg, png, split_parts, tar_gzipped
from medmax_pipeline.sample.layouts import Layout
from medmax_pipeline.sample.layouts.pmc_oa import PHRASES, caption
from medmax_pipeline.sample.pictures import Picture

ARCHIVE: Final = "images.tar.gz"
FIRST_PIECE: Final = f"{ARCHIVE}.aa"
SLAKE: Final = "slake.tar.gz"
SEPARATOR: Final = "<reserved08706>"
ABSENT: Final = "images/pmc_oa/PMC9800001_Fig1_0.jpg"
BROKEN: Final = "images/pmc_oa/PMC9800002_Fig1_0.jpg"
UNASKED: Final = "images/quilt/unasked.bmp"
PICTURES: Final = 8
BATCH: Final = 8
"""Pictures a batch, as the encoder has it: the same shape gives the same codes."""
WITHOUT_IDS, OTHER_WORDS, OTHER_CODES = 1, 8, 9
"""Places of the rows, before the credentialed ones are put in, in which a disagreement is planted."""
CODES_CHANGED: Final = 3
WEIGHTS: Final = Path(__file__).parents[1] / "weights"

if TYPE_CHECKING:
    from medmax_pipeline.tokens.vocabulary import Vocabulary

Rows = list[dict[str, Any]]


@dataclass(slots=True)
class Published:
    """Members and rows while they grow; each row's ids are added when all its pictures are known."""

    tree: Tree
    members: dict[str, dict[str, bytes]] = field(default_factory=lambda: {ARCHIVE: {}, SLAKE: {}})
    rows: Rows = field(default_factory=list)

    def show(self, picture: Picture, data: bytes, name: str, archive: str = ARCHIVE) -> str:
        """Put a picture into an archive; the name of its member."""
        self.members[archive][name] = data
        self.tree.place(picture, data, FIRST_PIECE if archive == ARCHIVE else archive, member=name)
        return name

    def tell(self, task: str, source: str, image: str, *turns: str) -> dict[str, Any]:
        """Append a row that is not credentialed; its ids are to come."""
        text = SEPARATOR.join(turns)
        row = {
            "text": text,
            "tokens": [],
            "image_path": image,
            "task": task,
            "source": source,
            "credential": "no" if len(self.rows) % 2 else "NO",
        }
        self.rows.append(row)
        return row


def medmax_data(pictures: Sequence[Picture]) -> Tree:
    """The folder as a tree, deterministic for the same pictures; all of them are training pictures."""
    tree = Tree("medmax_data")
    made = Published(tree)
    if len(pictures) >= PICTURES:
        _instructions(made, pictures)
        _faulty(made, pictures[0])
        _publish_ids(made)
    validation = [{**row, "text": row["text"].replace("this", "the")} for row in made.rows[:2]]
    made.rows[1:1] = credentialed_rows()
    for name, rows in (("train.jsonl", made.rows), ("validation.jsonl", validation)):
        tree.files[name] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    archive = tar_gzipped(made.members[ARCHIVE])
    tree.files |= split_parts(ARCHIVE, archive, (len(archive) * 2 // 5 + 7,))
    tree.files[SLAKE] = tar_gzipped(made.members[SLAKE])
    return tree


def _instructions(made: Published, pictures: Sequence[Picture]) -> None:
    """One row or two of each task, true of the pictures by construction."""
    what = [PHRASES[picture.modality] for picture in pictures]
    shown = [picture.image().convert("RGB") for picture in pictures]
    shared = made.show(pictures[0], jpeg(shown[0]), "images/vqa_rad/synpic00001.jpg")
    made.tell("VQA", "vqa_rad", shared, f"{IMAGE}Is this a drawing?", "No")
    made.tell("VQA", "vqa_rad", shared, f"{IMAGE}What is the modality of this image?", what[0])
    name = made.show(pictures[1], png(shown[1]), "images/pmc_oa/PMC9800003_Fig1_0.png")
    request = f"Provide a brief overview of what is shown in the image.{IMAGE}"
    made.tell("Image Captioning", "pmc_oa", name, request, caption(pictures[1], 0))
    name = made.show(pictures[2], png(shown[2].quantize(64)), "images/quilt/a (1).png")
    made.tell("Image Generation", "quilt", name, f"Generate this image: {caption(pictures[2], 0)}", IMAGE)
    name = made.show(pictures[3], _as(shown[3], "TIFF"), "images/pmc_oa/PMC9800004_Fig2_1.tif")
    answer = f"#### a) Clinical Interpretation\nA {what[3]}.\n#### b) Visual Context {IMAGE}\n#### c) Key Components"
    made.tell("Multimodal Generation", "medmax_instruct", name, f"What does a {what[3]} look like?", answer)
    clear = shown[4].copy()
    clear.putalpha(220)
    name = made.show(pictures[4], png(clear), "images/llava_med/12345678_F1.png")
    first, then = f"{IMAGE}\nWhat kind of image is this?", "How many pixels wide is it?"
    made.tell("Visual Chat", "llava_med", name, first, f"A {what[4]}.", then, f"{shown[4].width}.")
    name = made.show(pictures[5], jpeg(shown[5]), "images/pmc_vqa/PMC9800005_Fig1.jpeg")
    others = [phrase for phrase in PHRASES.values() if phrase != what[5]][:3]
    options = [*others[:1], what[5], *others[1:]]
    lettered = "\n".join(f"{letter}: {option}" for letter, option in zip("ABCD", options, strict=True))
    made.tell("VQA", "pmc_vqa", name, f"{IMAGE}What is shown?\n{lettered}", f"B: {what[5]}")
    name = made.show(pictures[6], jpeg(shown[6]), "imgs/xmlab1/source.jpg", SLAKE)
    made.tell("vqa", "slake", name, f"{IMAGE}Is the modality {what[6]}?", "Yes")
    name = made.show(pictures[7], _as(shown[7], "BMP"), "images/pathvqa/train_0001.bmp")
    made.tell("VQA", "pathvqa", name, f"{IMAGE}What is this?", what[7])
    made.tell("Image Captioning", "pmc_oa", name, f"{IMAGE}Please describe this picture.", caption(pictures[7], 1))


def _as(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def _faulty(made: Published, picture: Picture) -> None:
    """Rows and members with the faults that the real set has."""
    whole = jpeg(picture.image())
    made.members[ARCHIVE][BROKEN] = whole[: len(whole) // 3]
    made.members[ARCHIVE][UNASKED] = _as(picture.image().resize((80, 80)), "BMP")
    for name in (ABSENT, BROKEN):
        made.tell("Image Captioning", "pmc_oa", name, f"{IMAGE}Describe.", "A picture that nobody can open.")


def credentialed_rows() -> Rows:
    """Rows of a credentialed set as they are published: without picture and ids, in the three forms a lack can have."""
    prompt = f"Examine this medical image and document your observations.{IMAGE}"
    row = {"task": "Report Understanding", "source": "mimic_cxr", "credential": "YES"}
    texts = [SEPARATOR.join((prompt, f"{finding}.")) for finding in ("Clear lungs", "No effusion", "Normal heart")]
    return [
        {"text": texts[0], **row},
        {"text": texts[1], "tokens": None, "image_path": None, **row},
        {"text": texts[2], "tokens": [], "image_path": "", **row, "credential": "yes"},
    ]


def _publish_ids(made: Published) -> None:
    """Give each row the ids of its text and picture; those of a picture that cannot be opened are another one's."""
    from medmax_pipeline.tokens.sequence import Sequencer
    from medmax_pipeline.tokens.text import TextTokenizer
    from medmax_pipeline.tokens.vocabulary import image_geometry, read_vocabulary

    geometry = image_geometry(WEIGHTS / "vqgan")
    vocabulary = read_vocabulary(WEIGHTS / "text", geometry.codes_per_image, geometry.codebook_size)
    sequencer = Sequencer(vocabulary, TextTokenizer(WEIGHTS / "text", vocabulary))
    members = {name: data for archive in made.members.values() for name, data in archive.items()}
    codes = _codes({row["image_path"]: members[row["image_path"]] for row in made.rows if row["image_path"] in members})
    for row in made.rows:
        turns = [Turn("assistant" if n % 2 else "user", part) for n, part in enumerate(row["text"].split(SEPARATOR))]
        own = codes.get(row["image_path"], next(iter(codes.values())))
        ids = sequencer.sequence(turns, [own] * row["text"].count(IMAGE)).ids.tolist()
        row["tokens"] = [vocabulary.sep if token == vocabulary.eos else token for token in ids[:-1]] + ids[-1:]
    _plant(made.rows, vocabulary)


def _codes(pictures: Mapping[str, bytes]) -> dict[str, Any]:
    """The codes of each picture that can be opened, as the encoder makes them."""
    import torch

    from medmax_pipeline.errors import ImageError
    from medmax_pipeline.models.vqgan import VQGAN
    from medmax_pipeline.tokens.encode import encode_batch
    from medmax_pipeline.tokens.image import preprocess

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        vqgan = VQGAN.load(WEIGHTS / "vqgan")
        prepared = {}
        for name, data in pictures.items():
            try:
                prepared[name] = preprocess(data, vqgan.resolution)
            except ImageError:
                continue
        codes: dict[str, Any] = {}
        for start in range(0, len(prepared), BATCH):
            names = list(prepared)[start : start + BATCH]
            codes |= zip(names, encode_batch(vqgan, [prepared[name] for name in names], BATCH), strict=True)
    finally:
        torch.set_num_threads(threads)
    return codes


def _plant(rows: Rows, vocabulary: Vocabulary) -> None:
    """Disagreement to be found: a row without ids, one with another word, one with other codes."""
    rows[WITHOUT_IDS]["tokens"] = []
    words = rows[OTHER_WORDS]["tokens"]
    words[-2] = words[-3] if words[-3] != words[-2] else words[-4]
    codes = rows[OTHER_CODES]["tokens"]
    start = codes.index(vocabulary.boi) + 1
    for place in range(start, start + CODES_CHANGED):
        codes[place] = vocabulary.first_code + (codes[place] - vocabulary.first_code + 1) % vocabulary.codebook_size


LAYOUT = Layout("medmax_data", lambda pool: medmax_data(pool.of("train")), train=PICTURES)
