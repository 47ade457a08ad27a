"""A folder with everything that is found in folders of pictures, for every tool that reads one."""

import os
from pathlib import Path

from PIL import Image

from tests.support.training.data_cases import encoded, huge_png, picture

# What each file is said to be; those that are passed over are not named at all.
PICTURES = ("UPPER.JPG", "a space.png", "no_suffix", "wrong_suffix.txt", "Ünïcödé.jpg")
SKIPPED = {
    "avif.avif": "format AVIF is not read",
    "cut.jpg": "truncated or damaged",
    "empty.png": "empty (0 bytes)",
    "huge.png": "more than the",
    "iphone.heic": "format HEIC is not read",
    "leads_nowhere.jpg": "link that leads nowhere",
    "notes.txt": "no picture",
    "pipe.jpg": "neither a file nor a folder",
    "round/about": "link to a folder that it is in",
    "scan.tiff": "format TIFF is not read",
}
PASSED_OVER = (
    ".DS_Store",
    "._UPPER.JPG",
    "Thumbs.db",
    ".ipynb_checkpoints/a.png",
    "__MACOSX/b.png",
)


def write_zoo(folder):
    """Fills a folder, with a line break and an undecodable byte among the names of pictures."""
    folder = Path(folder)
    good = encoded(picture(0))
    for name in (*PICTURES, *PASSED_OVER, "line\nbreak.jpg", os.fsdecode(b"latin\xff.jpg")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(good)
    (folder / "cut.jpg").write_bytes(good[:-200])
    (folder / "empty.png").touch()
    (folder / "huge.png").write_bytes(huge_png())
    (folder / "notes.txt").write_text("no picture at all")
    Image.new("RGB", (8, 8)).save(folder / "scan.tiff")
    for name, brand in (("avif.avif", b"avif"), ("iphone.heic", b"heic")):
        (folder / name).write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + bytes(40))
    os.mkfifo(folder / "pipe.jpg")
    (folder / "leads_nowhere.jpg").symlink_to(folder / "gone.jpg")
    (folder / "round").mkdir()
    (folder / "round" / "about").symlink_to(folder, target_is_directory=True)
    return folder


PICTURE_COUNT = len(PICTURES) + 2
