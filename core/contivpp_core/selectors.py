# SPDX-License-Identifier: Apache-2.0
"""Label selectors with the meaning of the Kubernetes API (`metav1.LabelSelector`), as hashable values."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

__all__ = ["EVERYTHING", "LabelSelector", "Requirement"]


class Requirement(msgspec.Struct, frozen=True):
    """One of `matchExpressions`: operator `In`, `NotIn`, `Exists` or `DoesNotExist`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels meet the requirement; an unknown operator matches nothing."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels
        return False


class LabelSelector(msgspec.Struct, frozen=True):
    """All of `labels` (pairs) and all of `expressions` must hold; an empty selector matches everything."""

    labels: tuple[tuple[str, str], ...] = ()
    expressions: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels are selected."""
        return all(labels.get(key) == value for key, value in self.labels) and all(
            requirement.matches(labels) for requirement in self.expressions
        )

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return label pairs of which each selected object has at least one; empty when there is no such bound."""
        if self.labels:
            return self.labels[:1]
        for requirement in self.expressions:
            if requirement.operator == "In":
                return tuple((requirement.key, value) for value in requirement.values)
        return ()


EVERYTHING = LabelSelector()
