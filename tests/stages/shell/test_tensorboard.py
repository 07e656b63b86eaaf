"""What TensorBoard finds of a run: curves, inputs and the network's graph."""

import contextlib
import errno
import threading
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stages.shell.tensorboard import LOGS, TensorBoard
from tests.toy import CPU, TOYS, toy, toy_model


def logged(name):
    (folder,) = (LOGS / name).iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Shows a toy's run of two epochs and returns what was logged."""
    monkeypatch.chdir(tmp_path)

    def show(name):
        with TensorBoard(name) as board:
            board.start(toy_model(name), torch.from_numpy(toy(name).splits["train"][0]).to(CPU))
            for epoch in (1, 2):
                board.epoch(epoch, {"epoch": epoch, "lr": 0.1, "train_loss": 3.0 - epoch, "val_loss": None, "train_accuracy": 0.5})
        return logged(name)

    return show


@pytest.mark.parametrize("name", TOYS)
def test_curves_have_a_point_an_epoch_and_none_of_what_there_is_not(name, shown):
    events = shown(name)
    assert set(events.Tags()["scalars"]) == {"lr", "loss/train", "accuracy/train"}
    assert [(point.step, point.value) for point in events.Scalars("loss/train")] == [(1, 2.0), (2, 1.0)]


@pytest.mark.parametrize("name", TOYS)
def test_the_graph_and_the_inputs_are_there(name, shown):
    tags = shown(name).Tags()
    assert tags["graph"]
    assert tags["images"] == ["inputs"] if toy(name).meta.input.kind == "image" else tags["tensors"] == ["inputs/text_summary"]


def test_pictures_are_drawn_in_one_grid(shown):
    (grid,) = shown("shapes").Images("inputs")
    assert (grid.width, grid.height) > (8 * 4, 8 * 2)


def test_texts_are_shown_as_texts(shown):
    (text,) = shown("codes").Tensors("inputs/text_summary")
    lines = text.tensor_proto.string_val[0].decode().split("  \n")
    assert len(lines) == 24 and set("".join(lines)) == set("abc")


def test_drawing_the_graph_leaves_the_network_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = toy_model("shapes").train()
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    with TensorBoard("shapes") as board:
        board.start(model, torch.from_numpy(toy("shapes").splits["train"][0]))
    assert model.network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.network.state_dict().items())


def test_a_full_disk_is_told_once_and_is_no_reason_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
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


def test_a_folder_that_cannot_be_made_is_no_reason_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("logs").write_bytes(b"")
    with TensorBoard("own") as board:
        board.start(toy_model("shapes"), torch.zeros(1, 8, 8, 1))
    assert capsys.readouterr().err.count("cannot be written") == 1


def full(content):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_error_of_another_thread_is_still_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    with TensorBoard("own"):
        other = threading.Thread(target=full, args=(b"",))
        other.start()
        other.join()
    assert [failure.exc_type for failure in seen] == [OSError]
