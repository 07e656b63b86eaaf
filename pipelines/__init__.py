"""Prefect flows over the graph of dvc.yaml. A file here is a flow, but for deployments.py; a folder here holds what flows are made of."""
