"""Prefect flows over the graph of dvc.yaml. A file here is a flow; none has been written yet (see CHANGELOG.md)."""
