"""What cannot change a result: sentences and signals, progress and TensorBoard, saving a run and taking it up again.

No stage depends on these files (dvc.yaml), nor does the state of a run: nothing here returns a value that reaches an output
(tests/stages/shell/test_shell.py).
"""
