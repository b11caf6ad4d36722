"""The picture of the losses."""

import io

from PIL import Image

from medmax_pipeline.training.curve import COLOURS, SIZE_PX, loss_curve


def picture_of(records: list[dict[str, float | None]]) -> Image.Image:
    """The curve, opened."""
    return Image.open(io.BytesIO(loss_curve(records))).convert("RGB")


def rows_of(picture: Image.Image, name: str, column: int) -> list[int]:
    """Rows of a column that have that line's colour."""
    return [row for row in range(50, picture.height) if picture.getpixel((column, row)) == COLOURS[name]]


def test_falling_losses_fall_on_the_picture_and_images_have_a_line_of_their_own() -> None:
    records: list[dict[str, float | None]] = [
        {"step": step, "text_loss": 4 - step / 50, "image_loss": 6.0} for step in range(1, 101)
    ]
    picture = picture_of(records)
    assert picture.size == SIZE_PX
    early, late = rows_of(picture, "text_loss", 200), rows_of(picture, "text_loss", 700)
    assert min(late) > max(early)
    assert rows_of(picture, "image_loss", 200) == rows_of(picture, "image_loss", 700)


def test_a_run_without_pictures_has_no_image_line() -> None:
    picture = picture_of([{"step": step, "text_loss": 1.0, "image_loss": None} for step in (1, 2, 3)])
    assert rows_of(picture, "text_loss", 400)
    assert not rows_of(picture, "image_loss", 400)
