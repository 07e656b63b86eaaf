"""What TensorBoard finds of a run: curves, inputs and the network's graph."""

import contextlib
import errno
import threading
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stages.shell.tensorboard import LOGS, TensorBoard
from tests.toy import toy, toy_model


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["patients", "shapes", "codes"])
def test_curves_inputs_and_the_graph_are_there_and_the_network_is_as_it_was(name):
    model = toy_model(name).train()
    before = {weight: tensor.clone() for weight, tensor in model.network.state_dict().items()}
    with TensorBoard(name) as board:
        board.start(model, torch.from_numpy(toy(name).splits["train"][0]))
        for epoch in (1, 2):
            board.epoch(epoch, {"epoch": epoch, "lr": 0.1, "train_loss": 3.0 - epoch, "val_loss": None, "train_accuracy": 0.5})
    assert model.network.training and all(torch.equal(before[key], tensor) for key, tensor in model.network.state_dict().items())
    (folder,) = (LOGS / name).iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()
    assert tags["graph"] and set(tags["scalars"]) == {"lr", "loss/train", "accuracy/train"}
    assert [(point.step, point.value) for point in events.Scalars("loss/train")] == [(1, 2.0), (2, 1.0)]
    if name == "shapes":
        (grid,) = events.Images("inputs")
        assert (grid.width, grid.height) > (8 * 4, 8 * 2)
    else:
        (text,) = events.Tensors("inputs/text_summary")
        assert len(text.tensor_proto.string_val[0].decode().split("  \n")) == 24


def full(content):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_once_and_is_no_reason_to_end(capsys):
    hook = threading.excepthook
    with TensorBoard("own") as board:
        board.writer.file_writer.event_writer._async_writer._writer.write = full
        board.writer.flush()
        for epoch in range(1, 100):
            board.epoch(epoch, {"epoch": epoch, "train_loss": 1.0})
            if not board.is_off:
                with contextlib.suppress(OSError):
                    board.writer.flush()
    assert board.is_off and threading.excepthook is hook
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"warning: {board.folder} cannot be written ([Errno 28] No space left on device): the training continues")


def test_a_folder_that_cannot_be_made_is_no_reason_to_end(capsys):
    Path("logs").write_bytes(b"")
    with TensorBoard("own") as board:
        board.start(toy_model("shapes"), torch.zeros(1, 8, 8, 1))
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_the_error_of_another_thread_is_still_printed(monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    with TensorBoard("own"):
        other = threading.Thread(target=full, args=(b"",))
        other.start()
        other.join()
    assert [failure.exc_type for failure in seen] == [OSError]
