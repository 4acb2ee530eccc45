"""Checks of Kubernetes manifests."""

from typing import Any

import kubernetes_validate


def validate(document: Any) -> None:
    """Raise an error if the API of the latest Kubernetes would refuse the document, or ignore a field of it."""
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
