"""Speech models by name: Whisper as CTranslate2 reads it, pulled and pinned like the image models."""

from pathlib import Path

from vlrlt.errors import CheckpointError
from vlrlt.models.hub import fetch_files
from vlrlt.models.known import SPEECH_MODELS


def speech_model_folder(model: str) -> Path:
    """The folder of a speech model: the one that is named, or of the cache, downloaded first if need be.

    Raises:
        CheckpointError: there is no such folder or name, or it cannot be downloaded.
    """
    folder = Path(model).expanduser()
    if model in SPEECH_MODELS and not folder.is_dir():
        return fetch_files(*SPEECH_MODELS[model])
    if not (folder / "model.bin").is_file():
        raise CheckpointError(
            f"{model!r} is neither a folder with a CTranslate2 Whisper model (model.bin) nor a known speech model: "
            f"{', '.join(SPEECH_MODELS)}"
        )
    return folder.resolve()
