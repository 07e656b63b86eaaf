"""What a fixed network makes of the items of a split: kept as float32, and given as float64 to what is fitted on it."""

from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from stages.shell.errors import UserError
from stages.training.head import Matrix

MB = 10**6


class Features:
    """Rows [count, width], of which `done` are there. While a head is fitted on them they take up to `most` bytes; more is refused."""

    def __init__(self, count: int, most: int):
        self.count, self.most, self.done = count, most, 0
        self.rows = np.empty((0, 0), np.float32)

    def add(self, batch: Tensor) -> None:
        """The next rows, float32 [k, width]."""
        rows = batch.detach().float().cpu().numpy()
        if self.done == 0:
            self.refuse(self.count * rows.shape[1] * 12, rows.shape[1])  # 4 bytes a number, and 8 in the copy that is fitted on
            self.rows = np.empty((self.count, rows.shape[1]), np.float32)
        self.rows[self.done : self.done + len(rows)] = rows
        self.done += len(rows)

    def refuse(self, size: int, width: int) -> None:
        if size > self.most:
            raise UserError(
                f"A head is fitted on the features of {self.count:,} items, {width:,} each, in memory: {size // MB:,} MB, but "
                f"runtime.stream_above_mb allows {self.most // MB:,}. Raise it if the machine has more, or name a recipe with an optimizer."
            )

    def matrix(self, places: np.ndarray | None = None) -> Matrix:
        """The rows at these places, or all: a copy in float64."""
        return (self.rows if places is None else self.rows[places]).astype(np.float64)

    def state(self) -> dict[str, Any]:
        return {"done": self.done, "rows": torch.from_numpy(self.rows[: self.done])}

    def load(self, state: dict[str, Any]) -> None:
        self.done, kept = state["done"], state["rows"].numpy()
        self.rows = np.empty((self.count if self.done else 0, kept.shape[1]), np.float32)
        self.rows[: self.done] = kept


class SparseFeatures(Features):
    """Features that are mostly 0: only the others are kept."""

    def __init__(self, count: int, most: int):
        super().__init__(count, most)
        self.pieces: list[scipy.sparse.csr_matrix] = []
        self.num_kept = 0

    def add(self, batch: Tensor) -> None:
        piece = scipy.sparse.csr_matrix(batch.detach().float().cpu().numpy())
        self.num_kept += piece.nnz
        self.refuse(self.num_kept * 20, piece.shape[1])  # a place and a number, of 4 bytes each, then of 4 and 8
        self.pieces.append(piece)
        self.done += piece.shape[0]

    def whole(self) -> scipy.sparse.csr_matrix:
        self.pieces = [scipy.sparse.vstack(self.pieces, format="csr")] if len(self.pieces) > 1 else self.pieces
        return self.pieces[0]

    def matrix(self, places: np.ndarray | None = None) -> Matrix:
        return (self.whole() if places is None else self.whole()[places]).astype(np.float64)

    def state(self) -> dict[str, Any]:
        if not self.pieces:
            return {"done": 0}
        whole = self.whole()
        parts = {name: torch.from_numpy(getattr(whole, name)) for name in ("data", "indices", "indptr")}
        return {"done": self.done, "shape": list(whole.shape), **parts}

    def load(self, state: dict[str, Any]) -> None:
        self.done = state["done"]
        if self.done:
            parts = tuple(state[name].numpy() for name in ("data", "indices", "indptr"))
            self.pieces = [scipy.sparse.csr_matrix(parts, shape=tuple(state["shape"]))]
            self.num_kept = self.pieces[0].nnz
