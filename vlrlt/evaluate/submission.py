"""The file that the official EPIC-KITCHENS-100 multi-instance retrieval challenge takes.

A zip of one test.pkl (competitions.codalab.org/competitions/26138): the organisers' format, which is only written here.
"""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np

from vlrlt.evaluate.predictions import Predictions

SUPERVISION_LEVELS = {"sls_pt": 2, "sls_tl": 3, "sls_td": 3}
"""Pre-training, training labels, training data, as the organisers' own baseline declares them."""


def write_submission(path: Path, predictions: Predictions) -> None:
    """Write predictions of `eval epic-mir` for the test split.

    Args:
        path: the zip file; its folder is made if it is absent.
        predictions: similarities of all clips and sentences.
    """
    content = io.BytesIO()
    pickle.dump(
        {
            "version": 0.1,
            "challenge": "multi_instance_retrieval",
            **SUPERVISION_LEVELS,
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
