"""The file that the official EPIC-KITCHENS-100 multi-instance retrieval challenge takes.

A zip of one test.pkl (competitions.codalab.org/competitions/26138): the organisers' format, which is only written here.
"""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np

from vlrlt.errors import ConfigError
from vlrlt.evaluate.predictions import Predictions

BASELINE_SUPERVISION = (2, 3, 3)
"""What the organisers' own baseline declares."""


def write_submission(
    path: Path, predictions: Predictions, *, supervision: tuple[int, int, int] = BASELINE_SUPERVISION
) -> None:
    """Write predictions of `eval epic-mir` for the test split.

    Args:
        path: the zip file; its folder is made if it is absent.
        predictions: similarities of all clips and sentences.
        supervision: levels that the challenge asks to be declared, each in [0, 5]: of pre-training, training labels and
            training data (github.com/epic-kitchens/SLS).

    Raises:
        ConfigError: there is no such level.
    """
    if not all(0 <= level <= 5 for level in supervision):
        raise ConfigError(f"supervision levels must be in [0, 5], got {supervision}")
    pretraining, labels, data = supervision
    content = io.BytesIO()
    pickle.dump(
        {
            "version": 0.1,
            "challenge": "multi_instance_retrieval",
            "sls_pt": pretraining,
            "sls_tl": labels,
            "sls_td": data,
            "sim_mat": np.asarray(predictions.score_RC, dtype=np.float32),
            "vis_ids": list(predictions.rows),
            "txt_ids": list(predictions.columns),
        },
        content,
        protocol=4,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("test.pkl", content.getvalue())
