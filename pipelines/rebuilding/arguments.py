"""What the commands that rebuild are told."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="stages of dvc.yaml, for example train@mnist_cnn, or train for all of them; default: everything",
    )
    parser.add_argument("--jobs", type=number, metavar="N", help="stages at a time; default: as many as there are cores for")
    parser.add_argument("--force", action="store_true", help="also run what is up to date")
    parser.add_argument("--keep-going", action=argparse.BooleanOptionalAction, default=True, help="after a failure, continue with the rest")


def number(text: str) -> int:
    """From 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number from 1 on")
    return int(text)
