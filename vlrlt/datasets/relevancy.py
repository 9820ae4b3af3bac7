"""How well a text fits a clip, by the official EPIC-KITCHENS-100 rule.

1/2 [same verb class] + 1/2 |A & B| / |A | B| of the two sets of noun classes A and B: 1 for the same action.

Shape legend: U distinct actions, A some of them, N noun classes, R rows, C columns.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from vlrlt.types import Float32Array, Float64Array

Action = tuple[int, frozenset[int]]
"""Verb class and noun classes, at least one."""
IntArray = npt.NDArray[np.int64]


class ActionTable:
    """The distinct actions of a dataset: few stand behind many captions, or (EgoClip) a million behind 3.8 million.

    Args:
        actions: any number of them; equal ones are kept once, in the order in which they come first.
    """

    def __init__(self, actions: Iterable[Action]) -> None:
        self._positions: dict[Action, int] = {}
        for action in actions:
            self._positions.setdefault(action, len(self._positions))
        self._verb_U = np.array([verb for verb, _ in self._positions], dtype=np.int64)
        self._num_nouns_U = np.array([len(nouns) for _, nouns in self._positions], dtype=np.int64)
        self._first_U = np.cumsum(self._num_nouns_U) - self._num_nouns_U
        self._nouns = np.array([noun for _, nouns in self._positions for noun in nouns], dtype=np.int64)

    def __len__(self) -> int:
        """Number of distinct actions."""
        return len(self._positions)

    def index(self, actions: Iterable[Action]) -> IntArray:
        """Place of each action in the table."""
        return np.array([self._positions[action] for action in actions], dtype=np.int64)

    def relevancy(self, rows_R: IntArray, columns_C: IntArray) -> Float64Array:
        """(R, C) in [0, 1]; exactly 1.0 where verb class and noun sets are equal."""
        member_AN = self._members(np.concatenate([rows_R, columns_C]))
        member_RN, member_CN = member_AN[: len(rows_R)], member_AN[len(rows_R) :]
        shared_RC = (member_RN @ member_CN.T).astype(np.float64)
        union_RC = member_RN.sum(axis=1)[:, None] + member_CN.sum(axis=1) - shared_RC
        same_verb_RC = self._verb_U[rows_R][:, None] == self._verb_U[columns_C]
        relevancy_RC: Float64Array = 0.5 * same_verb_RC + 0.5 * (shared_RC / union_RC)
        return relevancy_RC

    def _members(self, actions_A: IntArray) -> Float32Array:
        """(A, N) 1 where an action has a noun; N are the nouns of these actions only, however many the table has."""
        num_A = self._num_nouns_U[actions_A]
        action_of_noun = np.repeat(np.arange(len(actions_A)), num_A)
        place_in_action = np.arange(num_A.sum()) - np.repeat(np.cumsum(num_A) - num_A, num_A)
        nouns = self._nouns[np.repeat(self._first_U[actions_A], num_A) + place_in_action]
        distinct, noun_place = np.unique(nouns, return_inverse=True)
        member_AN = np.zeros((len(actions_A), len(distinct)), dtype=np.float32)  # exact: counts below 2**24
        member_AN[action_of_noun, noun_place] = 1.0
        return member_AN


def relevancy(rows: Sequence[Action], columns: Sequence[Action]) -> Float64Array:
    """Relevancy of every row to every column: (len(rows), len(columns)), in [0, 1]."""
    table = ActionTable((*rows, *columns))
    rows_R, columns_C = table.index(rows), table.index(columns)
    distinct_rows, row_R = np.unique(rows_R, return_inverse=True)
    distinct_columns, column_C = np.unique(columns_C, return_inverse=True)
    return table.relevancy(distinct_rows, distinct_columns)[np.ix_(row_R, column_C)]
