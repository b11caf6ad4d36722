"""The sample's Quilt-Instruct folder: chats on histology frames, the publisher's subsets, and the archive of frames.

The faults: ids that repeat over kinds of prompt, both dialects, the mark before or after the question, a repeated chat,
a chat of one turn, a row without its picture, a picture without a row. Planted for curation: an evaluation picture of
VQA-RAD with a chat, same pixels in other bytes; its invented video is that of Quilt-VQA's frames.
"""

from __future__ import annotations

import io
import json
from typing import Any, Final

from PIL import Image

from medmax_pipeline.sample.layout import Tree, jpeg, png, zipped
from medmax_pipeline.sample.layouts import Layout, Pool
from medmax_pipeline.sample.layouts.pmc_oa import caption
from medmax_pipeline.sample.layouts.quilt_1m import ABSENT, frame_name, histology, video_of
from medmax_pipeline.sample.pictures import Picture
from medmax_pipeline.sources.quilt_instruct import CHATS, SUBSETS

ARCHIVE: Final = "quilt_instruct.zip"
FOLDER: Final = "quilt_instruct/"

Record = dict[str, Any]


def chat(picture: Picture, name: str, kind: int) -> Record:
    """One of the kinds of prompt about a picture, true by construction: a conversation, a description, a reasoning.

    All three have the same id. The last is written in the other dialect.
    """
    asked = ("What tissue is shown?", "Describe this image in detail.", "Which kind of picture is it, and why?")[kind]
    stain = f"It is {picture.stain} stained tissue." if picture.stain else "It is stained tissue."
    reply = (f"It is {picture.body_part}.", caption(picture, 0), f"A histology section.\n{stain}")[kind]
    question = f"{asked}\n<image>" if kind == 1 else f"<image>\n{asked}"
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": reply}]
    if kind == 0:
        turns += [{"from": "human", "value": "Is it a radiograph?"}, {"from": "gpt", "value": "No, it is histology."}]
    if kind == 2:
        turns = [{"role": "User", "content": question}, {"role": "GPT", "content": reply}]
    return {"id": f"{video_of(picture.group)}_12", "image": name, "conversations": turns}


def quilt_instruct(pool: Pool) -> Tree:
    """The folder as a tree, deterministic for the same pictures."""
    tree, members, records = Tree("quilt_instruct"), dict[str, bytes](), list[Record]()
    train = histology(pool.of("train"))
    for picture in train:
        name, data = frame_name(picture, folder="quilt_instruct"), jpeg(picture.image())
        members[FOLDER + name] = data
        tree.place(picture, data, ARCHIVE, member=FOLDER + name)
        records += [chat(picture, name, kind) for kind in range(3)]
    for picture in histology([each for each in pool.asked if each.split == "eval"], 1):
        name = frame_name(picture, folder="quilt_instruct")
        data = png(Image.open(io.BytesIO(jpeg(picture.image()))))
        members[FOLDER + name] = data
        tree.place(picture, data, ARCHIVE, member=FOLDER + name, split="train", planted="leak")
        records.append(chat(picture, name, 0))
    whole = list(records)
    if train:
        members[FOLDER + frame_name(train[0], folder="no row")] = jpeg(train[0].image().resize((80, 80)))
        first = records[0]
        whole += [first, {**first, "conversations": first["conversations"][:1]}, {**first, "image": ABSENT}]
    subsets = {
        "ablation_40k": records[::2],
        "complex_abductive": [record for record in records if "role" in record["conversations"][0]],
        "conv_desc": [record for record in records if "from" in record["conversations"][0]],
    }
    for path, chosen in {CHATS: whole, **{SUBSETS[name]: subset for name, subset in subsets.items()}}.items():
        tree.files[path] = (json.dumps(chosen, indent=1, ensure_ascii=False) + "\n").encode()
    tree.files[ARCHIVE] = zipped(members)
    return tree


LAYOUT = Layout("quilt_instruct", quilt_instruct, train=30)
