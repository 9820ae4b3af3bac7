"""How well a text fits a clip, by the official EPIC-KITCHENS-100 rule.

1/2 [same verb class] + 1/2 |A & B| / |A | B| of the two sets of noun classes A and B: 1 for the same action. An action
of several verbs (EgoClip) has a set of verb classes too, which is compared as the nouns are.

Shape legend: U distinct actions, A some of them, N classes, R rows, C columns.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from vlrlt.types import Float32Array, Float64Array

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class Action(NamedTuple):
    """What is done to what, by class numbers."""

    verbs: frozenset[int]
    nouns: frozenset[int]

    @classmethod
    def of(cls, verb: int, nouns: Iterable[int]) -> Self:
        """An action of one verb."""
        return cls(frozenset((verb,)), frozenset(nouns))


class ActionTable:
    """The distinct actions of a dataset: few stand behind many captions, or (EgoClip) a million behind 3.8 million.

    Args:
        actions: any number of them; equal ones are kept once, in the order in which they come first.
    """

    def __init__(self, actions: Iterable[Action]) -> None:
        self._positions: dict[Action, int] = {}
        for action in actions:
            self._positions.setdefault(action, len(self._positions))
        self._verbs = _ClassSets.of([action.verbs for action in self._positions])
        self._nouns = _ClassSets.of([action.nouns for action in self._positions])

    def __len__(self) -> int:
        """Number of distinct actions."""
        return len(self._positions)

    def index(self, actions: Iterable[Action]) -> IntArray:
        """Place of each action in the table."""
        return np.array([self._positions[action] for action in actions], dtype=np.int64)

    def relevancy(self, rows_R: IntArray, columns_C: IntArray) -> Float64Array:
        """(R, C) in [0, 1]; exactly 1.0 where verb and noun classes are equal."""
        return 0.5 * self._verbs.iou(rows_R, columns_C) + 0.5 * self._nouns.iou(rows_R, columns_C)

    def share_verb_and_noun(self, rows_R: IntArray, columns_C: IntArray) -> BoolArray:
        """(R, C): whether two actions have a verb and a noun in common, the positives of EgoNCE (arXiv 2206.01670)."""
        share_RC: BoolArray = (self._verbs.overlap(rows_R, columns_C)[0] > 0) & (
            self._nouns.overlap(rows_R, columns_C)[0] > 0
        )
        return share_RC


@dataclass(frozen=True)
class _ClassSets:
    """A set of class numbers for each of U actions, end to end."""

    classes: IntArray
    first_U: IntArray
    num_U: IntArray

    @classmethod
    def of(cls, sets: Sequence[frozenset[int]]) -> Self:
        num_U = np.array([len(classes) for classes in sets], dtype=np.int64)
        classes = np.array([number for classes in sets for number in classes], dtype=np.int64)
        return cls(classes, np.cumsum(num_U) - num_U, num_U)

    def iou(self, rows_R: IntArray, columns_C: IntArray) -> Float64Array:
        """(R, C) intersection over union; two empty sets are equal: 1."""
        shared_RC, union_RC = self.overlap(rows_R, columns_C)
        iou_RC: Float64Array = np.divide(shared_RC, union_RC, out=np.ones_like(shared_RC), where=union_RC > 0)
        return iou_RC

    def overlap(self, rows_R: IntArray, columns_C: IntArray) -> tuple[Float64Array, Float64Array]:
        """(R, C) sizes of intersections and unions."""
        member_AN = self._members(np.concatenate([rows_R, columns_C]))
        member_RN, member_CN = member_AN[: len(rows_R)], member_AN[len(rows_R) :]
        shared_RC = (member_RN @ member_CN.T).astype(np.float64)
        return shared_RC, member_RN.sum(axis=1)[:, None] + member_CN.sum(axis=1) - shared_RC

    def _members(self, actions_A: IntArray) -> Float32Array:
        """(A, N) 1 where an action has a class; N are the classes of these actions only, however many there are."""
        num_A = self.num_U[actions_A]
        action_of_class = np.repeat(np.arange(len(actions_A)), num_A)
        place_in_action = np.arange(num_A.sum()) - np.repeat(np.cumsum(num_A) - num_A, num_A)
        classes = self.classes[np.repeat(self.first_U[actions_A], num_A) + place_in_action]
        distinct, place = np.unique(classes, return_inverse=True)
        member_AN = np.zeros((len(actions_A), len(distinct)), dtype=np.float32)  # exact: counts below 2**24
        member_AN[action_of_class, place] = 1.0
        return member_AN


def relevancy(rows: Sequence[Action], columns: Sequence[Action]) -> Float64Array:
    """Relevancy of every row to every column: (len(rows), len(columns)), in [0, 1]."""
    table = ActionTable((*rows, *columns))
    rows_R, columns_C = table.index(rows), table.index(columns)
    distinct_rows, row_R = np.unique(rows_R, return_inverse=True)
    distinct_columns, column_C = np.unique(columns_C, return_inverse=True)
    return table.relevancy(distinct_rows, distinct_columns)[np.ix_(row_R, column_C)]
