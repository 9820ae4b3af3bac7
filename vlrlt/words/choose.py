"""Choose the channels to read, and their readers."""

from vlrlt.words.reader import ChannelReader
from vlrlt.words.screen import ScreenReader
from vlrlt.words.speech import WhisperReader


def choose_readers(
    *, speech: str | None = None, screen_text: bool = False, device: str = "auto"
) -> tuple[ChannelReader, ...]:
    """The readers that the options of a front end ask for; their models are loaded.

    Args:
        speech: a speech model, as WhisperReader takes it; None: what is said is not read.
        screen_text: whether what is written in the picture is read, by RapidOCR.
        device: where the speech model runs.

    Raises:
        MissingExtraError: what they need is not installed.
        CheckpointError: a model cannot be loaded.
    """
    readers: list[ChannelReader] = []
    if speech is not None:
        readers.append(WhisperReader(speech, device=device))
    if screen_text:
        readers.append(ScreenReader())
    return tuple(readers)
