"""The size of pictures and how they are normalised: keys of params.yaml that kinds of data with pictures share."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.common.meta import Input, Resize
from stages.common.params import Section

# Mean and std by the value of `normalize`; those of train are measured.
NORMS = {"imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), "symmetric": ([0.5] * 3, [0.5] * 3), "train": (None, None)}

Side = Annotated[int, Field(ge=1, le=4096)]


class Pictures(Section):
    """The size of pictures in pixels.

    `resize` is the length of the shorter side, null where every picture has the size `crop` already; then train's
    pictures are cut to `train_crop`, and val's and test's to `crop`, in the middle. `normalize`: mean and std measured on
    train; ImageNet's, for networks with weights from there; `symmetric`: -1 to 1, for those of efficientnet_lite.
    """

    resize: Side | None
    crop: Side
    train_crop: Side
    normalize: Literal["train", "imagenet", "symmetric"]
    max_bad_fraction: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _crops_fit(self) -> "Pictures":
        if self.resize is None and self.train_crop != self.crop:
            raise ValueError(f"with resize null expected train_crop to be crop ({self.crop}), got {self.train_crop}")
        if self.resize is not None and max(self.crop, self.train_crop) > self.resize:
            raise ValueError(f"expected crop ({self.crop}) and train_crop ({self.train_crop}) to be at most resize ({self.resize})")
        return self

    def input(self) -> Input:
        """As meta.json has it."""
        mean, std = NORMS[self.normalize]
        resize = None if self.resize is None else Resize(shorter_side=self.resize, crop=self.crop)
        return Input(kind="image", shape=[self.crop, self.crop, 3], dtype="uint8", mean=mean, std=std, resize=resize)
