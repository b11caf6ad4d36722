"""The sample's LLaVA-Med folder: captions, chats and the visual-chat evaluation, as repository and script leave it.

Training figures lie packed in `images.zip`, those of the evaluation loose in `images/`. The faults: `conversatons` and
`conversations`, records without `domain`, the mark before or after the question, an empty caption, a repeated record, a
chat that breaks off, figures missing from disk and figures without a record, a PNG and a torn JPEG called `.jpg`, lines
of the URL list without a record and the other way round, two domains at once, mentions that are objects, strings or
null. `llava_med_instruct_60k.json` is a pointer, what a clone without Git LFS holds: the variant that reads it is
locked. Planted for curation: an evaluation picture of VQA-RAD with a caption, same pixels in other bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from PIL import Image

from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.sample.layout import Tree, jpeg, png, zipped
from medmax_pipeline.sample.layouts import Layout, Pool
from medmax_pipeline.sample.layouts.pmc_oa import PHRASES, caption
from medmax_pipeline.sample.pictures import Picture

ARCHIVE: Final = "images.zip"
FIRST_ARTICLE: Final = 99_000_001
"""PubMed ids from here on are invented."""
FIGURES: Final = ("F1", "f4c-ccrep-2013-119", "pmed-0050054-g001", "Fig2")
"""Figure ids are free-form."""
CAPTIONED: Final = 6
"""Of the training pictures the first ones get captions, the others chats."""
PNG: Final = 4
"""The place of the picture that is a PNG and called `.jpg` as all are."""
INSTRUCTIONS: Final = ("Describe the image concisely.", "Summarize the visual content of the image.")
DOMAINS: Final[Mapping[str, str]] = {"CT": "ct_scan", "MRI": "mri", "histology": "histology"}
ABSENT: Final = "99009001_F9"
TORN: Final = "99009002_F1"
EMPTY: Final = "99009003_F1"
NO_RECORD: Final = "99009004_F7"

Record = dict[str, Any]


def domain_of(picture: Picture, *, also: str = "") -> dict[str, bool]:
    """The five flags; `also` one more that is true."""
    own = DOMAINS.get(picture.modality, "")
    if picture.modality == "radiograph" and picture.body_part == "chest":
        own = "chest_xray"
    return {name: name in (own, also) for name in ("chest_xray", "mri", "ct_scan", "histology", "gross")}


def pair_id(place: int) -> str:
    """The id of the figure at that place."""
    return f"{FIRST_ARTICLE + place}_{FIGURES[place % len(FIGURES)]}"


def record(pair: str, turns: Sequence[str], *, key: str = "conversations", domain: dict[str, bool] | None) -> Record:
    """A record with human and gpt in turn."""
    said = [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(turns)]
    made: Record = {"id": pair, "image": f"{pair}.jpg"}
    if domain is not None:
        made["domain"] = domain
    return {**made, key: said}


def captioned(pair: str, picture: Picture, place: int) -> Record:
    """An alignment record: the key misspelt but for one in three, the mark on either side."""
    asked = INSTRUCTIONS[place % 2]
    question = f"{asked}\n<image>" if place % 2 == 0 else f"<image>\n{asked}"
    key = "conversations" if place % 3 == 2 else "conversatons"
    domain = None if place % 4 == 1 else domain_of(picture)
    return record(pair, [question, caption(picture, place)], key=key, domain=domain)


def chat(pair: str, picture: Picture, place: int) -> Record:
    """An instruction record of one or two pairs, true by construction."""
    what = PHRASES[picture.modality]
    turns = ["What kind of image is this?", f"This is a {what}."]
    if picture.body_part:
        turns += ["Which body part is shown?", f"The {picture.body_part}."]
    turns[0] = f"{turns[0]}\n<image>" if place % 2 else f"<image>\n{turns[0]}"
    key = "conversatons" if place % 4 == 3 else "conversations"
    return record(pair, turns, key=key, domain=None if place % 3 == 2 else domain_of(picture))


def questions(pair: str, picture: Picture, place: int) -> list[Record]:
    """Two rows of the evaluation, without their numbers: a question and a wish for a description."""
    label, shown = f"Figure {place + 1}", caption(picture, 0)
    tokens = f"The {PHRASES[picture.modality]} is shown in {label} ."
    entity = {"type": "figure", "entity_id": str(place + 1), "start_tok": 0, "end_tok": 2}
    mentions: tuple[Any, ...] = ([{"tokens": tokens, "entities": [entity]}], None, [tokens])
    row = {
        "image": f"{pair}.jpg",
        "pair_id": pair,
        "fig_caption": shown,
        "in_text_mention": mentions[place % 3],
        "domain": domain_of(picture, also="gross" if picture.modality == "histology" else ""),
        "fig_label": label,
    }
    asked = (
        ("What kind of image is this?", f"This is a {PHRASES[picture.modality]}.", "conversation"),
        ("Describe the following image in detail.", shown, "detailed_description"),
    )
    return [{**row, "text": f"{text}\n<image>", "gpt4_answer": reply, "type": form} for text, reply, form in asked]


def llava_med(pool: Pool) -> Tree:
    """The folder as a tree, deterministic for the same pictures."""
    tree, members = Tree("llava_med"), dict[str, bytes]()
    train = list(enumerate(pool.of("train")))
    for place, picture in train:
        image = picture.image()
        data = png(image) if place == PNG else jpeg(image)
        members[f"images/{pair_id(place)}.jpg"] = data
        tree.place(picture, data, ARCHIVE, member=f"images/{pair_id(place)}.jpg")
    alignment = [captioned(pair_id(place), picture, place) for place, picture in train[:CAPTIONED]]
    chats = [chat(pair_id(place), picture, place) for place, picture in train[CAPTIONED:]]
    again = [record(made["id"], ["What is this?\n<image>", "A figure."], domain=None) for made in chats[3:4]]
    torn = [record(pair, [f"{INSTRUCTIONS[0]}\n<image>", "A figure."], domain=None) for pair in (ABSENT, TORN)]
    repeated, leaks = alignment[:1], _planted(tree, members, pool.asked)
    empty = record(EMPTY, [f"{INSTRUCTIONS[0]}\n<image>", " "], domain=None)
    broken = record(EMPTY, ["What is this?\n<image>"], domain=None)
    released = {
        "alignment/llava_med_alignment_500k": [*alignment, *leaks, *repeated, *torn, empty],
        "instruct/llava_med_instruct_60k_inline_mention": [*chats[:4], *torn[:1], broken],
        "instruct/llava_med_instruct_10k": [*again, *chats[4:]],
    }
    for path, records in released.items():
        tree.files[f"data/{path}.json"] = (json.dumps(records, indent=1, ensure_ascii=False) + "\n").encode()
    if train:
        whole = jpeg(train[0][1].image())
        members[f"images/{TORN}.jpg"] = whole[: len(whole) // 3]
        members[f"images/{NO_RECORD}.jpg"] = jpeg(train[0][1].image().resize((90, 90)))
    tree.files[ARCHIVE] = zipped(members)
    _write_evaluation(tree, pool.of("eval"))
    _write_urls(tree, [made for records in released.values() for made in records])
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256_bytes(b'60k')}\nsize 88758916\n"
    tree.files["data/instruct/llava_med_instruct_60k.json"] = pointer.encode()
    return tree


def _planted(tree: Tree, members: dict[str, bytes], asked: Sequence[Picture]) -> list[Record]:
    """A caption for the last evaluation picture of VQA-RAD, as shown there."""
    leaks = [picture for picture in asked if picture.split == "eval"][-1:]
    records = []
    for place, picture in enumerate(leaks):
        pair = f"{FIRST_ARTICLE + 5000 + place}_F1"
        data = png(Image.open(io.BytesIO(jpeg(picture.image()))))
        members[f"images/{pair}.jpg"] = data
        tree.place(picture, data, ARCHIVE, member=f"images/{pair}.jpg", split="train", planted="leak")
        records.append(captioned(pair, picture, 0))
    return records


def _write_evaluation(tree: Tree, pictures: Sequence[Picture]) -> None:
    rows: list[Record] = []
    for place, picture in enumerate(pictures):
        pair = pair_id(2000 + place)
        tree.place(picture, jpeg(picture.image()), f"images/{pair}.jpg")
        rows += questions(pair, picture, place)
    rows += [{**row, "image": f"{ABSENT}.jpg", "pair_id": ABSENT} for row in rows[:1]]
    lines = [json.dumps({"question_id": number, **row}) + "\n" for number, row in enumerate(rows)]
    tree.files["data/eval/llava_med_eval_qa50_qa.jsonl"] = "".join(lines).encode()


def _write_urls(tree: Tree, records: Sequence[Record]) -> None:
    """Where each figure but the second's lies, and one that no record has."""
    pairs = [pair for place, pair in enumerate(dict.fromkeys(made["id"] for made in records)) if place != 1]
    lines = [
        {
            "pmc_tar_url": f"https://example.org/oa_package/{place:02x}/{place:02x}/PMC{pair.partition('_')[0]}.tar.gz",
            "image_file_path": f"PMC{pair.partition('_')[0]}/nihms-000000-f{place:04d}.jpg",
            "pair_id": pair,
        }
        for place, pair in enumerate([*pairs, NO_RECORD])
    ]
    tree.files["data/llava_med_image_urls.jsonl"] = "".join(json.dumps(line) + "\n" for line in lines).encode()


LAYOUT = Layout("llava_med", llava_med, train=12, held_out=6)
